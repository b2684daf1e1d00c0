//! The rules that more than one phase applies.

use crate::change::facts::{ChangeFacts, Goal};
use crate::change::moves::{Move, UndoReason};
use crate::change::step::{PathState, StepFacts};

/// Returns the reason to undo an unfinished change instead of completing it.
///
/// Files that no running containerd reads may be completed by any run. A containerd must not be restarted by a run that
/// no operator waits for.
pub(super) fn undo_reason(goal: Goal, facts: &ChangeFacts) -> Option<UndoReason> {
    match goal {
        Goal::Apply => None,
        Goal::Recover if facts.service.is_none() => None,
        Goal::Recover => Some(UndoReason::Interrupted),
        Goal::Rollback | Goal::Guard => Some(UndoReason::Requested),
    }
}

/// Returns the move of a phase that goes forward when it has to turn back: after one failed move, and for a goal that
/// undoes. After a second failed move the phase could not even be recorded, so the run ends.
pub(super) fn turn_back(goal: Goal, facts: &ChangeFacts) -> Option<Move> {
    match facts.failed_moves {
        0 => undo_reason(goal, facts).map(Move::Undo),
        1 => Some(Move::Undo(UndoReason::MoveFailed)),
        _ => Some(Move::StopWithFault(UndoReason::MoveFailed)),
    }
}

/// Returns the move that the files need after the last swap, before the originals may be removed.
pub(super) fn after_last_swap(facts: &ChangeFacts) -> Option<Move> {
    // A process that held the old file open may have written to it after the swap. Its edit is put back.
    if let Some(at) = facts.first_step(StepFacts::displaced_foreign) {
        return Some(Move::PutBack(at));
    }
    // After that the change is not complete. An edit on top of our file (with any other progress) was made after the
    // change was complete, and does not prevent settling it.
    if let Some(at) = facts.first_step(|step| step.at_path == PathState::Foreign && step.is_clear_of_our_contents()) {
        return Some(Move::Undo(UndoReason::Foreign(at)));
    }
    facts
        .first_step(StepFacts::has_two_foreign_edits)
        .map(|at| Move::GiveUp(UndoReason::Leftover(at)))
}

/// Returns `Settle`, or the removal of a copy that must be gone before.
pub(super) fn settle(facts: &ChangeFacts) -> Move {
    facts
        .first_step(StepFacts::has_own_sibling)
        .map_or(Move::Settle, Move::RemoveSibling)
}
