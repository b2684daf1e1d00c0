//! What can go wrong, with advice.

use crate::journal::file::{Change, StepRecord};
use crate::journal::state_dir::backup_path;
use crate::systemd::error::BusError;
use rustix::io::Errno;
use std::io;

/// Why one file could not be dealt with. Paths are the node's, without the root in front.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The kernel refused.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried, such as `sync`.
        action: &'static str,
        /// On what.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What stands there is nothing to replace.
    #[error("`{path}` {what}")]
    Unsuitable {
        /// The file.
        path: String,
        /// What is wrong with it, as the end of the sentence.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// What stands there is not what the plan or the journal says: somebody else wrote it.
    #[error("`{path}` was edited by somebody else: {found}")]
    ModifiedExternally {
        /// The file.
        path: String,
        /// What was found instead.
        found: String,
    },
    /// A backup holds other bytes than it was given.
    #[error("the backup `{backup}` of `{path}` no longer matches its digest")]
    Backup {
        /// The file that it is a backup of.
        path: String,
        /// The backup.
        backup: String,
    },
    /// Something lies at a name that the tool uses for a copy, and it is not that copy.
    #[error("`{beside}`, a copy beside `{path}`, was taken away or altered by somebody else")]
    UnexpectedSibling {
        /// The file.
        path: String,
        /// The copy.
        beside: String,
    },
    /// Too little space for what is to be written.
    #[error("the file system of `{path}` has {free} bytes free, and {needed} are wanted")]
    Space {
        /// A folder on that file system.
        path: String,
        /// Bytes free to the caller.
        free: u64,
        /// Bytes wanted: four times what is written.
        needed: u64,
    },
    /// An earlier change of this node could not be undone.
    #[error("the change `{change}` could not be undone, and nothing else is changed before it is")]
    EarlierUndoFailed {
        /// Its identifier.
        change: String,
    },
    /// The loop went round more often than any change needs.
    #[error("the change does not come to an end")]
    DidNotConverge,
    /// containerd did not come up, or not as it was.
    #[error("containerd does not serve as it did before: {0}")]
    ContainerdUnhealthy(String),
    /// systemd was asked in vain.
    #[error("systemd cannot be asked")]
    Systemd(#[source] Box<BusError>),
    /// The journal could not be written.
    #[error("cannot write the journal")]
    Journal(#[source] Box<NodeError>),
    /// An earlier run was cut short, or the caller asked for the way back.
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

    /// The backup of step `at` of `change`.
    pub(crate) fn damaged(change: &Change, step: &StepRecord, at: usize) -> Self {
        Self::Backup {
            path: step.path.clone(),
            backup: backup_path(&change.id, at),
        }
    }

    /// From what is not as it was.
    pub(crate) fn daemon(differences: &[String]) -> Self {
        /// A node may have hundreds of containers, and the reason is told by a few.
        const SHOWN: usize = 4;
        let mut shown: Vec<String> = differences.iter().take(SHOWN).cloned().collect();
        match differences.len().saturating_sub(SHOWN) {
            _ if shown.is_empty() => shown.push("it did not come up in time".to_owned()),
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

    /// What to do about it, as a sentence without its full stop.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unsuitable { hint, .. } => Some(hint),
            Self::ModifiedExternally { .. } => Some("look at the file and run the command again"),
            Self::Backup { .. } => Some("put the old file back by hand; `status` names what stood there"),
            Self::UnexpectedSibling { .. } => {
                Some("look at both files, keep the one that is right, and move the copy away")
            }
            Self::Space { .. } => Some("free some space and run the command again"),
            Self::EarlierUndoFailed { .. } => {
                Some("put the old or the new bytes back at the files that `status` names, then run `rollback`")
            }
            Self::Systemd(error) => Some(error.hint()),
            Self::ContainerdUnhealthy(_) => Some("look at containerd's log: `journalctl -u containerd`"),
            Self::DidNotConverge | Self::Message(_) => None,
            Self::Io { .. } | Self::Journal(_) => self.errno().and_then(advice),
        }
    }
}

fn advice(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::NOSPC | Errno::DQUOT => "free some space and run the command again",
        Errno::ROFS => "the file system is read-only: change the image that it comes from, or mount it read-write",
        Errno::BUSY => "the file is a mount of its own: change the file that is mounted there",
        Errno::XDEV => "the folder spans file systems: give the file's folder a file system of its own, or none",
        Errno::PERM | Errno::ACCESS => {
            "run as the user who owns the files, and look for `chattr +i` and security modules"
        }
        Errno::IO => "the disk reported an error: look at the kernel's log before anything else",
        _ => return None,
    })
}

/// What the kernel said, without the number that the standard library adds.
pub(crate) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}
