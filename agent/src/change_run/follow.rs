//! Shows what a run tells, until its end. Whoever follows may leave at any time: the run goes on.

use crate::change_run::progress::{END, EVENTS, RunResult};
use crate::change_run::run_dir;
use crate::change_run::start::CALL;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::OutputFormat;
use crate::output::CommandOutput;
use crate::results::event::ProgressEvent;
use mirrorshift_node::{Bus, CHANGE, change_is_left, since_boot};
use std::fs::File;
use std::io::{
    IsTerminal, Read, Seek, SeekFrom, Write, {self},
};
use std::path::PathBuf;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(40);
/// Between two questions to systemd whether the unit is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Follows the run `id` to its end, and gives what it says then.
pub(crate) fn follow(id: &str, format: OutputFormat) -> Result<CommandOutput, CommandError> {
    let mut shown = FollowView::new(format);
    let mut events = ProgressReader::of(id);
    let mut looked = since_boot();
    let mut gone = false;
    loop {
        for event in events.new_ones() {
            shown.event(&event);
        }
        // The end counts once nothing of the unit is left: the next run could not begin before.
        if gone {
            shown.close();
            return told(id).map(|end| report(end, format)).ok_or_else(|| {
                CommandError::new(Exit::Unexpected, "ended", "the run ended and left no word")
                    .hint("`mirrorshift status` shows how far the node is; `journalctl -u mirrorshift-change` has more")
            });
        }
        let ended = run_dir::path(id, END).exists();
        if ended || since_boot().saturating_sub(looked) > LOOK {
            looked = since_boot();
            gone = is_gone(ended);
        }
        if !gone {
            shown.tick();
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whether the unit is over. Without a bus its own word tells, or that none of its processes is left.
fn is_gone(ended: bool) -> bool {
    let by_processes = || ended || !change_is_left().unwrap_or(false);
    runs().map_or_else(by_processes, |runs| !runs)
}

/// Whether a change of this node is under way; nothing when systemd cannot be asked.
pub(crate) fn runs() -> Option<bool> {
    let unit = Bus::connect(CALL).and_then(|bus| bus.unit(CHANGE)).ok()?;
    Some(!matches!(unit.active_state.as_str(), "inactive" | "failed"))
}

/// Waits for the end of a run without showing anything, and gives what it says then; nothing when it left no word, or did not
/// end `within` that time.
pub(crate) fn read_result(run: &str, within: Duration) -> Option<RunResult> {
    follow_to_end(within).then(|| told(run)).flatten()
}

/// Waits until no change of this node is under way; whether that came `within` that time. A bus that does not answer is asked
/// again.
pub(crate) fn follow_to_end(within: Duration) -> bool {
    let began = since_boot();
    while runs() != Some(false) {
        if since_boot().saturating_sub(began) > within {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

fn told(run: &str) -> Option<RunResult> {
    let bytes = std::fs::read(run_dir::path(run, END)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn report(end: RunResult, format: OutputFormat) -> CommandOutput {
    match format {
        OutputFormat::Text => CommandOutput {
            exit: end.exit,
            out: end.out,
            err: end.err,
        },
        OutputFormat::Json => CommandOutput::text(end.exit, end.json),
    }
}

/// The lines of a file that grows.
struct ProgressReader {
    path: PathBuf,
    read: u64,
}

impl ProgressReader {
    fn of(id: &str) -> Self {
        Self {
            path: run_dir::path(id, EVENTS),
            read: 0,
        }
    }

    fn new_ones(&mut self) -> Vec<ProgressEvent> {
        let mut text = String::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_string(&mut text)
        });
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if read.is_err() || whole == 0 {
            return Vec::new();
        }
        self.read += whole as u64;
        let lines = text[..whole].lines();
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Progress on standard error: a line that is rewritten on a terminal, plain lines elsewhere, nothing beside JSON.
struct FollowView {
    how: How,
    began: Option<u64>,
    /// The step that goes on, and since when.
    open: Option<ProgressEvent>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Terminal,
    Lines,
    Nothing,
}

impl FollowView {
    fn new(format: OutputFormat) -> Self {
        let how = match format {
            OutputFormat::Json => How::Nothing,
            OutputFormat::Text if io::stderr().is_terminal() => How::Terminal,
            OutputFormat::Text => How::Lines,
        };
        Self {
            how,
            began: None,
            open: None,
        }
    }

    fn event(&mut self, event: &ProgressEvent) {
        let began = *self.began.get_or_insert(event.at_ms);
        match self.how {
            How::Nothing => {}
            How::Lines => say(&format!("{}\n", line(event.at_ms.saturating_sub(began), event))),
            How::Terminal => {
                self.close();
                self.open = Some(event.clone());
                self.tick();
            }
        }
    }

    /// Rewrites the line of the step that goes on, with the time that it has taken.
    fn tick(&self) {
        if let (How::Terminal, Some(event)) = (self.how, &self.open) {
            let now = u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX);
            say(&format!(
                "\r{}\x1b[K",
                fitting(&line(now.saturating_sub(event.at_ms), event))
            ));
        }
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            say("\n");
        }
    }
}

/// Seconds, the step, what it means.
fn line(ms: u64, event: &ProgressEvent) -> String {
    format!(
        "{:>4}.{:02} s  {:<11} {}",
        ms / 1000,
        ms % 1000 / 10,
        event.step,
        event.text
    )
}

/// A line that is rewritten must not break.
fn fitting(line: &str) -> String {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    line.chars().take(columns.max(20) - 1).collect()
}

/// Nobody who stopped reading ends a change, or even its showing.
fn say(text: &str) {
    let mut err = io::stderr().lock();
    err.write_all(text.as_bytes()).and_then(|()| err.flush()).ok();
}
