//! The error of a command, ready to be printed as text or JSON.

use crate::exit::Exit;
use crate::reasons::is_known;
use mirrorshift_containerd::SourceLocation;
use mirrorshift_node::{
    BusError, ChangeError, NodeError, OpenError, PurgeError, RehearsalError, RootError, StatusError, error_chain,
};
use mirrorshift_plan::policy::{PolicyError, ValueError};
use mirrorshift_plan::{Refusal, RouteChange};

/// The error of a command. No part holds a secret, because the crates mask secrets in their errors.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) exit: Exit,
    /// A stable name of [`crate::reasons::REASONS`].
    pub(crate) reason: &'static str,
    /// A fragment that begins in lower case.
    pub(crate) message: String,
    pub(crate) place: Option<Box<Location>>,
    /// A sentence about the consequence for containerd or the node.
    pub(crate) effect: Option<Box<str>>,
    /// An action that the reader can take now.
    pub(crate) hint: Option<Box<str>>,
    /// Routes that would have changed without a request.
    pub(crate) routes: Vec<RouteChange>,
}

/// The location of an error.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) file: String,
    /// The first line is 1.
    pub(crate) line: Option<usize>,
    /// The first column is 1.
    pub(crate) column: Option<usize>,
    /// The line, with secrets masked.
    pub(crate) excerpt: Option<Excerpt>,
}

/// A line, and the faulty part of it in characters.
#[derive(Debug)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    pub(crate) caret: usize,
    pub(crate) len: usize,
}

impl CommandError {
    pub(crate) fn new(exit: Exit, reason: &'static str, message: impl Into<String>) -> Self {
        debug_assert!(is_known(reason), "`{reason}` is not in `REASONS`");
        Self {
            exit,
            reason,
            message: message.into(),
            place: None,
            effect: None,
            hint: None,
            routes: Vec::new(),
        }
    }

    pub(crate) fn usage(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, reason, message)
    }

    pub(crate) fn hint(self, hint: impl Into<Box<str>>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Returns the error of a flag with an invalid value.
    pub(crate) fn flag(flag: &'static str, error: &ValueError) -> Self {
        Self {
            hint: error.advice().map(Box::from),
            ..Self::usage("flag", format!("{flag}: {error}"))
        }
    }
}

impl From<Box<Refusal>> for CommandError {
    fn from(refusal: Box<Refusal>) -> Self {
        let Refusal {
            reason,
            what,
            place,
            shown,
            effect,
            hint,
            routes,
        } = *refusal;
        let (excerpt, column) = match shown {
            Some((text, column)) => {
                let excerpt = Excerpt {
                    text,
                    caret: column.saturating_sub(1),
                    len: 1,
                };
                (Some(excerpt), Some(column))
            }
            None => (None, None),
        };
        let at = |SourceLocation { path, line }| Location {
            file: path,
            line,
            column,
            excerpt,
        };
        Self {
            place: place.map(at).map(Box::new),
            effect: Some(effect).filter(|effect| !effect.is_empty()).map(Into::into),
            hint: Some(hint).filter(|hint| !hint.is_empty()).map(Into::into),
            routes,
            ..Self::new(Exit::Refused, reason.as_str(), what)
        }
    }
}

impl From<PolicyError> for CommandError {
    fn from(error: PolicyError) -> Self {
        let PolicyError {
            file,
            place,
            message,
            hint,
        } = error;
        let at = match place {
            None => Location {
                file,
                line: None,
                column: None,
                excerpt: None,
            },
            Some(place) => Location {
                file,
                line: Some(place.line),
                column: Some(place.column),
                excerpt: Some(Excerpt {
                    text: place.excerpt,
                    caret: place.caret,
                    len: place.len,
                }),
            },
        };
        Self {
            place: Some(Box::new(at)),
            hint: hint.map(Into::into),
            ..Self::usage("policy-file", message)
        }
    }
}

impl From<RootError> for CommandError {
    fn from(error: RootError) -> Self {
        let failure = match &error {
            RootError::Open { .. } => Self::usage("root", error_chain(&error)),
            RootError::NoOpenat2 => Self::new(Exit::Refused, "kernel", error_chain(&error)),
        };
        match error {
            RootError::Open { .. } => failure.hint("pass the directory that contains the node's etc/ and usr/"),
            RootError::NoOpenat2 => failure.hint("use Linux 5.6 or newer, outside seccomp filters that hide `openat2`"),
        }
    }
}

impl From<StatusError> for CommandError {
    fn from(error: StatusError) -> Self {
        let hint = match &error {
            StatusError::Journal(error) => Some(error.hint()),
            StatusError::Node(trouble) => trouble.hint(),
        };
        Self {
            hint: hint.map(Box::from),
            ..Self::new(Exit::Refused, "journal", error_chain(&error))
        }
    }
}

impl From<RehearsalError> for CommandError {
    fn from(error: RehearsalError) -> Self {
        Self::new(Exit::Refused, "not-rehearsed", error_chain(&error)).hint(error.hint())
    }
}

impl From<BusError> for CommandError {
    fn from(error: BusError) -> Self {
        Self::new(Exit::Refused, "systemd", error_chain(&error)).hint(error.hint())
    }
}

impl From<PurgeError> for CommandError {
    fn from(error: PurgeError) -> Self {
        let exit = match &error {
            PurgeError::Open(error) => error.kind().into(),
            PurgeError::Unsettled(_) => Exit::Refused,
            PurgeError::Node(_) => Exit::Unexpected,
        };
        Self {
            hint: error.hint().map(Box::from),
            ..Self::new(exit, "purge", error_chain(&error))
        }
    }
}

impl From<NodeError> for CommandError {
    fn from(trouble: NodeError) -> Self {
        Self {
            hint: trouble.hint().map(Box::from),
            ..Self::new(Exit::Refused, "node", error_chain(&trouble))
        }
    }
}

impl From<OpenError> for CommandError {
    fn from(error: OpenError) -> Self {
        let reason = match &error {
            OpenError::Locked { .. } => "locked",
            OpenError::Journal(_) => "journal",
            OpenError::Node(_) => "state",
        };
        Self {
            hint: error.hint().map(Box::from),
            ..Self::new(error.kind().into(), reason, error_chain(&error))
        }
    }
}

impl From<ChangeError> for CommandError {
    fn from(error: ChangeError) -> Self {
        let reason = match error.cause() {
            NodeError::Io { .. } | NodeError::Journal(_) => "io",
            NodeError::Unsuitable { .. } => "unsuitable-file",
            NodeError::ModifiedExternally { .. } => "edited-by-others",
            NodeError::Backup { .. } => "backup",
            NodeError::UnexpectedSibling { .. } => "leftover",
            NodeError::Space { .. } => "no-space",
            NodeError::EarlierUndoFailed { .. } => "stuck",
            NodeError::Systemd(_) => "systemd",
            NodeError::ContainerdUnhealthy(_) => "containerd",
            NodeError::DidNotConverge | NodeError::NoSuchStep(_) | NodeError::Message(_) => "change",
        };
        Self {
            hint: error.cause().hint().map(Box::from),
            ..Self::new(error.kind().into(), reason, error_chain(&error))
        }
    }
}
