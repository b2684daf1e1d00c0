//! Shows the progress of a run until it ends. Interrupting the process that follows does not stop the run.

use crate::change_run::progress::{END, EVENTS, RunResult};
use crate::change_run::run_dir;
use crate::change_run::start::CALL;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::OutputFormat;
use crate::output::CommandOutput;
use crate::results::event::ProgressEvent;
use mirrorshift_node::{Bus, CHANGE_UNIT, is_change_running, since_boot};
use std::fs::File;
use std::io::{
    IsTerminal, Read, Seek, SeekFrom, Write, {self},
};
use std::path::PathBuf;
use std::time::Duration;

/// The pause between two readings of the progress file.
const PAUSE: Duration = Duration::from_millis(40);
/// The pause between two queries to systemd for the state of the unit.
const UNIT_PAUSE: Duration = Duration::from_millis(500);

/// Follows the run `id` to its end, and returns its output.
pub(crate) fn follow(id: &str, format: OutputFormat) -> Result<CommandOutput, CommandError> {
    let mut view = FollowView::new(format);
    let mut events = ProgressReader::of(id);
    let mut queried = since_boot();
    let mut unit_ended = false;
    loop {
        for event in events.read_new() {
            view.event(&event);
        }
        // Return only when the unit is unloaded: the next run cannot start before.
        if unit_ended {
            view.close();
            return result_of(id).map(|result| output(result, format)).ok_or_else(|| {
                CommandError::new(Exit::Unexpected, "ended", "the change ended without reporting a result")
                    .hint("run `mirrorshift status`, and read `journalctl -u mirrorshift-change`")
            });
        }
        let has_result = run_dir::path(id, END).exists();
        if has_result || since_boot().saturating_sub(queried) > UNIT_PAUSE {
            queried = since_boot();
            unit_ended = has_ended(has_result);
        }
        if !unit_ended {
            view.tick();
            std::thread::sleep(PAUSE);
        }
    }
}

/// Returns true if the unit has ended. Without D-Bus, the result file or the absence of its processes decides.
fn has_ended(has_result: bool) -> bool {
    let by_processes = || has_result || !is_change_running().unwrap_or(false);
    runs().map_or_else(by_processes, |runs| !runs)
}

/// Returns true if a change of this node is in progress, and `None` if systemd does not answer.
pub(crate) fn runs() -> Option<bool> {
    let unit = Bus::connect(CALL).and_then(|bus| bus.unit(CHANGE_UNIT)).ok()?;
    Some(!matches!(unit.active_state.as_str(), "inactive" | "failed"))
}

/// Waits for the end of a run without showing anything, and returns its result. Returns `None` if the run left no
/// result, or did not end within `timeout`.
pub(crate) fn read_result(run: &str, timeout: Duration) -> Option<RunResult> {
    follow_to_end(timeout).then(|| result_of(run)).flatten()
}

/// Waits until no change of this node is in progress. Returns false after `timeout`. Repeats the query while D-Bus does
/// not answer.
pub(crate) fn follow_to_end(timeout: Duration) -> bool {
    let began = since_boot();
    while runs() != Some(false) {
        if since_boot().saturating_sub(began) > timeout {
            return false;
        }
        std::thread::sleep(UNIT_PAUSE);
    }
    true
}

fn result_of(run: &str) -> Option<RunResult> {
    let text = std::fs::read(run_dir::path(run, END)).ok()?;
    serde_json::from_slice(&text).ok()
}

fn output(result: RunResult, format: OutputFormat) -> CommandOutput {
    match format {
        OutputFormat::Text => CommandOutput {
            exit: result.exit,
            out: result.output.out,
            err: result.output.err,
        },
        OutputFormat::Json => CommandOutput::text(result.exit, result.output.json),
    }
}

/// The new events of a growing progress file.
struct ProgressReader {
    path: PathBuf,
    offset: u64,
}

impl ProgressReader {
    fn of(id: &str) -> Self {
        Self {
            path: run_dir::path(id, EVENTS),
            offset: 0,
        }
    }

    fn read_new(&mut self) -> Vec<ProgressEvent> {
        let mut text = String::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_to_string(&mut text)
        });
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        if read.is_err() || complete == 0 {
            return Vec::new();
        }
        self.offset += complete as u64;
        let lines = text[..complete].lines();
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Progress on standard error: one rewritten line per step on a terminal, plain lines elsewhere, nothing with JSON
/// output.
struct FollowView {
    style: ViewStyle,
    began: Option<u64>,
    /// The step in progress, whose line on the terminal is not finished.
    open: Option<ProgressEvent>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ViewStyle {
    Terminal,
    Lines,
    Hidden,
}

impl FollowView {
    fn new(format: OutputFormat) -> Self {
        let style = match format {
            OutputFormat::Json => ViewStyle::Hidden,
            OutputFormat::Text if io::stderr().is_terminal() => ViewStyle::Terminal,
            OutputFormat::Text => ViewStyle::Lines,
        };
        Self {
            style,
            began: None,
            open: None,
        }
    }

    fn event(&mut self, event: &ProgressEvent) {
        let began = *self.began.get_or_insert(event.at_ms);
        match self.style {
            ViewStyle::Hidden => {}
            ViewStyle::Lines => print(&format!("{}\n", line(event.at_ms.saturating_sub(began), event))),
            ViewStyle::Terminal => {
                self.close();
                self.open = Some(event.clone());
                self.tick();
            }
        }
    }

    /// Rewrites the line of the step in progress with the time that it has taken.
    fn tick(&self) {
        if let (ViewStyle::Terminal, Some(event)) = (self.style, &self.open) {
            let now = u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX);
            print(&format!(
                "\r{}\x1b[K",
                cut_to_width(&line(now.saturating_sub(event.at_ms), event))
            ));
        }
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            print("\n");
        }
    }
}

/// Formats the seconds, the step and its text.
fn line(ms: u64, event: &ProgressEvent) -> String {
    format!(
        "{:>4}.{:02} s  {:<11} {}",
        ms / 1000,
        ms % 1000 / 10,
        event.step,
        event.text
    )
}

/// Cuts a line to the width of the terminal, because a line that wraps cannot be rewritten.
fn cut_to_width(line: &str) -> String {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    line.chars().take(columns.max(20) - 1).collect()
}

/// Ignores write errors: a closed stderr must neither abort the change nor stop this process from following it.
fn print(text: &str) {
    let mut err = io::stderr().lock();
    err.write_all(text.as_bytes()).and_then(|()| err.flush()).ok();
}
