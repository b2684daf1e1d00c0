//! The undo of a change whose run has ended: by systemd directly after the run, or by the boot guard at the next boot.

use crate::change_id::ChangeId;
use crate::change_run::progress::{Progress, RunResult};
use crate::change_run::reporting_runtime::ReportingRuntime;
use crate::change_run::request::{ChangeRequest, ChangeTimeouts};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::GuardCommand;
use crate::output::CommandOutput;
use mirrorshift_node::{
    Change, ChangeError, Commands, NoRuntime, Outcome, PROGRAM, PROOF_FILE, Root, RuntimeTimeouts, Session,
    SystemdRuntime, kill_change_unit, status,
};
use mirrorshift_plan::change::Phase;
use std::time::Duration;

/// The timeout for the processes of an earlier change to end, and for the lock.
const LOCK_TIMEOUT: Duration = Duration::from_mins(1);

/// The commands of the boot guard.
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
        healthy: limits.serve,
        pull: limits.pull,
        restart: limits.restart,
        ..RuntimeTimeouts::default()
    }
}

/// Undoes the unsettled change of `run`, whose unit has ended.
pub(crate) fn undo_unsettled(run: &str) -> Result<CommandOutput, CommandError> {
    let root = Root::open("/")?;
    let limits = ChangeRequest::read(run).map_or_else(|_| ChangeTimeouts::default(), |request| request.limits);
    let mut progress = Progress::of(run);
    // A stopped process (SIGSTOP) would hold the lock forever.
    kill_change_unit(LOCK_TIMEOUT)?;
    let outcome = undo(&root, limits, &mut progress);
    let result = match &outcome {
        // The run ended by itself and wrote its result, or it was killed before it could write one.
        Ok(Outcome::Nothing) => match status(&root) {
            Ok(status) => RunResult::failed(&ended_run(&status.history, run)),
            Err(error) => RunResult::failed(&error.into()),
        },
        Ok(Outcome::Settled(report)) => RunResult::failed(&settled(&report.change)),
        Ok(Outcome::Undone(report) | Outcome::RolledBack(report)) => RunResult::failed(&undone(&report.change)),
        Err(failure) => RunResult::failed(failure),
    };
    progress.finish(&result);
    outcome.map(|_| CommandOutput::text(Exit::Done, String::new()))
}

/// Reports the outcome of a run that left nothing to undo.
fn ended_run(history: &[Change], run: &str) -> CommandError {
    match history.iter().rfind(|change| change.id == run) {
        Some(change) if change.phase == Phase::Settled => settled(run),
        Some(_) => undone(run),
        None => CommandError::new(Exit::Refused, "ended", "the run ended before it changed a file")
            .hint("`journalctl -u mirrorshift-change` has the reason; run the command again"),
    }
}

fn settled(change: &str) -> CommandError {
    let message = format!("the run ended after the change {change} had settled");
    CommandError::new(Exit::Unexpected, "ended", message)
}

fn undone(change: &str) -> CommandError {
    let message = format!("the run was interrupted, and the change {change} was undone: every file is the original");
    CommandError::new(Exit::Undone, "ended", message)
        .hint("`journalctl -u mirrorshift-change` has the reason; run the command again")
}

/// Carries out a command of the boot guard.
pub(crate) fn guard(command: &GuardCommand) -> Result<CommandOutput, CommandError> {
    let root = Root::open("/")?;
    let done = |text: &str| Ok(CommandOutput::text(Exit::Done, format!("{text}\n")));
    match command {
        GuardCommand::Prove { word } => {
            std::fs::write(PROOF_FILE, word).map_err(|error| {
                CommandError::new(Exit::Refused, "io", format!("cannot write `{PROOF_FILE}`: {error}"))
            })?;
            done("proved")
        }
        GuardCommand::AtBoot | GuardCommand::AfterBoot if !status(&root)?.is_of_another_boot(&boot()?) => {
            done("the change was armed in this boot: its run undoes it")
        }
        GuardCommand::AtBoot => {
            let mut runtime = NoRuntime;
            match open(&root)?.with_runtime(&mut runtime).undo_at_boot()? {
                Outcome::Nothing => done("no change is unsettled"),
                _ => done("every file is the original; containerd is checked after it has started"),
            }
        }
        GuardCommand::AfterBoot => {
            let mut progress = Progress::of("boot");
            match undo(&root, ChangeTimeouts::default(), &mut progress)? {
                Outcome::Nothing => done("no change is unsettled"),
                _ => done("the change is undone, and containerd serves as before"),
            }
        }
    }
}

/// Opens a session, and waits for a process that holds the lock to read the journal. After a boot, the interrupted run
/// does not exist any more; a process that holds the lock for longer is a new run, and that run undoes the change
/// itself.
fn open(root: &Root) -> Result<Session<'_>, CommandError> {
    let id = ChangeId::generate();
    Ok(Session::open_with_timeout(root, id.created, &id.name, LOCK_TIMEOUT)?)
}

/// Undoes an unsettled change, and removes the boot guard of a settled one.
pub(crate) fn undo(root: &Root, limits: ChangeTimeouts, progress: &mut Progress) -> Result<Outcome, CommandError> {
    let status = status(root)?;
    let last = status.unfinished.as_ref().or(status.history.last());
    let session = open(root)?;
    let Some(service) = last.and_then(|change| change.service.as_ref()) else {
        let mut session = session;
        return Ok(session.undo_unsettled()?);
    };
    let mut runtime = ReportingRuntime {
        runtime: SystemdRuntime::new(root, &service.unit, service.restart, commands(), times(limits)),
        progress,
        containers_may_restart: false,
    };
    let outcome: Result<Outcome, ChangeError> = session.with_runtime(&mut runtime).undo_unsettled();
    Ok(outcome?)
}

fn boot() -> Result<String, CommandError> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|error| CommandError::new(Exit::Refused, "io", format!("cannot read the boot id: {error}")))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    /// A run may be killed after its last journal entry and before it writes its result.
    #[test]
    fn outcome_of_a_killed_run_is_taken_from_the_journal() {
        let change = |id: &str, phase: &str| -> Change {
            let digest = "0".repeat(64);
            let change = json!({
                "id": id, "plan": digest, "containerd": "2.4.2", "began": 1, "ended": 2, "phase": phase,
                "settled": phase != "undone", "note": null, "folders": [], "new_file_mode": 0o644, "steps": [],
            });
            from_value(change).unwrap()
        };
        let before = change("before", "settled");
        let outcome = |history: &[Change]| {
            let failure = ended_run(history, "run");
            (failure.exit, failure.message)
        };

        assert_eq!(outcome(&[]).0, Exit::Refused);
        assert_eq!(outcome(std::slice::from_ref(&before)).0, Exit::Refused);
        let (exit, message) = outcome(&[before.clone(), change("run", "settled")]);
        assert_eq!(exit, Exit::Unexpected);
        assert!(message.contains("run had settled"), "{message}");
        assert_eq!(outcome(&[before, change("run", "undone")]).0, Exit::Undone);
    }
}
