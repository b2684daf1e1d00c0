//! Asks a person before a running node is changed.

use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::{CommonArgs, OutputFormat};
use anstream::eprint;
use mirrorshift_node::{Root, Status};
use std::io::{
    BufRead, IsTerminal, Write, {self},
};

/// Asks whether to go on, after showing `what` it is about.
///
/// # Errors
/// Nobody can be asked, or they said no. Nothing was done.
pub(super) fn ask(common: &CommonArgs, command: &str, what: &str, question: &str) -> Result<(), CommandError> {
    let there = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !there || common.output == OutputFormat::Json {
        let message = format!("`{command}` wants `--yes` where nobody can be asked");
        return Err(CommandError::usage("consent", message).hint("`mirrorshift plan` shows what it would do"));
    }
    eprint!("{what}\n{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stderr()
        .flush()
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CommandError::new(Exit::Refused, "declined", "nothing was done")),
    }
}

/// Only root may change a running node.
pub(super) fn require_root(command: &str) -> Result<(), CommandError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(
        CommandError::new(Exit::Refused, "not-root", format!("`{command}` is for root alone"))
            .hint("run it with `sudo`"),
    )
}

/// Files alone may not end a change that a running containerd is part of: somebody has to see whether it serves.
///
/// # Errors
/// Such a change was left unfinished.
pub(super) fn confirm_offline_change(root: &Root, status: &Status) -> Result<(), CommandError> {
    let Some(change) = status
        .unfinished
        .as_ref()
        .filter(|change| root.is_live() && change.service.is_some())
    else {
        return Ok(());
    };
    let message = format!("the change {} of the running containerd is not over", change.id);
    Err(CommandError::new(Exit::Refused, "unfinished", message)
        .hint("run the command without `--no-restart`: it brings that change to its end, containerd included"))
}
