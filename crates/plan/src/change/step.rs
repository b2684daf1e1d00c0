//! One step of a change as it was just observed, and what that says about it.

use serde::{Deserialize, Serialize};

/// What the journal says of one step. Written before the effect that it announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
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
pub enum Kind {
    /// Puts a file where nothing was.
    Create,
    /// Puts other bytes in the place of a file.
    Replace,
    /// Takes away a file that an earlier change made.
    Remove,
}

/// What stands at a step's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum There {
    /// What stood there before the change: the same bytes, mode and owner, or nothing.
    Before,
    /// What the change puts there: the same bytes, or nothing.
    After,
    /// Something else: somebody edited it.
    Foreign,
}

/// What lies beside a step's path, at the name that the journal holds for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beside {
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
    pub kind: Kind,
    /// What the journal says of it.
    pub mark: Mark,
    /// What stands at its path.
    pub there: There,
    /// What lies beside it.
    pub beside: Beside,
    /// Whether its backup still matches its digest (true when it needs none).
    pub backup: bool,
}

impl StepFacts {
    /// The change needs nothing more before this step can be swapped in.
    pub(super) fn staged(self) -> bool {
        match self.kind {
            Kind::Create | Kind::Replace => self.beside == Beside::After,
            Kind::Remove => self.beside == Beside::Nothing,
        }
    }

    /// The old bytes lie ready to be swapped back in.
    pub(super) fn unstaged(self) -> bool {
        match self.kind {
            Kind::Create => self.beside == Beside::Nothing,
            Kind::Replace | Kind::Remove => self.beside == Beside::Before,
        }
    }

    /// What somebody else put at the path is not on top of bytes of ours, so an undo owes it nothing and leaves it.
    pub(super) fn untouched(self) -> bool {
        self.mark == Mark::Waiting
            || match self.kind {
                // Our bytes are beside it: they were never swapped in, or were swapped out again.
                Kind::Create | Kind::Replace => self.beside == Beside::After,
                Kind::Remove => self.mark == Mark::Swapping && self.beside == Beside::Nothing,
            }
    }

    /// A swap displaced bytes that are neither old nor new: they go back to where they were.
    pub(super) fn displaced_foreign(self) -> bool {
        // Creating a file displaces nothing (it never replaces), so what lies there is not an edit of that file.
        self.kind != Kind::Create && self.there == There::After && self.beside == Beside::Foreign
    }

    /// A swap displaced one edit, and another came on top before the first was given back. Which of them is right, only
    /// a person can say.
    pub(super) fn edited_twice(self) -> bool {
        self.kind != Kind::Create && self.there != There::After && self.beside == Beside::Foreign
    }
}
