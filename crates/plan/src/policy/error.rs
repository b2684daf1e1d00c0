//! The errors of a policy or a flag: location, message and hint, without any secret.

/// A policy file that is refused.
///
/// Display is `file:line:column: message`. The caller prints the line, the caret and the hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", prefix(.file, .place.as_deref()))]
pub struct PolicyError {
    /// The name that the caller gave the text, usually the path of the file.
    pub file: String,
    /// The location in the text, or `None` when the error concerns the whole file.
    pub place: Option<Box<Place>>,
    /// The message, as a fragment.
    pub message: String,
    /// The text to write instead.
    pub hint: Option<String>,
}

/// A location in a policy, with its line as it may be printed above a caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line as it may be printed. User-info, queries, and the values of unknown keys and of keys that name a secret are
    /// masked. Control characters are replaced, and long lines are cut around the caret.
    pub excerpt: String,
    /// The number of characters of `excerpt` before the caret.
    pub caret: usize,
    /// The number of characters of `excerpt` to underline, at least 1.
    pub len: usize,
}

fn prefix(file: &str, place: Option<&Place>) -> String {
    place.map_or_else(
        || format!("{file}: "),
        |place| format!("{file}:{}:{}: ", place.line, place.column),
    )
}

/// A host, URL or flag that is refused, without the file or argument that it is in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValueError {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl ValueError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Returns the text to write instead, when that is known.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
