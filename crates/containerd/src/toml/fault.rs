//! Errors of a parser, and the line numbers of offsets.

use std::ops::Range;

/// An error of a parser, before it is explained to an operator.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) span: Range<usize>,
}

/// Returns the line, counted from 1, of the byte at `offset`.
pub fn line_at(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count() + 1
}
