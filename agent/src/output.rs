//! The output of a command, before it is written.

use crate::exit::Exit;
use std::io;
use terminal_size::{Width, terminal_size_of};

/// The width of text without a terminal, as in a pipe or in the journal.
pub(crate) const PLAIN_WIDTH: usize = 100;
/// Text is not narrower than this, whatever the terminal reports.
const MIN_WIDTH: usize = 40;
/// Text is not wider than this, because long lines are hard to read.
const MAX_WIDTH: usize = 120;

/// Returns the columns of the terminal, or of the variable `COLUMNS` if standard output is not a terminal.
pub(crate) fn text_width() -> usize {
    let terminal = terminal_size_of(io::stdout()).map(|(Width(columns), _)| usize::from(columns));
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal
        .filter(|columns| *columns > 0)
        .or_else(columns)
        .unwrap_or(PLAIN_WIDTH)
        .clamp(MIN_WIDTH, MAX_WIDTH)
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
