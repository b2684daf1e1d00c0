//! What to do about the files, phase by phase.

use crate::change::containerd::{
    Guard, {self},
};
use crate::change::step::{PathState, SiblingState, StepFacts, StepKind, StepProgress};
use crate::change::{ChangeFacts, Goal, Move, UndoReason};

pub(super) fn idle(goal: Goal, facts: &ChangeFacts) -> Move {
    if let Some(next) = containerd::after_close(goal, facts) {
        return next;
    }
    if goal != Goal::Apply || facts.steps.is_empty() {
        return Move::Done;
    }
    if facts.failed_moves > 0 {
        return Move::Refuse(UndoReason::MoveFailed);
    }
    match first(facts, |step| step.there != PathState::Before) {
        Some(at) => Move::Refuse(UndoReason::Foreign(at)),
        None => Move::Arm,
    }
}

pub(super) fn armed(goal: Goal, facts: &ChangeFacts) -> Move {
    let end = match goal {
        _ if facts.failed_moves > 1 => return Move::StopWithFault(UndoReason::MoveFailed),
        _ if facts.failed_moves == 1 => Some(UndoReason::MoveFailed),
        Goal::Recover => Some(UndoReason::Interrupted),
        Goal::Rollback | Goal::Guard => Some(UndoReason::Requested),
        Goal::Apply => first(facts, |step| step.there != PathState::Before)
            .map(UndoReason::Foreign)
            .or_else(|| first(facts, |step| !step.backup).map(UndoReason::Backup)),
    };
    // Nothing was swapped yet, so whatever lies at the names that we chose is a copy of ours, finished or not.
    let litter = |step: StepFacts| step.beside != SiblingState::Nothing;
    let guard = facts.service.map_or(Guard::Nothing, |service| service.guard);
    if let Some(reason) = end {
        return match first(facts, litter) {
            Some(at) => Move::RemoveSibling(at),
            // Nothing was swapped, so there is nothing to guard.
            None if guard != Guard::Nothing => Move::Disarm,
            None => Move::Abandon(reason),
        };
    }
    match first(facts, |step| !step.new_copy_is_ready()) {
        Some(at) if facts.steps.get(at).is_some_and(|step| litter(*step)) => Move::RemoveSibling(at),
        Some(at) => Move::Stage(at),
        // Whoever is to undo the change in need must have been seen to work before there is anything to undo.
        None if facts.service.is_some() && guard != Guard::Tried => Move::Guard,
        None => Move::BeginApplying,
    }
}

pub(super) fn applying(goal: Goal, facts: &ChangeFacts) -> Move {
    match facts.failed_moves {
        0 => {}
        1 => return Move::Undo(UndoReason::MoveFailed),
        _ => return Move::StopWithFault(UndoReason::MoveFailed),
    }
    if let Some(reason) = undo_reason(goal).filter(|_| facts.service.is_some() || goal != Goal::Recover) {
        return Move::Undo(reason);
    }
    let begun = facts.steps.iter().any(|step| step.there == PathState::After);
    if let (false, Some(at)) = (begun, first(facts, |step| !step.backup)) {
        return Move::Undo(UndoReason::Backup(at));
    }
    for (at, step) in facts.steps.iter().enumerate() {
        match step.there {
            PathState::Before if step.new_copy_is_ready() => return Move::Swap(at),
            PathState::Before => return Move::Undo(UndoReason::StagedCopyDamaged(at)),
            PathState::After if step.displaced_foreign() => return Move::PutBack(at),
            PathState::Foreign if step.is_clear_of_our_contents() => return Move::Undo(UndoReason::Foreign(at)),
            PathState::Foreign if step.has_two_foreign_edits() => return Move::GiveUp(UndoReason::Leftover(at)),
            // An edit on top of bytes that were in force came after this step and leaves it done. The steps that
            // follow expect nothing of this file.
            PathState::After | PathState::Foreign if step.mark != StepProgress::Swapped => return Move::Confirm(at),
            PathState::After | PathState::Foreign => {}
        }
    }
    Move::Complete
}

pub(super) fn applied(goal: Goal, facts: &ChangeFacts) -> Move {
    if facts.failed_moves > 0 {
        return Move::StopWithFault(UndoReason::MoveFailed);
    }
    if let Some(reason) = undo_reason(goal).filter(|_| facts.service.is_some() || goal != Goal::Recover) {
        return Move::Undo(reason);
    }
    if let Some(next) = after_last_swap(facts) {
        return next;
    }
    match facts.service {
        Some(service) if service.restart => Move::BeginRestart,
        Some(_) => Move::Verify,
        None => first(facts, copy_beside).map_or(Move::Settle, Move::RemoveSibling),
    }
}

/// Why a goal does not go forward. Files that nobody reads at the time may as well be finished; a containerd must not be
/// restarted by a run that nobody waits for.
pub(super) fn undo_reason(goal: Goal) -> Option<UndoReason> {
    match goal {
        Goal::Apply => None,
        Goal::Recover => Some(UndoReason::Interrupted),
        Goal::Rollback | Goal::Guard => Some(UndoReason::Requested),
    }
}

/// What the files ask for once all were swapped, before their old copies may go.
pub(super) fn after_last_swap(facts: &ChangeFacts) -> Option<Move> {
    // A process that held the old file open may have written to it after the swap. Its edit goes back to its place.
    if let Some(at) = first(facts, StepFacts::displaced_foreign) {
        return Some(Move::PutBack(at));
    }
    // So the change is no longer complete. An edit on top of our bytes (any other mark) came after a change that was
    // complete, and does not hinder settling it.
    if let Some(at) = first(facts, |step| {
        step.there == PathState::Foreign && step.is_clear_of_our_contents()
    }) {
        return Some(Move::Undo(UndoReason::Foreign(at)));
    }
    first(facts, StepFacts::has_two_foreign_edits).map(|at| Move::GiveUp(UndoReason::Leftover(at)))
}

