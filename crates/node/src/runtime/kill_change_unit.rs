//! Ends what is left of a change, before it is undone: a process that was stopped holds the lock and answers to nobody.

use crate::error::NodeError;
use crate::facts::process::{
    Process, {self},
};
use crate::runtime::deadline::now;
use crate::systemd::bus::Bus;
use crate::systemd::systemctl;
use std::path::Path;
use std::time::Duration;

/// The unit that a change runs in.
pub const CHANGE: &str = "mirrorshift-change.service";

/// `SIGKILL` on every architecture: a stopped process answers to nothing else.
const KILL: i32 = 9;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Ends every process of [`CHANGE`], and waits until there is none. For whoever is to undo a change, before it opens a
/// session. Does nothing when there is none left, and when the caller runs in that unit itself, as its `ExecStopPost`:
/// systemd has ended the others by then.
///
/// Never call it from a unit that starts with containerd before [`crate::journal::status::Status::is_of_another_boot`] has said yes: it is the
/// change itself that starts containerd.
///
/// Where that unit has an `ExecStopPost` of its own, systemd starts it now, and it is waited for like the rest.
///
/// # Errors
/// They do not end `within` that time, or cannot be seen or asked to.
pub fn kill_change_unit(within: Duration) -> Result<(), NodeError> {
    let proc = Path::new("/proc");
    if is_of_change(&Process::of(proc, std::process::id())) || !any_left(proc)? {
        return Ok(());
    }
    let ended = Bus::connect(within).and_then(|bus| bus.kill(CHANGE, KILL));
    if ended.is_err() {
        systemctl::run(&["kill", "--signal=SIGKILL", CHANGE])?;
    }
    let began = now();
    while any_left(proc)? {
        if now().saturating_sub(began) > within {
            return Err(NodeError::Message("what is left of an earlier change does not end"));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether a process of [`CHANGE`] is left, as the kernel's list of processes has it: what can be known without a bus.
///
/// # Errors
/// The processes cannot be listed.
pub fn change_is_left() -> Result<bool, NodeError> {
    any_left(Path::new("/proc"))
}

fn any_left(proc: &Path) -> Result<bool, NodeError> {
    let all = process::all(proc).map_err(|source| NodeError::Io {
        action: "list the processes in",
        path: "/proc".to_owned(),
        source,
    })?;
    Ok(all.iter().any(is_of_change))
}

/// One that has ended meanwhile belongs to nothing. A machine that runs in this one, as a container with a systemd of its own,
/// may have a change of its own: its processes are in another namespace.
fn is_of_change(process: &Process) -> bool {
    let groups = process.control_groups().unwrap_or_default();
    let own = || {
        Process::of(Path::new("/proc"), std::process::id())
            .namespace("pid")
            .ok()
    };
    groups.iter().any(|group| is_in_change(group)) && process.namespace("pid").ok() == own()
}

fn is_in_change(group: &str) -> bool {
    group.split('/').any(|part| part == CHANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_of_the_unit_are_its() {
        assert!(is_in_change("/system.slice/mirrorshift-change.service"));
        assert!(is_in_change("/system.slice/mirrorshift-change.service/below"));
        assert!(!is_in_change("/system.slice/mirrorshift-change.service.d"));
        assert!(!is_in_change("/system.slice/not-mirrorshift-change.service"));
    }

    #[test]
    fn where_nothing_is_left_nobody_is_asked() {
        // No bus is needed for it, as early at a boot there is none.
        assert!(kill_change_unit(Duration::from_millis(1)).is_ok());
    }
}
