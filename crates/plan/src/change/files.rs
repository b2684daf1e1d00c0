//! The moves that concern the files, phase by phase.

use crate::change::containerd;
use crate::change::facts::{ChangeFacts, Goal, Guard};
use crate::change::moves::{Move, UndoReason};
use crate::change::shared::{after_last_swap, settle, turn_back, undo_reason};
use crate::change::step::{PathState, SiblingState, StepFacts, StepKind, StepProgress};

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
    match facts.first_step(|step| step.at_path != PathState::Before) {
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
        Goal::Apply => facts
            .first_step(|step| step.at_path != PathState::Before)
            .map(UndoReason::Foreign)
            .or_else(|| facts.first_step(|step| !step.backup).map(UndoReason::Backup)),
    };
    let guard = facts.service.map_or(Guard::Nothing, |service| service.guard);
    if let Some(reason) = end {
        return match facts.first_step(StepFacts::has_sibling) {
            // No file was swapped yet, so any file at the name that we chose is a copy of ours, finished or not.
            Some(at) => Move::RemoveSibling(at),
            // No file was swapped, so the guard has nothing to undo.
            None if guard != Guard::Nothing => Move::Disarm,
            None => Move::Abandon(reason),
        };
    }
    match facts.first_step(|step| !step.new_copy_is_ready()) {
        Some(at) if facts.steps.get(at).is_some_and(|step| step.has_sibling()) => Move::RemoveSibling(at),
        Some(at) => Move::Stage(at),
        // The boot guard must have passed its test before there is anything to undo.
        None if facts.service.is_some() && guard != Guard::Tried => Move::Guard,
        None => Move::BeginApplying,
    }
}

pub(super) fn applying(goal: Goal, facts: &ChangeFacts) -> Move {
    if let Some(back) = turn_back(goal, facts) {
        return back;
    }
    let begun = facts.steps.iter().any(|step| step.at_path == PathState::After);
    if let (false, Some(at)) = (begun, facts.first_step(|step| !step.backup)) {
        return Move::Undo(UndoReason::Backup(at));
    }
    for (at, step) in facts.steps.iter().enumerate() {
        match step.at_path {
            PathState::Before if step.new_copy_is_ready() => return Move::Swap(at),
            PathState::Before => return Move::Undo(UndoReason::StagedCopyDamaged(at)),
            PathState::After if step.displaced_foreign() => return Move::PutBack(at),
            PathState::Foreign if step.is_clear_of_our_contents() => return Move::Undo(UndoReason::Foreign(at)),
            PathState::Foreign if step.has_two_foreign_edits() => return Move::GiveUp(UndoReason::Leftover(at)),
            // An edit on top of our file was made after this step and leaves it done. The steps that follow do not
            // depend on this file.
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
    if let Some(reason) = undo_reason(goal, facts) {
        return Move::Undo(reason);
    }
    if let Some(next) = after_last_swap(facts) {
        return next;
    }
    match facts.service {
        Some(service) if service.restart => Move::BeginRestart,
        Some(_) => Move::Verify,
        None => settle(facts),
    }
}

pub(super) fn settled(goal: Goal, facts: &ChangeFacts) -> Move {
    // This precedes the removal of the guard, because an empty hosts directory takes effect for its registry.
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
    rollback_obstacle(facts).map_or(Move::BeginRollback, Move::Refuse)
}

pub(super) fn rollback_staging(goal: Goal, facts: &ChangeFacts) -> Move {
    let end = match facts.failed_moves {
        // No file was swapped back yet, so the change is still settled.
        0 if goal == Goal::Apply => Some(UndoReason::Requested),
        0 => rollback_obstacle(facts),
        1 => Some(UndoReason::MoveFailed),
        _ => return Move::StopWithFault(UndoReason::MoveFailed),
    };
    if let Some(reason) = end {
        return facts
            .first_step(StepFacts::has_sibling)
            .map_or(Move::CancelRollback(reason), Move::RemoveSibling);
    }
    match facts.first_step(|step| !step.old_copy_is_ready()) {
        Some(at) if facts.steps.get(at).is_some_and(|step| step.has_sibling()) => Move::RemoveSibling(at),
        Some(at) => Move::StageUndo(at),
        None => Move::Undo(UndoReason::Requested),
    }
}

/// Returns the reason why a settled change cannot be rolled back.
fn rollback_obstacle(facts: &ChangeFacts) -> Option<UndoReason> {
    facts
        .first_step(|step| step.at_path != PathState::After)
        .map(UndoReason::Foreign)
        .or_else(|| facts.first_step(|step| !step.backup).map(UndoReason::Backup))
}

/// Returns the next move of an undo: every file first, then the copies and folders, then containerd.
pub(super) fn undoing(facts: &ChangeFacts) -> Move {
    match facts.failed_moves {
        0 => {}
        1 => return Move::GiveUp(UndoReason::MoveFailed),
        _ => return Move::StopWithFault(UndoReason::MoveFailed),
    }
    // The last step is undone first, so that the files are always one of the prefixes that were rehearsed.
    for (at, step) in facts.steps.iter().copied().enumerate().rev() {
        if let Some(next) = undo_step(at, step) {
            return next;
        }
    }
    if let Some(at) = facts.first_step(StepFacts::has_sibling) {
        return Move::RemoveSibling(at);
    }
    if facts.has_created_folders {
        return Move::RemoveFolders;
    }
    facts.service.as_ref().map_or(Move::CloseUndone, containerd::after_undo)
}

fn undo_step(at: usize, step: StepFacts) -> Option<Move> {
    match (step.at_path, step.sibling) {
        // The swap back displaced an edit that was made between the observation and the swap.
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
    // An operator requested it again, so the obstacle may be gone. If it is not, report it and touch nothing.
    let obstacle = facts
        .steps
        .iter()
        .copied()
        .enumerate()
        .rev()
        .find_map(|(at, step)| match undo_step(at, step) {
            Some(Move::GiveUp(reason)) => Some(reason),
            _ => None,
        });
    obstacle.map_or(Move::Undo(UndoReason::Requested), Move::Refuse)
}
