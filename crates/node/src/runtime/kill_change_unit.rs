//! Ends an interrupted change before it is undone. A stopped process would keep the lock and answer no request.

use crate::error::NodeError;
use crate::facts::process::{self, Process};
use crate::runtime::deadline::now;
use crate::systemd::bus::Bus;
use crate::systemd::systemctl;
use std::path::Path;
use std::time::Duration;

/// The unit in which a change runs.
pub const CHANGE_UNIT: &str = "mirrorshift-change.service";

/// The number of `SIGKILL` on every architecture. A stopped process reacts to no other signal.
const KILL: i32 = 9;
/// The interval at which the processes are listed again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Kills every process of [`CHANGE`], and waits until none is left. Called before a session is opened to undo a change.
///
/// Does nothing if no process is left, and if the caller runs in that unit itself as its `ExecStopPost`: systemd has
/// ended the other processes before it starts that command. If the unit has an `ExecStopPost`, systemd starts it after
/// the kill, and this function waits for it too.
///
/// # Assumptions
/// A caller that starts together with containerd has checked [`crate::journal::status::Status::is_of_another_boot`].
/// Within the same boot, containerd is started by the change itself, which must not be killed.
///
/// # Errors
/// The processes cannot be listed or killed, or they have not ended `within` that time.
pub fn kill_change_unit(within: Duration) -> Result<(), NodeError> {
    let proc = Path::new("/proc");
    if is_of_change(&Process::new(proc, std::process::id())) || !is_any_left(proc)? {
        return Ok(());
    }
    let killed = Bus::connect(within).and_then(|bus| bus.kill(CHANGE_UNIT, KILL));
    if killed.is_err() {
        systemctl::run(&["kill", "--signal=SIGKILL", CHANGE_UNIT]).map_err(systemctl_failed)?;
    }
    let began = now();
    while is_any_left(proc)? {
        if now().saturating_sub(began) > within {
            return Err(NodeError::Message("the processes of an interrupted change do not end"));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Returns true if a process of [`CHANGE`] runs. This is read from the kernel's list of processes, so it works without
/// D-Bus.
///
/// # Errors
/// The processes cannot be listed.
pub fn is_change_running() -> Result<bool, NodeError> {
    is_any_left(Path::new("/proc"))
}

pub(crate) fn systemctl_failed(source: std::io::Error) -> NodeError {
    NodeError::Io {
        action: "run",
        path: "systemctl".to_owned(),
        source,
    }
}

fn is_any_left(proc: &Path) -> Result<bool, NodeError> {
    let all = process::all(proc).map_err(|source| NodeError::Io {
        action: "list the processes in",
        path: "/proc".to_owned(),
        source,
    })?;
    Ok(all.iter().any(is_of_change))
}

/// Returns true if a process belongs to [`CHANGE`]. A process that has ended in the meantime does not. Neither does one
/// in another PID namespace: a container with its own systemd may run a change too.
fn is_of_change(process: &Process) -> bool {
    let groups = process.control_groups().unwrap_or_default();
    let own = || {
        Process::new(Path::new("/proc"), std::process::id())
            .namespace("pid")
            .ok()
    };
    groups.iter().any(|group| is_in_change(group)) && process.namespace("pid").ok() == own()
}

fn is_in_change(group: &str) -> bool {
    group.split('/').any(|part| part == CHANGE_UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_in_change_accepts_only_the_unit_and_its_subgroups() {
        assert!(is_in_change("/system.slice/mirrorshift-change.service"));
        assert!(is_in_change("/system.slice/mirrorshift-change.service/below"));
        assert!(!is_in_change("/system.slice/mirrorshift-change.service.d"));
        assert!(!is_in_change("/system.slice/not-mirrorshift-change.service"));
    }

    #[test]
    fn kill_change_unit_needs_no_systemd_when_no_process_is_left() {
        // Early in a boot, D-Bus is not available.
        assert!(kill_change_unit(Duration::from_millis(1)).is_ok());
    }
}
