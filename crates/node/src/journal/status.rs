//! What the journal says, without a lock.

use crate::error::NodeError;
use crate::files::root::Root;
use crate::journal::file::{Change, Journal, JournalError, OwnedFile};
use crate::journal::state_dir::StateDir;
use mirrorshift_plan::change::Phase;
use std::collections::BTreeMap;

/// What was changed on a node, and what is being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The change that is not over, if any.
    pub unfinished: Option<Change>,
    /// The changes that are over, oldest first: five at most, and for each the last one that took it back.
    pub history: Vec<Change>,
    /// The files that hold what this tool wrote, by path.
    pub owned: BTreeMap<String, OwnedFile>,
}

impl Status {
    /// How far the node is: of the unfinished change, else of the last one that settled and was not rolled back.
    pub fn phase(&self) -> Phase {
        match (&self.unfinished, self.in_force()) {
            (Some(change), _) | (None, Some(change)) => change.phase,
            (None, None) => Phase::Idle,
        }
    }

    /// Whether the change that has not settled, or else the last one, was armed in another boot than `boot`. What runs because
    /// containerd is started has nothing to do otherwise: it is the change that starts it. So it asks this before it ends
    /// anybody or takes the lock, which the one that is to undo the change may want just then.
    pub fn is_of_another_boot(&self, boot: &str) -> bool {
        Journal::is_of_another_boot(self.unfinished.as_ref(), &self.history, boot)
    }

    /// The change whose bytes are in force, when no other is under way: `rollback` takes it back.
    pub fn in_force(&self) -> Option<&Change> {
        Journal::in_force(&self.history)
    }
}

/// Why the journal cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// It cannot be trusted.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The folder that it lies in cannot be used.
    #[error(transparent)]
    Trouble(#[from] NodeError),
}

/// Reads the journal below `root`. Writes nothing and takes no lock: the journal is replaced whole, so this is what was
/// true a moment ago.
///
/// # Errors
/// [`StatusError`] when it cannot be read or trusted.
pub fn status(root: &Root) -> Result<Status, StatusError> {
    let journal = match StateDir::open_existing(root)? {
        Some(state) => Journal::load(&state)?,
        None => Journal::default(),
    };
    Ok(Status {
        unfinished: journal.open,
        history: journal.history,
        owned: journal.owned,
    })
}
