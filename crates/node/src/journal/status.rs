//! The state of a node's changes, read from the journal without the lock.

use crate::error::NodeError;
use crate::files::root::Root;
use crate::journal::file::{Journal, JournalError};
use crate::journal::record::{Change, OwnedFile, UndoCause};
use crate::journal::state_dir::StateDir;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::Phase;
use std::collections::BTreeMap;

/// The changes of a node, and the files that Mirrorshift wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The change in progress, if any.
    pub unfinished: Option<Change>,
    /// The closed changes, oldest first: five at most, and for each its last rollback.
    pub history: Vec<Change>,
    /// The files that hold contents written by Mirrorshift, by path.
    pub owned: BTreeMap<String, OwnedFile>,
}

impl Status {
    /// Returns the phase of the unfinished change, or else of the last change that settled and was not rolled back.
    pub fn phase(&self) -> Phase {
        match (&self.unfinished, self.in_force()) {
            (Some(change), _) | (None, Some(change)) => change.phase,
            (None, None) => Phase::Idle,
        }
    }

    /// Returns true if the unfinished change, or else the last one, was armed in another boot than `boot`.
    ///
    /// The boot guard must check this first. In the same boot containerd was started by the change itself, so the guard must
    /// neither kill that change nor compete for its lock.
    pub fn is_of_another_boot(&self, boot: &str) -> bool {
        Journal::is_of_another_boot(self.unfinished.as_ref(), &self.history, boot)
    }

    /// Returns the change whose files are in force. `rollback` reverts it.
    pub fn in_force(&self) -> Option<&Change> {
        Journal::in_force(&self.history)
    }

    /// Returns the last change of this plan for this version of containerd, if it was undone for a cause that would occur again.
    /// A program must not attempt such a plan again by itself. A change that was killed, reset, modified by another program or
    /// stopped by a full disk is not returned, and neither is a change whose plan has settled since.
    pub fn undone_before(&self, plan: Digest, containerd: &str) -> Option<&Change> {
        let of_this_plan = |change: &&Change| change.plan == plan && change.containerd == containerd;
        let last = self.history.iter().rfind(of_this_plan)?;
        let would_fail_again = last.why.is_some_and(UndoCause::is_reproducible);
        (last.phase == Phase::Undone && would_fail_again).then_some(last)
    }
}

/// An error because of which the journal cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The journal cannot be read or trusted.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state folder cannot be used.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Reads the journal under `root`. It writes nothing and takes no lock, because the journal is always replaced as a whole: the
/// result was true a moment ago.
///
/// # Errors
/// [`StatusError`] if the journal cannot be read or trusted.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn change(plan: &str, containerd: &str, phase: Phase, why: Option<UndoCause>) -> Change {
        Change {
            id: "x".to_owned(),
            plan: Digest::of(plan.as_bytes()),
            containerd: containerd.to_owned(),
            began: 0,
            ended: None,
            phase,
            settled: phase == Phase::Settled,
            note: None,
            why,
            undoes: None,
            folders: Vec::new(),
            is_repair: false,
            leaves: Vec::new(),
            new_file_mode: 0o644,
            service: None,
            steps: Vec::new(),
        }
    }

    fn is_blocked(history: Vec<Change>) -> bool {
        let status = Status {
            unfinished: None,
            history,
            owned: BTreeMap::new(),
        };
        status.undone_before(Digest::of(b"plan"), "1.7.24").is_some()
    }

    #[test]
    fn only_repeatable_failures_block_a_plan() {
        let undone = |why| change("plan", "1.7.24", Phase::Undone, why);
        assert!(is_blocked(vec![undone(Some(UndoCause::Daemon))]));
        for why in [
            None,
            Some(UndoCause::Interrupted),
            Some(UndoCause::Asked),
            Some(UndoCause::Foreign),
            Some(UndoCause::Damaged),
            Some(UndoCause::Fault),
            Some(UndoCause::Other),
        ] {
            assert!(!is_blocked(vec![undone(why)]), "{why:?}");
            // Only the last change decides.
            assert!(
                !is_blocked(vec![undone(Some(UndoCause::Daemon)), undone(why)]),
                "{why:?}"
            );
            assert!(
                is_blocked(vec![undone(why), undone(Some(UndoCause::Daemon))]),
                "{why:?}"
            );
        }
        let daemon = Some(UndoCause::Daemon);
        assert!(!is_blocked(vec![change("other", "1.7.24", Phase::Undone, daemon)]));
        // Another containerd may accept the plan.
        assert!(!is_blocked(vec![change("plan", "1.7.25", Phase::Undone, daemon)]));
        let settled = change("plan", "1.7.24", Phase::Settled, None);
        assert!(!is_blocked(vec![undone(daemon), settled]));
        let others = [
            change("plan", "1.7.25", Phase::Settled, None),
            change("other", "1.7.24", Phase::Settled, None),
        ];
        assert!(is_blocked([vec![undone(daemon)], others.into()].concat()));
    }

    #[test]
    fn cause_of_a_newer_version_is_read_as_other() {
        let read: UndoCause = serde_json::from_str("\"weather\"").unwrap();
        assert_eq!(read, UndoCause::Other);
        assert_eq!(serde_json::to_string(&UndoCause::Daemon).unwrap(), "\"daemon\"");
    }
}
