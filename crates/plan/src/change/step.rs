//! One step of a change as it was observed, and the conclusions from it.

use serde::{Deserialize, Serialize};

/// The progress of one step, as the journal records it. It is written before the effect that it announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepProgress {
    /// The step has not begun, or was put back at once because another program had edited the file.
    Waiting,
    /// The swap may have happened.
    Swapping,
    /// The swap happened, the displaced file was checked, and the folder is synced.
    Swapped,
    /// The swap back may have happened.
    Returning,
    /// The original file is restored, the displaced file was checked, and the folder is synced.
    Returned,
}

/// The effect of a step on its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// Adds a file where none was.
    Create,
    /// Replaces a file.
    Replace,
    /// Removes a file that an earlier change created.
    Remove,
}

/// The file at a step's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathState {
    /// The state before the change: the same contents, mode and owner, or no file.
    Before,
    /// The state after the change: the new contents, or no file.
    After,
    /// Anything else: another program edited it.
    Foreign,
}

/// The file next to a step's path, at the name that the journal records for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SiblingState {
    /// No file.
    Nothing,
    /// The original file, with its mode and owner.
    Before,
    /// The new file.
    After,
    /// Anything else: a copy that was never finished, or an edit of another program that a swap displaced.
    Foreign,
}

/// One step as it was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepFacts {
    /// The effect of the step.
    pub kind: StepKind,
    /// The progress that the journal records.
    pub mark: StepProgress,
    /// The file at the path.
    pub at_path: PathState,
    /// The file next to the path.
    pub sibling: SiblingState,
    /// True when the backup still matches its digest, or the step needs none.
    pub backup: bool,
}

impl StepFacts {
    /// Returns true when this step can be swapped in without further preparation.
    pub(super) fn new_copy_is_ready(self) -> bool {
        match self.kind {
            StepKind::Create | StepKind::Replace => self.sibling == SiblingState::After,
            StepKind::Remove => self.sibling == SiblingState::Nothing,
        }
    }

    /// Returns true when the original file can be swapped back in without further preparation.
    pub(super) fn old_copy_is_ready(self) -> bool {
        match self.kind {
            StepKind::Create => self.sibling == SiblingState::Nothing,
            StepKind::Replace | StepKind::Remove => self.sibling == SiblingState::Before,
        }
    }

    /// Returns true when the foreign file at the path was not written on top of our file. An undo leaves such a file.
    pub(super) fn is_clear_of_our_contents(self) -> bool {
        self.mark == StepProgress::Waiting
            || match self.kind {
                // The new file is next to the path: it was never swapped in, or was swapped out again.
                StepKind::Create | StepKind::Replace => self.sibling == SiblingState::After,
                StepKind::Remove => self.mark == StepProgress::Swapping && self.sibling == SiblingState::Nothing,
            }
    }

    /// Returns true when a swap displaced a file that is neither the original nor the new one. It must be put back.
    pub(super) fn displaced_foreign(self) -> bool {
        // Creating a file displaces nothing, because it never replaces. So the sibling is not an edit of that file.
        self.kind != StepKind::Create && self.at_path == PathState::After && self.sibling == SiblingState::Foreign
    }

    /// Returns true when a swap displaced one edit, and another was written before the first was put back. Only an
    /// operator can decide which of them is right.
    pub(super) fn has_two_foreign_edits(self) -> bool {
        self.kind != StepKind::Create && self.at_path != PathState::After && self.sibling == SiblingState::Foreign
    }

    /// Returns true when any file is next to the path.
    pub(super) fn has_sibling(self) -> bool {
        self.sibling != SiblingState::Nothing
    }

    /// Returns true when a complete copy of ours is next to the path.
    pub(super) fn has_own_sibling(self) -> bool {
        matches!(self.sibling, SiblingState::Before | SiblingState::After)
    }
}
