//! What is wrong with a policy or a flag: where, what and what to do, without ever repeating a secret.

/// A policy file that is refused.
///
/// Display is `file:line:column: message`; the line itself, the caret and the hint are for whoever prints reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", prefix(.file, .place.as_deref()))]
pub struct PolicyError {
    /// The name that the caller gave the text, usually the path of the file.
    pub file: String,
    /// Where in the text, or `None` when it is about the file as a whole.
    pub place: Option<Box<Place>>,
    /// What is wrong, in half a sentence.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// A place in a policy, with its line ready to be shown above a caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line as it may be shown: user-info, queries and what stands behind an unknown key or one that names a
    /// secret are masked, control characters replaced, long lines cut round the caret.
    pub excerpt: String,
    /// Characters of `excerpt` before the caret.
    pub caret: usize,
    /// Characters of `excerpt` to underline, at least 1.
    pub len: usize,
}

fn prefix(file: &str, place: Option<&Place>) -> String {
    place.map_or_else(
        || format!("{file}: "),
        |place| format!("{file}:{}:{}: ", place.line, place.column),
    )
}

/// A host, URL or flag that is refused, before anybody knows in which file or argument it stood.
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

    /// What to write instead, when that is known.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
