//! Whoever undoes a change when its run is gone: systemd right after it, and the guard at the next boot.

use crate::change_id::ChangeId;
use crate::change_run::progress::{Progress, RunResult};
use crate::change_run::reporting_runtime::ReportingRuntime;
use crate::change_run::request::{ChangeRequest, ChangeTimeouts};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::GuardCommand;
use crate::output::CommandOutput;
use mirrorshift_node::{
    Change, ChangeError, Commands, NoRuntime, Outcome, PROGRAM, PROOF, Root, RuntimeTimeouts, Session, SystemdRuntime,
    kill_change_unit, status,
};
use mirrorshift_plan::change::Phase;
use std::time::Duration;

/// For whatever is left of an earlier change, and for the lock.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the guard runs.
pub(crate) fn commands() -> Commands {
    let command = |word: &str| [PROGRAM, "guard", word].map(str::to_owned).to_vec();
    Commands {
        at_boot: command("at-boot"),
        after_boot: command("after-boot"),
        prove: command("prove"),
    }
}

pub(crate) fn times(limits: ChangeTimeouts) -> RuntimeTimeouts {
    RuntimeTimeouts {
        serve: limits.serve,
        pull: limits.pull,
        restart: limits.restart,
        ..RuntimeTimeouts::default()
    }
}

/// Undoes what the unit of `run` has left, however that ended.
pub(crate) fn undo_unsettled(run: &str) -> Result<CommandOutput, CommandError> {
    let root = Root::open("/")?;
    let limits = ChangeRequest::read(run).map_or_else(|_| ChangeTimeouts::default(), |order| order.limits);
    let mut progress = Progress::of(run);
    // A process that was stopped would hold the lock for ever.
    kill_change_unit(PATIENCE)?;
    let outcome = undo(&root, limits, &mut progress);
    let end = match &outcome {
        // The run had come to its end by itself and has told it, or was ended before it could tell.
        Ok(Outcome::Nothing) => match status(&root) {
            Ok(status) => RunResult::failed(&over(&status.history, run)),
            Err(error) => RunResult::failed(&error.into()),
        },
        Ok(Outcome::Settled(report)) => RunResult::failed(&settled(&report.change)),
        Ok(Outcome::Undone(report) | Outcome::RolledBack(report)) => RunResult::failed(&undone(&report.change)),
        Err(failure) => RunResult::failed(failure),
    };
    progress.end(&end);
    outcome.map(|_| CommandOutput::text(Exit::Done, String::new()))
}

/// What has become of a run that left nothing to undo.
fn over(history: &[Change], run: &str) -> CommandError {
    match history.iter().rfind(|change| change.id == run) {
        Some(change) if change.phase == Phase::Settled => settled(run),
        Some(_) => undone(run),
        None => CommandError::new(Exit::Refused, "ended", "the run ended before it changed anything")
            .hint("`journalctl -u mirrorshift-change` says why; run the command again"),
    }
}

fn settled(change: &str) -> CommandError {
    let message = format!("the run ended after the change {change} had settled");
    CommandError::new(Exit::Unexpected, "ended", message)
}

fn undone(change: &str) -> CommandError {
    let message =
        format!("the run was ended in the middle, and the change {change} was undone: every file is as it was");
    CommandError::new(Exit::Undone, "ended", message)
        .hint("`journalctl -u mirrorshift-change` says what ended it; run the command again")
}

/// What the guard does.
pub(crate) fn guard(word: &GuardCommand) -> Result<CommandOutput, CommandError> {
    let root = Root::open("/")?;
    let said = |text: &str| Ok(CommandOutput::text(Exit::Done, format!("{text}\n")));
    match word {
        GuardCommand::Prove { word } => {
            std::fs::write(PROOF, word)
                .map_err(|error| CommandError::new(Exit::Refused, "io", format!("cannot write `{PROOF}`: {error}")))?;
            said("proved")
        }
        GuardCommand::AtBoot | GuardCommand::AfterBoot if !status(&root)?.is_of_another_boot(&boot()?) => {
            said("the change was armed in this boot: its run undoes it")
        }
        GuardCommand::AtBoot => {
            let mut nobody = NoRuntime;
            match open(&root)?.with_runtime(&mut nobody).undo_at_boot()? {
                Outcome::Nothing => said("nothing is unsettled"),
                _ => said("every file holds its old bytes; containerd is looked at once it is up"),
            }
        }
        GuardCommand::AfterBoot => {
            let mut progress = Progress::of("boot");
            match undo(&root, ChangeTimeouts::default(), &mut progress)? {
                Outcome::Nothing => said("nothing is unsettled"),
                _ => said("undone, and containerd serves as before"),
            }
        }
    }
}

/// Waits for who is just looking. At a boot nothing is left of the run that was cut off; whatever runs then is another one,
/// which undoes the change by itself.
fn open(root: &Root) -> Result<Session<'_>, CommandError> {
    let id = ChangeId::generate();
    Ok(Session::open_with_timeout(root, id.created, &id.name, PATIENCE)?)
}

/// Brings whatever is unsettled to an end.
pub(crate) fn undo(root: &Root, limits: ChangeTimeouts, progress: &mut Progress) -> Result<Outcome, CommandError> {
    let status = status(root)?;
    let last = status.unfinished.as_ref().or(status.history.last());
    let session = open(root)?;
    let Some(service) = last.and_then(|change| change.service.as_ref()) else {
        let mut session = session;
        return Ok(session.undo_unsettled()?);
    };
    let mut told = ReportingRuntime {
        runtime: SystemdRuntime::new(root, &service.unit, service.restart, commands(), times(limits)),
        progress,
        containers_may_restart: false,
    };
    let done: Result<Outcome, ChangeError> = session.with_runtime(&mut told).undo_unsettled();
    Ok(done?)
}

fn boot() -> Result<String, CommandError> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|error| {
        CommandError::new(
            Exit::Refused,
            "io",
            format!("the kernel does not name this boot: {error}"),
        )
    })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    /// Whoever is ended between the last line of the journal and its own last word has done what the journal says.
    #[test]
    fn what_a_run_has_done_is_told_by_who_comes_after_it() {
        let change = |id: &str, phase: &str| -> Change {
            let digest = "0".repeat(64);
            let change = json!({
                "id": id, "plan": digest, "containerd": "2.4.2", "began": 1, "ended": 2, "phase": phase,
                "settled": phase != "undone", "note": null, "folders": [], "new_file_mode": 0o644, "steps": [],
            });
            from_value(change).unwrap()
        };
        let before = change("before", "settled");
        let told = |history: &[Change]| {
            let failure = over(history, "run");
            (failure.exit, failure.message)
        };

        assert_eq!(told(&[]).0, Exit::Refused);
        assert_eq!(told(std::slice::from_ref(&before)).0, Exit::Refused);
        let (exit, message) = told(&[before.clone(), change("run", "settled")]);
        assert_eq!(exit, Exit::Unexpected);
        assert!(message.contains("run had settled"), "{message}");
        assert_eq!(told(&[before, change("run", "undone")]).0, Exit::Undone);
    }
}
