//! The progress and the result of a run, as files for the process that follows it. The unit's journal has the same
//! text.

use crate::change_run::failure_summary::FailureSummary;
use crate::change_run::run_dir;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::UNWRAPPED;
use crate::results::event::ProgressEvent;
use crate::{json, render};
use mirrorshift_containerd::redact;
use mirrorshift_node::since_boot;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{
    Write, {self},
};
use std::os::unix::fs::OpenOptionsExt;

/// The file of progress events, one JSON document per line.
pub(crate) const EVENTS: &str = mirrorshift_node::RUN_EVENTS;
/// The file of the result.
pub(crate) const END: &str = mirrorshift_node::RUN_RESULT;

/// The result of a run. The agent reads `exit` and `failure`; `migrate` and `rollback` print `output`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunResult {
    pub(crate) exit: Exit,
    /// None when the run did what was requested.
    pub(crate) failure: Option<FailureSummary>,
    pub(crate) output: RunOutput,
}

/// The output of the command that followed the run, in both formats, because either may follow it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunOutput {
    /// Text for standard output.
    pub(crate) out: String,
    /// Text for standard error.
    pub(crate) err: String,
    /// The JSON document for standard output.
    pub(crate) json: String,
}

impl RunResult {
    /// The result of a run that did what was requested.
    pub(crate) fn done(text: &str, document: &impl Serialize) -> Self {
        Self {
            exit: Exit::Done,
            failure: None,
            output: RunOutput {
                out: redact::free_text(text),
                err: String::new(),
                json: json::print(document),
            },
        }
    }

    /// The result of a run that failed.
    pub(crate) fn failed(error: &CommandError) -> Self {
        Self {
            exit: error.exit,
            failure: Some(FailureSummary::from(error)),
            output: RunOutput {
                out: String::new(),
                err: redact::free_text(&render::error::text(error, UNWRAPPED)),
                json: json::failure(error).out,
            },
        }
    }
}

/// The progress of a run that this process carries out.
#[derive(Debug)]
pub(crate) struct Progress {
    run: String,
    file: Option<File>,
    events: Vec<ProgressEvent>,
}

impl Progress {
    /// Opens the progress file of a run. The run goes on when the file cannot be written: the journal has the same
    /// text.
    pub(crate) fn of(run: &str) -> Self {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(run_dir::path(run, EVENTS));
        Self {
            run: run.to_owned(),
            file: file.ok(),
            events: Vec::new(),
        }
    }

    /// Reports that a step begins.
    pub(crate) fn report(&mut self, step: &str, text: &str) {
        let event = ProgressEvent {
            at_ms: u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX),
            step: step.to_owned(),
            text: redact::free_text(text),
        };
        writeln!(io::stdout(), "{step}: {}", event.text).ok();
        if let Some(file) = &mut self.file {
            let mut line = serde_json::to_vec(&event).unwrap_or_default();
            line.push(b'\n');
            // One call, so that a reader never sees half a line.
            file.write_all(&line).ok();
        }
        self.events.push(event);
    }

    /// The events so far.
    pub(crate) fn events(&self) -> &[ProgressEvent] {
        &self.events
    }

    /// Writes the result of the run, unless there is one: the undo unit runs after the run in any case.
    ///
    /// # Guarantees
    ///
    /// The file is renamed into its place, so that a reader sees the whole result or none, also after a kill.
    pub(crate) fn finish(&self, result: &RunResult) {
        let path = run_dir::path(&self.run, END);
        if path.exists() {
            return;
        }
        for text in [&result.output.out, &result.output.err] {
            write!(io::stdout(), "{}", anstream::adapter::strip_str(text)).ok();
        }
        run_dir::replace(&path, &serde_json::to_vec(result).unwrap_or_default()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_of_a_failed_run_keeps_exit_reason_message_and_hint_in_its_file() {
        let error = CommandError::new(Exit::Undone, "containerd", "the change c1 was undone").hint("read the journal");
        let text = serde_json::to_vec(&RunResult::failed(&error)).unwrap();
        let read: RunResult = serde_json::from_slice(&text).unwrap();
        assert_eq!(read.exit, Exit::Undone);
        let failure = read.failure.unwrap();
        assert_eq!(
            (
                failure.reason.as_str(),
                failure.message.as_str(),
                failure.hint.as_deref()
            ),
            ("containerd", "the change c1 was undone", Some("read the journal"))
        );
        assert!(read.output.err.contains("the change c1 was undone"));
        assert!(read.output.json.contains("\"reason\": \"containerd\""));
    }
}
