//! Starts a change as a transient systemd unit, so that it does not depend on the process, terminal or pod that
//! requested it.

use crate::change_run::progress::END;
use crate::change_run::request::ChangeRequest;
use crate::change_run::run_dir;
use crate::error::CommandError;
use crate::exit::Exit;
use mirrorshift_node::{Bus, BusError, CHANGE_UNIT, Exec, PROGRAM, Property, Root};
use std::time::Duration;

/// The timeout of a call to systemd.
pub(crate) const CALL: Duration = Duration::from_secs(5);
/// The timeout for the start of the unit's program.
const START: Duration = Duration::from_secs(20);
const SIGKILL: i32 = 9;

/// Starts the requested change. Returns when its program runs.
pub(crate) fn start(root: &Root, request: &ChangeRequest) -> Result<(), CommandError> {
    let bus = Bus::connect(CALL)?;
    install(root)?;
    request.write()?;
    if let Err(error) = bus.start_transient(CHANGE_UNIT, &properties(&bus, request), START) {
        // The run may end before systemd's answer arrives. Then the process that follows the run reports its result.
        let ended = matches!(error, BusError::Job { .. } | BusError::ResultMissed { .. })
            && run_dir::path(&request.id, END).exists();
        if !ended {
            // No process will read the request, and it may hold the secrets of a policy.
            run_dir::remove(&request.id);
            return Err(not_started(error));
        }
    }
    run_dir::mark_started(&request.id)
}

fn not_started(error: BusError) -> CommandError {
    if matches!(&error, BusError::Refused { name, .. } if name == "org.freedesktop.systemd1.UnitExists") {
        return CommandError::new(Exit::Locked, "locked", "another change of this node is in progress")
            .hint("`mirrorshift status --follow` shows its progress");
    }
    let failure = CommandError::from(error);
    CommandError {
        message: format!("the change could not be started: {}", failure.message),
        ..failure
    }
}

/// Installs a copy of this program at the path from which systemd starts it.
pub(crate) fn install(root: &Root) -> Result<(), CommandError> {
    let mut program = std::fs::File::open("/proc/self/exe")
        .map_err(|error| CommandError::new(Exit::Refused, "io", format!("cannot read this program: {error}")))?;
    Ok(mirrorshift_node::install(root, &mut program)?)
}

fn properties(bus: &Bus, request: &ChangeRequest) -> Vec<Property> {
    let exec = |words: &[&str]| Exec {
        path: PROGRAM.to_owned(),
        argv: [&[PROGRAM], words].concat().into_iter().map(str::to_owned).collect(),
        may_fail: false,
    };
    vec![
        Property::Description("Change of containerd's registry configuration".to_owned()),
        bus.type_exec(),
        Property::CollectMode("inactive-or-failed"),
        Property::ExecStart(exec(&["change", &request.id])),
        Property::RuntimeMaxSec(request.limits.change()),
        // A process that is stopped (SIGSTOP) reacts to no other signal.
        Property::KillSignal(SIGKILL),
        Property::ExecStopPost(exec(&["undo-unsettled", &request.id])),
        Property::TimeoutStopSec(request.limits.undo()),
    ]
}
