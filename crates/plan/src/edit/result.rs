//! The output of an edit: the new text, and the text that was removed.

/// A file after its edit.
#[derive(Clone, Debug)]
pub(crate) struct EditResult {
    pub(crate) text: String,
    /// Comments that were removed together with a table.
    pub(crate) comments: Vec<RemovedText>,
    /// Keys that containerd never read and that stay as comments.
    pub(crate) kept: Vec<RemovedText>,
}

/// A text that an edit removed, or turned into a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedText {
    /// The line in the original file, from 1.
    pub line: usize,
    /// The table that the text belonged to.
    pub table: Vec<String>,
    /// The text. It may contain a secret: mask it before you print it.
    pub text: String,
}
