//! Has systemd start a change, as a unit that depends on nobody: not on who ordered it, their terminal or their pod.

use crate::change_run::request::ChangeRequest;
use crate::change_run::run_dir;
use crate::error::CommandError;
use crate::exit::Exit;
use mirrorshift_node::{Bus, BusError, CHANGE, Exec, PROGRAM, Property, Root};
use std::time::Duration;

/// For a call to systemd.
pub(crate) const CALL: Duration = Duration::from_secs(5);
/// For the program to be started.
const START: Duration = Duration::from_secs(20);
const SIGKILL: i32 = 9;

/// Starts what `order` says. Returns when its program runs.
pub(crate) fn start(root: &Root, order: &ChangeRequest) -> Result<(), CommandError> {
    let bus = Bus::connect(CALL)?;
    install(root)?;
    order.write()?;
    if let Err(error) = bus.start_transient(CHANGE, &properties(&bus, order), START) {
        // It ended before systemd's answer came: that is for who follows it to see.
        let ended = matches!(error, BusError::Job { .. } | BusError::Unseen { .. })
            && run_dir::path(&order.id, crate::change_run::progress::END).exists();
        if !ended {
            // The order may hold what a policy has of secrets, and nobody will carry it out.
            run_dir::take_away(&order.id);
            return Err(not_started(error));
        }
    }
    run_dir::mark_started(&order.id)
}

fn not_started(error: BusError) -> CommandError {
    if matches!(&error, BusError::Refused { name, .. } if name == "org.freedesktop.systemd1.UnitExists") {
        return CommandError::new(Exit::Locked, "locked", "another change of this node is under way")
            .hint("`mirrorshift status --follow` shows how far it has come");
    }
    let failure = CommandError::from(error);
    CommandError {
        message: format!("the change could not be started: {}", failure.message),
        ..failure
    }
}

/// Puts a copy of this program where systemd starts it from.
pub(crate) fn install(root: &Root) -> Result<(), CommandError> {
    let mut program = std::fs::File::open("/proc/self/exe")
        .map_err(|error| CommandError::new(Exit::Refused, "io", format!("cannot read this program: {error}")))?;
    Ok(mirrorshift_node::install(root, &mut program)?)
}

fn properties(bus: &Bus, order: &ChangeRequest) -> Vec<Property> {
    let exec = |words: &[&str]| Exec {
        path: PROGRAM.to_owned(),
        argv: [&[PROGRAM], words].concat().into_iter().map(str::to_owned).collect(),
        may_fail: false,
    };
    vec![
        Property::Description("Change of containerd's registry configuration".to_owned()),
        bus.type_exec(),
        Property::CollectMode("inactive-or-failed"),
        Property::ExecStart(exec(&["change", &order.id])),
        Property::RuntimeMaxSec(order.limits.change()),
        // One that is stopped answers to nothing else.
        Property::KillSignal(SIGKILL),
        Property::ExecStopPost(exec(&["undo-unsettled", &order.id])),
        Property::TimeoutStopSec(order.limits.undo()),
    ]
}
