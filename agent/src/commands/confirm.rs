//! Asks the operator for confirmation before a node is changed.

use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::{CommonArgs, OutputFormat};
use anstream::eprint;
use mirrorshift_node::{Facts, Root, Status};
use std::io::{self, BufRead, IsTerminal, Write};

/// Prints `text` and `question`, and reads the answer.
///
/// # Errors
/// Standard input or standard error is not a terminal, the output is JSON, or the operator declined. Nothing was changed.
pub(super) fn ask(common: &CommonArgs, command: &str, text: &str, question: &str) -> Result<(), CommandError> {
    let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !is_terminal || common.output == OutputFormat::Json {
        let message = format!("`{command}` needs confirmation, and there is no terminal");
        return Err(CommandError::usage("consent", message).hint(format!(
            "pass `--yes` to confirm; `mirrorshift {command} --dry-run` shows what the command would do"
        )));
    }
    eprint!("{text}\n{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stderr()
        .flush()
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CommandError::new(
            Exit::Refused,
            "declined",
            "the confirmation was declined; nothing was changed",
        )),
    }
}

/// Refuses a command that only root can run.
pub(super) fn require_root(command: &str) -> Result<(), CommandError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(
        CommandError::new(Exit::Refused, "not-root", format!("`{command}` needs root"))
            .hint(format!("run `sudo mirrorshift {command}`")),
    )
}

/// Refuses to finish a change of a running containerd by writing files only, because then nothing checks that containerd
/// serves.
pub(super) fn require_no_live_change(root: &Root, status: &Status) -> Result<(), CommandError> {
    let Some(change) = status
        .unfinished
        .as_ref()
        .filter(|change| root.is_live() && change.service.is_some())
    else {
        return Ok(());
    };
    let message = format!("the change {} of the running containerd is unfinished", change.id);
    Err(CommandError::new(Exit::Refused, "unfinished", message)
        .hint("run the command without `--no-restart`: it undoes that change and checks containerd"))
}

/// The known facts about a restart of containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RestartFacts {
    /// The unit's `KillMode`; `None` if it is unknown.
    pub(super) kill_mode: Option<String>,
    /// The number of shims that a restart of the unit would kill if `KillMode` kills any; `None` if it is unknown.
    pub(super) shims_in_unit: Option<usize>,
    /// The number of running containers; `None` if it is unknown.
    pub(super) containers: Option<usize>,
}

impl RestartFacts {
    pub(super) fn of(facts: &Facts) -> Self {
        Self {
            kill_mode: facts.unit.value().map(|unit| unit.kill_mode.clone()),
            shims_in_unit: facts.shims_in_unit.value().map(Vec::len),
            containers: facts.cri.containers.value().map(Vec::len),
        }
    }

    /// Returns the sentences of the prompt about the restart.
    pub(super) fn sentence(&self) -> String {
        let running = match self.containers {
            Some(1) => "1 container is running".to_owned(),
            Some(number) => format!("{number} containers are running"),
            None => "the number of running containers is unknown".to_owned(),
        };
        match (self.kill_mode.as_deref(), self.shims_in_unit) {
            (Some(mode @ ("process" | "none")), _) => {
                format!("containerd restarts; containers keep running (`KillMode={mode}`, {running}).")
            }
            (Some(_), Some(0)) => {
                format!("containerd restarts; containers keep running (no shim is in the unit, {running}).")
            }
            (Some(mode), Some(shims)) => format!(
                "containerd restarts, and the restart KILLS the containers of {shims} shims (`KillMode={mode}`, {running})."
            ),
            (mode, _) => format!(
                "containerd restarts. It is unknown whether containers keep running (`KillMode={}`, {running}).",
                mode.unwrap_or("unknown")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RestartFacts;

    #[test]
    fn prompt_says_that_containers_die_exactly_if_the_restart_kills_shims() {
        let sentence = |mode: Option<&str>, shims| {
            let facts = RestartFacts {
                kill_mode: mode.map(str::to_owned),
                shims_in_unit: shims,
                containers: Some(37),
            };
            facts.sentence()
        };
        for (mode, shims) in [("process", Some(9)), ("none", None), ("control-group", Some(0))] {
            let text = sentence(Some(mode), shims);
            assert!(
                text.contains("containers keep running") && text.contains("37"),
                "{text}"
            );
        }
        for mode in ["control-group", "mixed"] {
            let text = sentence(Some(mode), Some(37));
            assert!(text.contains("KILLS") && !text.contains("keep running"), "{text}");
        }
        for (mode, shims) in [(None, Some(0)), (None, None), (Some("control-group"), None)] {
            let text = sentence(mode, shims);
            assert!(text.contains("unknown whether"), "{text}");
        }
    }
}
