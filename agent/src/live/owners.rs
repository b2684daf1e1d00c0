//! Whoever undoes a change when its run is gone: systemd right after it, and the guard at the next boot.

use super::order::{Limits, Order};
use super::progress::{End, Progress};
use super::told::Told;
use crate::cli::Guard;
use crate::commands::{Report, identity};
use crate::exit::Exit;
use crate::failure::Failure;
use mirrorshift_node::live::{AtBoot, Commands, Live, PROOF, Times, end_change};
use mirrorshift_node::{Change, ChangeError, Outcome, PROGRAM, Root, Session, status};
use mirrorshift_plan::change::Phase;
use std::time::Duration;

/// For whatever is left of an earlier change, and for the lock.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the guard runs.
pub(super) fn commands() -> Commands {
    let command = |word: &str| [PROGRAM, "guard", word].map(str::to_owned).to_vec();
    Commands {
        at_boot: command("at-boot"),
        after_boot: command("after-boot"),
        prove: command("prove"),
    }
}

pub(super) fn times(limits: Limits) -> Times {
    Times {
        serve: limits.serve,
        pull: limits.pull,
        restart: limits.restart,
        ..Times::default()
    }
}

/// Undoes what the unit of `run` has left, however that ended.
pub(crate) fn undo_unsettled(run: &str) -> Result<Report, Failure> {
    let root = Root::open("/")?;
    let limits = Order::read(run).map_or_else(|_| Limits::default(), |order| order.limits);
    let mut progress = Progress::of(run);
    // A process that was stopped would hold the lock for ever.
    end_change(PATIENCE)?;
    let outcome = undo(&root, limits, &mut progress);
    let end = match &outcome {
        // The run had come to its end by itself and has told it, or was ended before it could tell.
        Ok(Outcome::Nothing) => match status(&root) {
            Ok(status) => End::failed(&over(&status.history, run)),
            Err(error) => End::failed(&error.into()),
        },
        Ok(Outcome::Settled(report)) => End::failed(&settled(&report.change)),
        Ok(Outcome::Undone(report) | Outcome::RolledBack(report)) => End::failed(&undone(&report.change)),
        Err(failure) => End::failed(failure),
    };
    progress.end(&end);
    outcome.map(|_| Report::text(Exit::Done, String::new()))
}

/// What has become of a run that left nothing to undo.
fn over(history: &[Change], run: &str) -> Failure {
    match history.iter().rfind(|change| change.id == run) {
        Some(change) if change.phase == Phase::Settled => settled(run),
        Some(_) => undone(run),
        None => Failure::new(Exit::Refused, "ended", "the run ended before it changed anything")
            .hint("`journalctl -u mirrorshift-change` says why; run the command again"),
    }
}

fn settled(change: &str) -> Failure {
    let message = format!("the run ended after the change {change} had settled");
    Failure::new(Exit::Unexpected, "ended", message)
}

fn undone(change: &str) -> Failure {
    let message =
        format!("the run was ended in the middle, and the change {change} was undone: every file is as it was");
    Failure::new(Exit::Undone, "ended", message)
        .hint("`journalctl -u mirrorshift-change` says what ended it; run the command again")
}

/// What the guard does.
pub(crate) fn guard(word: &Guard) -> Result<Report, Failure> {
    let root = Root::open("/")?;
    let said = |text: &str| Ok(Report::text(Exit::Done, format!("{text}\n")));
    match word {
        Guard::Prove { word } => {
            std::fs::write(PROOF, word)
                .map_err(|error| Failure::new(Exit::Refused, "io", format!("cannot write `{PROOF}`: {error}")))?;
            said("proved")
        }
        Guard::AtBoot | Guard::AfterBoot if !status(&root)?.is_of_another_boot(&boot()?) => {
            said("the change was armed in this boot: its run undoes it")
        }
        Guard::AtBoot => {
            let mut nobody = AtBoot;
            match open(&root)?.with(&mut nobody).undo_at_boot()? {
                Outcome::Nothing => said("nothing is unsettled"),
                _ => said("every file holds its old bytes; containerd is looked at once it is up"),
            }
        }
        Guard::AfterBoot => {
            let mut progress = Progress::of("boot");
            match undo(&root, Limits::default(), &mut progress)? {
                Outcome::Nothing => said("nothing is unsettled"),
                _ => said("undone, and containerd serves as before"),
            }
        }
    }
}

/// Waits for who is just looking. At a boot nothing is left of the run that was cut off; whatever runs then is another one,
/// which undoes the change by itself.
fn open(root: &Root) -> Result<Session<'_>, Failure> {
    let (now, id) = identity();
    Ok(Session::open_within(root, now, &id, PATIENCE)?)
}

/// Brings whatever is unsettled to an end.
pub(super) fn undo(root: &Root, limits: Limits, progress: &mut Progress) -> Result<Outcome, Failure> {
    let status = status(root)?;
    let last = status.unfinished.as_ref().or(status.history.last());
    let session = open(root)?;
    let Some(service) = last.and_then(|change| change.service.as_ref()) else {
        let mut session = session;
        return Ok(session.undo_unsettled()?);
    };
    let mut told = Told {
        runtime: Live::new(root, &service.unit, service.restart, commands(), times(limits)),
        progress,
        containers_may_restart: false,
    };
    let done: Result<Outcome, ChangeError> = session.with(&mut told).undo_unsettled();
    Ok(done?)
}

fn boot() -> Result<String, Failure> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|error| {
        Failure::new(
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
