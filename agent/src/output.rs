//! The output of a command, before it is written.

use crate::exit::Exit;
use std::io;
use std::os::fd::AsFd;
use terminal_size::{Width, terminal_size_of};

/// The width of text without a terminal, as in a pipe or in the journal.
pub(crate) const PLAIN_WIDTH: usize = 100;
/// Text is not narrower than this, whatever the terminal reports.
const MIN_WIDTH: usize = 40;
/// Text is not wider than this, because long lines are hard to read.
const MAX_WIDTH: usize = 120;

/// The width of errors without a terminal: they are not wrapped, so that a program finds a sentence in one line.
pub(crate) const UNWRAPPED: usize = usize::MAX;

/// Returns the columns for errors on standard error.
pub(crate) fn error_width() -> usize {
    columns_of(&io::stderr()).map_or(UNWRAPPED, |columns| columns.clamp(MIN_WIDTH, MAX_WIDTH))
}

/// Returns the columns for text on standard output.
pub(crate) fn text_width() -> usize {
    columns_of(&io::stdout())
        .unwrap_or(PLAIN_WIDTH)
        .clamp(MIN_WIDTH, MAX_WIDTH)
}

/// Returns the columns of the terminal, or of the variable `COLUMNS` if the stream is not a terminal.
fn columns_of(stream: &impl AsFd) -> Option<usize> {
    let terminal = terminal_size_of(stream).map(|(Width(columns), _)| usize::from(columns));
    let variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.filter(|columns| *columns > 0).or_else(variable)
}

/// The text that a command prints, and its exit code.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) exit: Exit,
    /// Text for standard output, with colors.
    pub(crate) out: String,
    /// Text for standard error, with colors.
    pub(crate) err: String,
}

impl CommandOutput {
    /// Returns an output that prints `out` on standard output.
    pub(crate) fn text(exit: Exit, out: String) -> Self {
        let err = String::new();
        Self { exit, out, err }
    }
}
