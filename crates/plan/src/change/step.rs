//! One step of a change as it was just observed, and what that says about it.

use serde::{Deserialize, Serialize};

/// What the journal says of one step. Written before the effect that it announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepProgress {
    /// Not begun, or put back at once because somebody else had edited the file.
    Waiting,
    /// The swap may have happened.
    Swapping,
    /// The swap happened, what it displaced was checked, and the folder is synced.
    Swapped,
    /// The swap back may have happened.
    Returning,
    /// The old bytes are back, what they displaced was checked, and the folder is synced.
    Returned,
}

/// What a step does to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// Puts a file where nothing was.
    Create,
    /// Puts other bytes in the place of a file.
    Replace,
    /// Takes away a file that an earlier change made.
    Remove,
}

/// What stands at a step's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathState {
    /// What stood there before the change: the same bytes, mode and owner, or nothing.
    Before,
    /// What the change puts there: the same bytes, or nothing.
    After,
    /// Something else: somebody edited it.
    Foreign,
}

/// What lies beside a step's path, at the name that the journal holds for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SiblingState {
    /// Nothing.
    Nothing,
    /// The old bytes, with their mode and owner.
    Before,
    /// The new bytes.
    After,
    /// Something else: a copy that was never finished, or somebody's edit that a swap displaced.
    Foreign,
}

/// One step as it was just observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepFacts {
    /// What it does.
    pub kind: StepKind,
    /// What the journal says of it.
    pub mark: StepProgress,
    /// What stands at its path.
    pub there: PathState,
    /// What lies beside it.
    pub beside: SiblingState,
    /// Whether its backup still matches its digest (true when it needs none).
    pub backup: bool,
}

impl StepFacts {
    /// The change needs nothing more before this step can be swapped in.
    pub(super) fn new_copy_is_ready(self) -> bool {
        match self.kind {
            StepKind::Create | StepKind::Replace => self.beside == SiblingState::After,
            StepKind::Remove => self.beside == SiblingState::Nothing,
        }
    }

    /// The old bytes lie ready to be swapped back in.
    pub(super) fn old_copy_is_ready(self) -> bool {
        match self.kind {
            StepKind::Create => self.beside == SiblingState::Nothing,
            StepKind::Replace | StepKind::Remove => self.beside == SiblingState::Before,
        }
    }

    /// What somebody else put at the path is not on top of bytes of ours, so an undo owes it nothing and leaves it.
    pub(super) fn is_clear_of_our_contents(self) -> bool {
        self.mark == StepProgress::Waiting
            || match self.kind {
                // Our bytes are beside it: they were never swapped in, or were swapped out again.
                StepKind::Create | StepKind::Replace => self.beside == SiblingState::After,
                StepKind::Remove => self.mark == StepProgress::Swapping && self.beside == SiblingState::Nothing,
            }
    }

    /// A swap displaced bytes that are neither old nor new: they go back to where they were.
    pub(super) fn displaced_foreign(self) -> bool {
        // Creating a file displaces nothing (it never replaces), so what lies there is not an edit of that file.
        self.kind != StepKind::Create && self.there == PathState::After && self.beside == SiblingState::Foreign
    }

    /// A swap displaced one edit, and another came on top before the first was given back. Which of them is right, only
    /// a person can say.
    pub(super) fn has_two_foreign_edits(self) -> bool {
        self.kind != StepKind::Create && self.there != PathState::After && self.beside == SiblingState::Foreign
    }
}
