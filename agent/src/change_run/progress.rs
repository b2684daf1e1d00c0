//! What a run tells while it goes on, and at its end: lines in a file, for whoever follows, and in the unit's journal.

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

/// The file of what was told.
pub(crate) const EVENTS: &str = "events";
/// The file of how it ended.
pub(crate) const END: &str = "end.json";

/// How a run ended, in both forms, as who follows it may ask for either.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunResult {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) json: String,
}

impl RunResult {
    /// A run that did what it was asked for.
    pub(crate) fn done(out: &str, document: &impl Serialize) -> Self {
        Self {
            exit: Exit::Done,
            out: redact::free_text(out),
            err: String::new(),
            json: json::print(document),
        }
    }

    /// One that did not.
    pub(crate) fn failed(failure: &CommandError) -> Self {
        Self {
            exit: failure.exit,
            out: String::new(),
            err: redact::free_text(&render::error::text(failure, UNWRAPPED)),
            json: json::failure(failure).out,
        }
    }
}

/// Where a run tells what it does.
#[derive(Debug)]
pub(crate) struct Progress {
    run: String,
    file: Option<File>,
    told: Vec<ProgressEvent>,
}

impl Progress {
    /// For a run. A file that cannot be written keeps nobody from going on: the journal has the same.
    pub(crate) fn of(run: &str) -> Self {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(run_dir::path(run, EVENTS));
        Self {
            run: run.to_owned(),
            file: file.ok(),
            told: Vec::new(),
        }
    }

    /// Tells that a step begins.
    pub(crate) fn tell(&mut self, step: &str, text: &str) {
        let event = ProgressEvent {
            at_ms: u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX),
            step: step.to_owned(),
            text: redact::free_text(text),
        };
        writeln!(io::stdout(), "{step}: {}", event.text).ok();
        if let Some(file) = &mut self.file {
            let mut line = serde_json::to_vec(&event).unwrap_or_default();
            line.push(b'\n');
            // In one call, so that no reader sees half a line.
            file.write_all(&line).ok();
        }
        self.told.push(event);
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> &[ProgressEvent] {
        &self.told
    }

    /// Tells how it ended, unless that was told before.
    pub(crate) fn end(&self, end: &RunResult) {
        let path = run_dir::path(&self.run, END);
        if path.exists() {
            return;
        }
        for text in [&end.out, &end.err] {
            write!(io::stdout(), "{}", anstream::adapter::strip_str(text)).ok();
        }
        run_dir::replace(&path, &serde_json::to_vec(end).unwrap_or_default()).ok();
    }
}
