//! The errors of this crate, with advice.

use crate::journal::record::{Change, StepRecord};
use crate::paths::backup_path;
use crate::systemd::error::BusError;
use rustix::io::Errno;
use std::io;

/// An error of one file, or of the change as a whole. Paths are the node's, without the root in front.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A system call failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// The action that failed, such as `sync`.
        action: &'static str,
        /// The path of the action.
        path: String,
        /// The error of the kernel.
        #[source]
        source: io::Error,
    },
    /// The file cannot be replaced.
    #[error("`{path}` {what}")]
    Unsuitable {
        /// The file.
        path: String,
        /// The problem, as the end of the sentence.
        what: String,
        /// The advice.
        hint: &'static str,
    },
    /// The file matches neither the plan nor the journal, because another program wrote it.
    #[error("`{path}` was modified by another program: {found}")]
    ModifiedExternally {
        /// The file.
        path: String,
        /// A description of the file that was found.
        found: String,
    },
    /// A backup no longer holds what was written to it.
    #[error("the backup `{backup}` of `{path}` no longer matches its digest")]
    Backup {
        /// The file of the backup.
        path: String,
        /// The backup.
        backup: String,
    },
    /// The copy next to a file is missing, or is another file.
    #[error("`{beside}`, the copy next to `{path}`, was removed or modified by another program")]
    UnexpectedSibling {
        /// The file.
        path: String,
        /// The copy.
        beside: String,
    },
    /// The file system has too little space for the new files.
    #[error("the file system of `{path}` has {free} bytes free, and the change needs {needed}")]
    Space {
        /// A folder on that file system.
        path: String,
        /// The free space in bytes.
        free: u64,
        /// The required space in bytes: four times the size of the new files.
        needed: u64,
    },
    /// An earlier change of this node could not be undone.
    #[error("the earlier change `{change}` could not be undone; mirrorshift makes no other change until it is")]
    EarlierUndoFailed {
        /// The identifier of that change.
        change: String,
    },
    /// The loop made more moves than any change needs.
    #[error("the change does not converge: another program keeps modifying its files")]
    DidNotConverge,
    /// A move names a step that the change does not have.
    #[error("the change has no step {0}")]
    NoSuchStep(usize),
    /// containerd did not start, or does not serve as before.
    #[error("containerd does not serve as before: {0}")]
    ContainerdUnhealthy(String),
    /// A call of systemd failed.
    #[error("cannot talk to systemd")]
    Systemd(#[source] Box<BusError>),
    /// The journal could not be written.
    #[error("cannot write the journal")]
    Journal(#[source] Box<NodeError>),
    /// Another error, described by its message.
    #[error("{0}")]
    Message(&'static str),
}

impl NodeError {
    pub(crate) fn io(action: &'static str, path: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let path = path.into();
        move |errno| Self::Io {
            action,
            path,
            source: errno.into(),
        }
    }

    /// Returns the error of a damaged backup: that of step `at` of `change`.
    pub(crate) fn damaged(change: &Change, step: &StepRecord, at: usize) -> Self {
        Self::Backup {
            path: step.path.clone(),
            backup: backup_path(&change.id, at),
        }
    }

    /// Returns the error for a containerd that differs from before in `differences`.
    pub(crate) fn unhealthy(differences: &[String]) -> Self {
        /// A node may have hundreds of containers, and a few of them are enough for a reason.
        const SHOWN: usize = 4;
        let mut shown: Vec<String> = differences.iter().take(SHOWN).cloned().collect();
        match differences.len().saturating_sub(SHOWN) {
            _ if shown.is_empty() => shown.push("it did not start in time".to_owned()),
            0 => {}
            more => shown.push(format!("and {more} more")),
        }
        Self::ContainerdUnhealthy(shown.join(", "))
    }

    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io { source, .. } => Errno::from_io_error(source),
            Self::Journal(inner) => inner.errno(),
            _ => None,
        }
    }

    /// Returns advice as a sentence without its full stop.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unsuitable { hint, .. } => Some(hint),
            Self::ModifiedExternally { .. } => {
                Some("inspect the file, restore it or keep it, then run the command again")
            }
            Self::Backup { .. } => Some("restore the original file by hand; `mirrorshift status` describes it"),
            Self::UnexpectedSibling { .. } => Some("compare both files, keep the right one, and move the copy away"),
            Self::Space { .. } => Some("free some space and run the command again"),
            Self::EarlierUndoFailed { .. } => Some(
                "restore the original or the new files that `mirrorshift status` names, then run `mirrorshift rollback`",
            ),
            Self::Systemd(error) => Some(error.hint()),
            Self::ContainerdUnhealthy(_) => Some("read containerd's log: `journalctl -u containerd`"),
            Self::DidNotConverge | Self::NoSuchStep(_) | Self::Message(_) => None,
            Self::Io { .. } | Self::Journal(_) => self.errno().and_then(advice),
        }
    }
}

fn advice(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::NOSPC | Errno::DQUOT => "free some space and run the command again",
        Errno::ROFS => "the file system is read-only: change the image that it comes from, or mount it read-write",
        Errno::BUSY => "the file is a separate mount: change the file that is mounted there",
        Errno::XDEV => "the file and its folder are on different file systems: move them to the same one",
        Errno::PERM | Errno::ACCESS => {
            "run the command with sudo; if that does not help, check `lsattr` for `+i`, and the security modules"
        }
        Errno::IO => "the disk reported an error: read the kernel's log first (`journalctl -k`)",
        _ => return None,
    })
}

/// Returns the message of a system error without the number that the standard library adds.
pub(crate) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}