/// A copy of ours lies beside the file.
pub(super) fn copy_beside(step: StepFacts) -> bool {
    matches!(step.beside, SiblingState::Before | SiblingState::After)
}

pub(super) fn settled(goal: Goal, facts: &ChangeFacts) -> Move {
    // Before whoever would come after this run goes: an empty hosts directory answers for its registry.
    if facts.has_folders_to_remove && facts.failed_moves == 0 && goal != Goal::Guard {
        return Move::RemoveFolders;
    }
    if let Some(next) = containerd::after_close(goal, facts) {
        return next;
    }
    if goal != Goal::Rollback {
        return Move::Done;
    }
    if facts.failed_moves > 0 {
        return Move::Refuse(UndoReason::MoveFailed);
    }
    refusal_of_return(facts).map_or(Move::BeginRollback, Move::Refuse)
}

pub(super) fn recalled(goal: Goal, facts: &ChangeFacts) -> Move {
    let end = match facts.failed_moves {
        // Nothing was swapped back yet, so the change is as settled as it was.
        0 if goal == Goal::Apply => Some(UndoReason::Requested),
        0 => refusal_of_return(facts),
        1 => Some(UndoReason::MoveFailed),
        _ => return Move::StopWithFault(UndoReason::MoveFailed),
    };
    let litter = |step: StepFacts| step.beside != SiblingState::Nothing;
    if let Some(reason) = end {
        return first(facts, litter).map_or(Move::CancelRollback(reason), Move::RemoveSibling);
    }
    match first(facts, |step| !step.old_copy_is_ready()) {
        Some(at) if facts.steps.get(at).is_some_and(|step| litter(*step)) => Move::RemoveSibling(at),
        Some(at) => Move::StageUndo(at),
        None => Move::Undo(UndoReason::Requested),
    }
}

/// Why a settled change cannot be rolled back, if so.
fn refusal_of_return(facts: &ChangeFacts) -> Option<UndoReason> {
    first(facts, |step| step.there != PathState::After)
        .map(UndoReason::Foreign)
        .or_else(|| first(facts, |step| !step.backup).map(UndoReason::Backup))
}

pub(super) fn undoing(facts: &ChangeFacts) -> Move {
    match facts.failed_moves {
        0 => {}
        1 => return Move::GiveUp(UndoReason::MoveFailed),
        _ => return Move::StopWithFault(UndoReason::MoveFailed),
    }
    // Last step first: then what is in force at any moment is one of the prefixes that the plan allows for.
    for (at, step) in facts.steps.iter().copied().enumerate().rev() {
        if let Some(next) = undo_step(at, step) {
            return next;
        }
    }
    if let Some(at) = first(facts, |step| step.beside != SiblingState::Nothing) {
        return Move::RemoveSibling(at);
    }
    if facts.has_created_folders {
        return Move::RemoveFolders;
    }
    facts.service.as_ref().map_or(Move::CloseUndone, containerd::after_undo)
}

fn undo_step(at: usize, step: StepFacts) -> Option<Move> {
    match (step.there, step.beside) {
        // The swap back displaced an edit that came between looking and swapping.
        (PathState::Before, SiblingState::Foreign) if step.mark == StepProgress::Returning => Some(Move::PutBack(at)),
        (PathState::Before, SiblingState::Foreign) if step.mark != StepProgress::Waiting => {
            Some(Move::GiveUp(UndoReason::Leftover(at)))
        }
        (PathState::Before, _) => None,
        (PathState::After, SiblingState::Foreign) if step.kind == StepKind::Create => {
            Some(Move::GiveUp(UndoReason::Leftover(at)))
        }
        (PathState::After, SiblingState::Foreign) => Some(Move::PutBack(at)),
        (PathState::After, _) if step.old_copy_is_ready() => Some(Move::SwapBack(at)),
        (PathState::After, SiblingState::Before | SiblingState::After) => Some(Move::RemoveSibling(at)),
        (PathState::After, SiblingState::Nothing) if step.backup => Some(Move::StageUndo(at)),
        (PathState::After, SiblingState::Nothing) => Some(Move::GiveUp(UndoReason::Backup(at))),
        (PathState::Foreign, _) if step.mark == StepProgress::Waiting => None,
        (PathState::Foreign, _) if step.is_clear_of_our_contents() => Some(Move::RecordForeign(at)),
        (PathState::Foreign, _) => Some(Move::GiveUp(UndoReason::Foreign(at))),
    }
}

pub(super) fn stuck(goal: Goal, facts: &ChangeFacts) -> Move {
    if goal != Goal::Rollback {
        return Move::Refuse(UndoReason::Stuck);
    }
    if facts.failed_moves > 0 {
        return Move::Refuse(UndoReason::MoveFailed);
    }
    // Asked again by a person: what stood in the way may be gone. If not, say so and touch nothing.
    let way = facts
        .steps
        .iter()
        .copied()
        .enumerate()
        .rev()
        .find_map(|(at, step)| match undo_step(at, step) {
            Some(Move::GiveUp(reason)) => Some(reason),
            _ => None,
        });
    way.map_or(Move::Undo(UndoReason::Requested), Move::Refuse)
}

pub(super) fn first(facts: &ChangeFacts, test: impl Fn(StepFacts) -> bool) -> Option<usize> {
    facts.steps.iter().position(|step| test(*step))
}
