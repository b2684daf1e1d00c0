//! The output of a command, before it is written.

use crate::exit::Exit;

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
