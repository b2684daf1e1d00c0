//! One file for each command. A command reads, decides by the crates, acts by the crates, and says what came of it.

/// What this containerd refuses, ignores or will stop supporting.
pub(crate) mod check;
/// Completions and manual pages.
pub(crate) mod completions;
/// Asks a person.
pub(crate) mod confirm;
/// The route of one image.
pub(crate) mod explain;
/// Do what `plan` shows.
pub(crate) mod migrate;
/// What would change.
pub(crate) mod plan;
/// Takes the program's traces away.
pub(crate) mod purge;
/// Back to the bytes before the last change.
pub(crate) mod rollback;
/// What is in force, and history.
pub(crate) mod status;

use crate::cli::{Cli, Command, CommonArgs, Output};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::{json, render};
use mirrorshift_containerd::redact;
use mirrorshift_node::{Outcome, Root, Session};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is printed, and how the program ends.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// For standard output.
    pub(crate) out: String,
    /// For standard error.
    pub(crate) err: String,
}

impl CommandOutput {
    /// Text for standard output.
    pub(crate) fn text(exit: Exit, out: String) -> Self {
        let err = String::new();
        Self { exit, out, err }
    }

    /// Text or a document, whichever was asked for.
    fn text_or_json<D: Serialize>(
        common: &CommonArgs,
        exit: Exit,
        text: impl FnOnce() -> String,
        document: impl FnOnce() -> D,
    ) -> Self {
        match common.output {
            // Once more as a whole: what the crates say of a URL is masked there, and this does not depend on it.
            Output::Text => Self::text(exit, redact::free_text(&text())),
            Output::Json => Self::text(exit, json::print(&document())),
        }
    }
}

/// Carries out a command line.
pub(crate) fn run(cli: &Cli) -> CommandOutput {
    let common = &cli.common;
    let done = match &cli.command {
        Command::Plan {
            exit_code,
            rehearse,
            wishes,
        } => plan::run(common, wishes, *exit_code, *rehearse),
        Command::Migrate { wishes, again, consent } => migrate::run(common, wishes, *again, consent),
        Command::Rollback { consent } => rollback::run(common, consent),
        Command::Status { follow } => status::run(common, *follow),
        Command::Purge { yes } => purge::run(common, *yes),
        Command::Change { run } => Ok(crate::change_run::carry_out::run(run)),
        Command::Agent(args) => {
            crate::reconcile::run(common, args).map(|()| CommandOutput::text(Exit::Done, String::new()))
        }
        Command::Look { run } => crate::observe::observe_unit::run(run),
        Command::UndoUnsettled { run } => crate::change_run::undo::undo_unsettled(run),
        Command::RehearseInside { folder } => {
            crate::change_run::rehearse::in_sandbox(folder).map(|()| CommandOutput::text(Exit::Done, String::new()))
        }
        Command::Guard(word) => crate::change_run::undo::guard(word),
        Command::Check { target, exit_code } => check::run(common, target.as_deref(), *exit_code),
        Command::Explain { image } => explain::run(common, image),
        Command::Completions { shell } => Ok(completions::completions(*shell)),
        Command::Man { dir } => completions::manual(dir.as_deref()),
    };
    done.unwrap_or_else(|failure| match common.output {
        Output::Text => CommandOutput {
            exit: failure.exit,
            out: String::new(),
            err: redact::free_text(&render::error::text(&failure)),
        },
        Output::Json => json::failure(&failure),
    })
}

/// Opens a session on the node.
fn session(root: &Root) -> Result<Session<'_>, CommandError> {
    let (now, id) = identity();
    Ok(Session::open(root, now, &id)?)
}

/// Seconds since 1970, and a name for a change: the time and this process.
pub(crate) fn identity() -> (u64, String) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    (now, format!("{now}-{}", std::process::id()))
}

/// What bringing an earlier run's change to its end came to, in a sentence.
pub(crate) fn describe_recovery(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Nothing => None,
        Outcome::Settled(report) => Some(format!(
            "finished the change {}, which an earlier run had left",
            report.change
        )),
        Outcome::Undone(report) | Outcome::RolledBack(report) => Some(format!(
            "undid the change {}, which an earlier run had left",
            report.change
        )),
    }
}
