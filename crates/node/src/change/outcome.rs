//! How a session ends, for callers.

use crate::error::NodeError;
use crate::journal::file::JournalError;

/// How an error ends the program; the exit codes are the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeErrorKind {
    /// Refused, and every file is as it was.
    Refused,
    /// Begun, failed, and undone: every file is as it was.
    Undone,
    /// Neither done nor undone: a person is needed.
    Stuck,
    /// Another writer holds the lock.
    Locked,
    /// Stopped in the middle: the same command goes on.
    Unfinished,
}

/// Why no session was opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process is changing this node.
    #[error("another writer holds the lock{}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// Its identifier, when it is known.
        pid: Option<u32>,
    },
    /// The journal cannot be trusted.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state folder cannot be used.
    #[error(transparent)]
    Trouble(#[from] NodeError),
}

impl OpenError {
    /// How it ends the program.
    pub fn kind(&self) -> NodeErrorKind {
        match self {
            Self::Locked { .. } => NodeErrorKind::Locked,
            Self::Journal(_) | Self::Trouble(_) => NodeErrorKind::Refused,
        }
    }

    /// What to do about it, as a sentence without its full stop.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => Some("wait until it is done; `status` shows how far it has come"),
            Self::Journal(error) => Some(error.hint()),
            Self::Trouble(trouble) => trouble.hint(),
        }
    }
}

/// Why a change did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Nothing was changed.
    #[error("refused, and nothing was changed")]
    Refused(#[source] NodeError),
    /// It was begun and undone.
    #[error("the change `{change}` was undone: every file is as it was")]
    Undone {
        /// Its identifier.
        change: String,
        /// Why.
        #[source]
        cause: NodeError,
    },
    /// The undo failed.
    #[error("the change `{change}` could not be undone, and a person is needed")]
    Stuck {
        /// Its identifier.
        change: String,
        /// Why.
        #[source]
        cause: NodeError,
    },
    /// It stopped where it stood.
    #[error("the change `{change}` stopped in the middle; run the command again")]
    Unfinished {
        /// Its identifier.
        change: String,
        /// Why.
        #[source]
        cause: NodeError,
    },
}

impl ChangeError {
    /// How it ends the program.
    pub fn kind(&self) -> NodeErrorKind {
        match self {
            Self::Refused(_) => NodeErrorKind::Refused,
            Self::Undone { .. } => NodeErrorKind::Undone,
            Self::Stuck { .. } => NodeErrorKind::Stuck,
            Self::Unfinished { .. } => NodeErrorKind::Unfinished,
        }
    }

    /// What was in the way.
    pub fn trouble(&self) -> &NodeError {
        match self {
            Self::Refused(trouble) => trouble,
            Self::Undone { cause, .. } | Self::Stuck { cause, .. } | Self::Unfinished { cause, .. } => cause,
        }
    }
}

/// What a session did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was to do, and nothing was written.
    Nothing,
    /// Every file holds its new bytes.
    Settled(Report),
    /// A change that had not settled is undone: every file holds its old bytes.
    Undone(Report),
    /// A settled change is rolled back: every file holds its old bytes.
    RolledBack(Report),
}

/// Which change it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its identifier.
    pub change: String,
    /// Its files, in the order of the steps.
    pub files: Vec<String>,
}
