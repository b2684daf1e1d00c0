//! One file for each command. A command reads, decides by the crates, acts by the crates, and says what came of it.

/// What this containerd refuses, ignores or will stop supporting.
pub(crate) mod check;
/// The route of one image.
pub(crate) mod explain;
/// Do what `plan` shows.
pub(crate) mod migrate;
/// What would change.
mod plan;
/// Back to the bytes before the last change.
mod rollback;
/// Completions and manual pages.
mod shell;
/// What is in force, and history.
mod status;

use crate::cli::{Cli, Command, Common, Output};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{json, mask, render};
use mirrorshift_node::{Outcome, Root, Session};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is printed, and how the program ends.
#[derive(Debug)]
pub(crate) struct Report {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// For standard output.
    pub(crate) out: String,
    /// For standard error.
    pub(crate) err: String,
}

impl Report {
    /// Text for standard output.
    pub(crate) fn text(exit: Exit, out: String) -> Self {
        let err = String::new();
        Self { exit, out, err }
    }

    /// Text or a document, whichever was asked for.
    fn either<D: Serialize>(
        common: &Common,
        exit: Exit,
        text: impl FnOnce() -> String,
        document: impl FnOnce() -> D,
    ) -> Self {
        match common.output {
            // Once more as a whole: what the crates say of a URL is masked there, and this does not depend on it.
            Output::Text => Self::text(exit, mask::free_text(&text())),
            Output::Json => Self::text(exit, json::print(&document())),
        }
    }
}

/// Carries out a command line.
pub(crate) fn run(cli: &Cli) -> Report {
    let common = &cli.common;
    let done = match &cli.command {
        Command::Plan { exit_code, wishes } => plan::run(common, wishes, *exit_code),
        Command::Migrate { wishes, consent } => migrate::run(common, wishes, *consent),
        Command::Rollback { consent } => rollback::run(common, *consent),
        Command::Status => status::run(common),
        Command::Check { target, exit_code } => check::run(common, target.as_deref(), *exit_code),
        Command::Explain { image } => explain::run(common, image),
        Command::Completions { shell } => Ok(shell::completions(*shell)),
        Command::Man { dir } => shell::manual(dir.as_deref()),
    };
    done.unwrap_or_else(|failure| match common.output {
        Output::Text => Report {
            exit: failure.exit,
            out: String::new(),
            err: mask::free_text(&render::error::text(&failure)),
        },
        Output::Json => json::failure(&failure),
    })
}

/// The refusal of everything that would need a restart of a running containerd.
fn no_restart_yet(command: &str) -> Failure {
    let message = format!("`{command}` does not change a running node yet, as it cannot restart containerd");
    Failure::new(Exit::Refused, "running-node", message).hint(format!(
        "`mirrorshift {command} --no-restart` writes the files and leaves the restart to you"
    ))
}

/// Opens a session on the node. The time and the process make the name of the change that it may bring.
fn session(root: &Root) -> Result<Session<'_>, Failure> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let id = format!("{now}-{}", std::process::id());
    Ok(Session::open(root, now, &id)?)
}

/// What bringing an earlier run's change to its end came to, in a sentence.
fn recovered(outcome: &Outcome) -> Option<String> {
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
