//! Why a command did not do what it was asked, ready to be shown as text or JSON.

use crate::exit::Exit;
use mirrorshift_containerd::SourceLocation;
use mirrorshift_node::{
    BusError, ChangeError, NodeError, OpenError, PurgeError, RehearsalError, RootError, StatusError,
};
use mirrorshift_plan::policy::{PolicyError, ValueError};
use mirrorshift_plan::{Refusal, RouteChange};
use std::error::Error;

/// Everything that is known about a failure. No part holds a secret: the crates mask what they hand over.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// A stable name.
    pub(crate) reason: &'static str,
    /// What is wrong, as a fragment.
    pub(crate) message: String,
    /// The file, its line and the column in it, from 1, as far as they are known.
    pub(crate) place: Option<Box<Location>>,
    /// What containerd does with it, or what it means for the node, as a sentence.
    pub(crate) effect: Option<Box<str>>,
    /// What to do about it.
    pub(crate) hint: Option<Box<str>>,
    /// Routes that would have differed.
    pub(crate) routes: Vec<RouteChange>,
}

/// Where something is wrong.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) file: String,
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
    /// The line, safe to show.
    pub(crate) excerpt: Option<Excerpt>,
}

/// A line and the part of it that is to blame, in characters.
#[derive(Debug)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    pub(crate) caret: usize,
    pub(crate) len: usize,
}

impl CommandError {
    pub(crate) fn new(exit: Exit, reason: &'static str, message: impl Into<String>) -> Self {
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

    /// A flag whose value is refused.
    pub(crate) fn flag(flag: &'static str, error: &ValueError) -> Self {
        Self {
            hint: error.advice().map(Box::from),
            ..Self::usage("flag", format!("{flag}: {error}"))
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // The number that the standard library adds helps nobody.
        let part = error.to_string();
        text = format!("{text}: {}", part.split(" (os error").next().unwrap_or_default());
        source = error.source();
    }
    text
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
            RootError::Open { .. } => Self::usage("root", chain(&error)),
            RootError::NoOpenat2 => Self::new(Exit::Refused, "kernel", chain(&error)),
        };
        match error {
            RootError::Open { .. } => failure.hint("`--root` names a folder that holds a node's file system"),
            RootError::NoOpenat2 => failure.hint("run it on Linux 5.6 or newer, outside filters that hide `openat2`"),
        }
    }
}

impl From<StatusError> for CommandError {
    fn from(error: StatusError) -> Self {
        let hint = match &error {
            StatusError::Journal(error) => Some(error.hint()),
            StatusError::Trouble(trouble) => trouble.hint(),
        };
        Self {
            hint: hint.map(Box::from),
            ..Self::new(Exit::Refused, "journal", chain(&error))
        }
    }
}

impl From<RehearsalError> for CommandError {
    fn from(error: RehearsalError) -> Self {
        Self::new(Exit::Refused, "not-rehearsed", chain(&error)).hint(error.hint())
    }
}

impl From<BusError> for CommandError {
    fn from(error: BusError) -> Self {
        Self::new(Exit::Refused, "systemd", chain(&error)).hint(error.hint())
    }
}

impl From<PurgeError> for CommandError {
    fn from(error: PurgeError) -> Self {
        let exit = match &error {
            PurgeError::Open(error) => error.kind().into(),
            PurgeError::Unsettled(_) => Exit::Refused,
            PurgeError::Trouble(_) => Exit::Unexpected,
        };
        Self {
            hint: error.hint().map(Box::from),
            ..Self::new(exit, "purge", chain(&error))
        }
    }
}

impl From<NodeError> for CommandError {
    fn from(trouble: NodeError) -> Self {
        Self {
            hint: trouble.hint().map(Box::from),
            ..Self::new(Exit::Refused, "node", chain(&trouble))
        }
    }
}

impl From<OpenError> for CommandError {
    fn from(error: OpenError) -> Self {
        let reason = match &error {
            OpenError::Locked { .. } => "locked",
            OpenError::Journal(_) => "journal",
            OpenError::Trouble(_) => "state",
        };
        Self {
            hint: error.hint().map(Box::from),
            ..Self::new(error.kind().into(), reason, chain(&error))
        }
    }
}

impl From<ChangeError> for CommandError {
    fn from(error: ChangeError) -> Self {
        let reason = match error.trouble() {
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
            hint: error.trouble().hint().map(Box::from),
            ..Self::new(error.kind().into(), reason, chain(&error))
        }
    }
}
