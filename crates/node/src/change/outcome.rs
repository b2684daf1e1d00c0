//! The result of a session, for callers.

use crate::error::NodeError;
use crate::journal::file::JournalError;

/// The kind of an error. The caller maps it to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeErrorKind {
    /// Refused. Nothing was changed.
    Refused,
    /// The change failed and was undone: every file is the original.
    Undone,
    /// The undo failed: an operator must repair the node.
    Stuck,
    /// Another process holds the lock.
    Locked,
    /// The change stopped in the middle. The same command continues it.
    Unfinished,
}

/// An error that prevented a session. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process is changing this node.
    #[error("another process holds the lock{}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The process id of the holder, if it is known.
        pid: Option<u32>,
    },
    /// The journal cannot be trusted.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state folder cannot be used.
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl OpenError {
    /// Returns the kind of the error.
    pub fn kind(&self) -> NodeErrorKind {
        match self {
            Self::Locked { .. } => NodeErrorKind::Locked,
            Self::Journal(_) | Self::Node(_) => NodeErrorKind::Refused,
        }
    }

    /// Returns advice as a sentence without its full stop.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => {
                Some("wait until the other change has ended; `mirrorshift status` shows its progress")
            }
            Self::Journal(error) => Some(error.hint()),
            Self::Node(error) => error.hint(),
        }
    }
}

/// An error that ended a change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Nothing was changed.
    #[error("refused, and nothing was changed")]
    Refused(#[source] NodeError),
    /// The change failed and was undone.
    #[error("the change `{change}` was undone: every file is the original")]
    Undone {
        /// The identifier of the change.
        change: String,
        /// The cause.
        #[source]
        cause: NodeError,
    },
    /// The undo failed.
    #[error("the change `{change}` could not be undone: an operator must repair the node")]
    Stuck {
        /// The identifier of the change.
        change: String,
        /// The cause.
        #[source]
        cause: NodeError,
    },
    /// The change stopped in the middle.
    #[error("the change `{change}` stopped in the middle; run the command again")]
    Unfinished {
        /// The identifier of the change.
        change: String,
        /// The cause.
        #[source]
        cause: NodeError,
    },
}

impl ChangeError {
    /// Returns the kind of the error.
    pub fn kind(&self) -> NodeErrorKind {
        match self {
            Self::Refused(_) => NodeErrorKind::Refused,
            Self::Undone { .. } => NodeErrorKind::Undone,
            Self::Stuck { .. } => NodeErrorKind::Stuck,
            Self::Unfinished { .. } => NodeErrorKind::Unfinished,
        }
    }

    /// Returns the cause.
    pub fn cause(&self) -> &NodeError {
        match self {
            Self::Refused(cause)
            | Self::Undone { cause, .. }
            | Self::Stuck { cause, .. }
            | Self::Unfinished { cause, .. } => cause,
        }
    }
}

/// The outcome of a session that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to do, and nothing was written.
    Nothing,
    /// The change settled: every new file is in place.
    Settled(Report),
    /// An unsettled change was undone: every file is the original.
    Undone(Report),
    /// A settled change was rolled back: every file is the original.
    RolledBack(Report),
}

/// The change of an outcome, and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The identifier of the change.
    pub change: String,
    /// The files of the change, in the order of its steps.
    pub files: Vec<String>,
}
