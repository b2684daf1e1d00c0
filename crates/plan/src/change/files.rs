//! What to do about the files, phase by phase.

use super::service::{self, Guard};
use super::{Beside, ChangeFacts, Goal, Kind, Mark, Move, Reason, StepFacts, There};

pub(super) fn idle(goal: Goal, facts: &ChangeFacts) -> Move {
    if let Some(next) = service::closed(goal, facts) {
        return next;
    }
    if goal != Goal::Apply || facts.steps.is_empty() {
        return Move::Done;
    }
    if facts.faults > 0 {
        return Move::Refuse(Reason::Fault);
    }
    match first(facts, |step| step.there != There::Before) {
        Some(at) => Move::Refuse(Reason::Foreign(at)),
        None => Move::Arm,
    }
}

pub(super) fn armed(goal: Goal, facts: &ChangeFacts) -> Move {
    let end = match goal {
        _ if facts.faults > 1 => return Move::Halt(Reason::Fault),
        _ if facts.faults == 1 => Some(Reason::Fault),
        Goal::Recover => Some(Reason::Interrupted),
        Goal::Rollback | Goal::Guard => Some(Reason::Asked),
        Goal::Apply => first(facts, |step| step.there != There::Before)
            .map(Reason::Foreign)
            .or_else(|| first(facts, |step| !step.backup).map(Reason::Backup)),
    };
    // Nothing was swapped yet, so whatever lies at the names that we chose is a copy of ours, finished or not.
    let litter = |step: StepFacts| step.beside != Beside::Nothing;
    let guard = facts.service.map_or(Guard::Nothing, |service| service.guard);
    if let Some(reason) = end {
        return match first(facts, litter) {
            Some(at) => Move::Sweep(at),
            // Nothing was swapped, so there is nothing to guard.
            None if guard != Guard::Nothing => Move::Disarm,
            None => Move::Abandon(reason),
        };
    }
    match first(facts, |step| !step.staged()) {
        Some(at) if facts.steps.get(at).is_some_and(|step| litter(*step)) => Move::Sweep(at),
        Some(at) => Move::Stage(at),
        // Whoever is to undo the change in need must have been seen to work before there is anything to undo.
        None if facts.service.is_some() && guard != Guard::Tried => Move::Guard,
        None => Move::Begin,
    }
}

pub(super) fn applying(goal: Goal, facts: &ChangeFacts) -> Move {
    match facts.faults {
        0 => {}
        1 => return Move::Undo(Reason::Fault),
        _ => return Move::Halt(Reason::Fault),
    }
    if let Some(reason) = turned_back(goal).filter(|_| facts.service.is_some() || goal != Goal::Recover) {
        return Move::Undo(reason);
    }
    let begun = facts.steps.iter().any(|step| step.there == There::After);
    if let (false, Some(at)) = (begun, first(facts, |step| !step.backup)) {
        return Move::Undo(Reason::Backup(at));
    }
    for (at, step) in facts.steps.iter().enumerate() {
        match step.there {
            There::Before if step.staged() => return Move::Swap(at),
            There::Before => return Move::Undo(Reason::Staged(at)),
            There::After if step.displaced_foreign() => return Move::PutBack(at),
            There::Foreign if step.untouched() => return Move::Undo(Reason::Foreign(at)),
            There::Foreign if step.edited_twice() => return Move::GiveUp(Reason::Leftover(at)),
            // An edit on top of bytes that were in force came after this step and leaves it done. The steps that
            // follow expect nothing of this file.
            There::After | There::Foreign if step.mark != Mark::Swapped => return Move::Confirm(at),
            There::After | There::Foreign => {}
        }
    }
    Move::Complete
}

pub(super) fn applied(goal: Goal, facts: &ChangeFacts) -> Move {
    if facts.faults > 0 {
        return Move::Halt(Reason::Fault);
    }
    if let Some(reason) = turned_back(goal).filter(|_| facts.service.is_some() || goal != Goal::Recover) {
        return Move::Undo(reason);
    }
    if let Some(next) = after_all(facts) {
        return next;
    }
    match facts.service {
        Some(service) if service.restart => Move::Announce,
        Some(_) => Move::Verify,
        None => first(facts, copy_beside).map_or(Move::Settle, Move::Sweep),
    }
}

/// Why a goal does not go forward. Files that nobody reads at the time may as well be finished; a containerd must not be
/// restarted by a run that nobody waits for.
pub(super) fn turned_back(goal: Goal) -> Option<Reason> {
    match goal {
        Goal::Apply => None,
        Goal::Recover => Some(Reason::Interrupted),
        Goal::Rollback | Goal::Guard => Some(Reason::Asked),
    }
}

/// What the files ask for once all were swapped, before their old copies may go.
pub(super) fn after_all(facts: &ChangeFacts) -> Option<Move> {
    // A process that held the old file open may have written to it after the swap. Its edit goes back to its place.
    if let Some(at) = first(facts, StepFacts::displaced_foreign) {
        return Some(Move::PutBack(at));
    }
    // So the change is no longer complete. An edit on top of our bytes (any other mark) came after a change that was
    // complete, and does not hinder settling it.
    if let Some(at) = first(facts, |step| step.there == There::Foreign && step.untouched()) {
        return Some(Move::Undo(Reason::Foreign(at)));
    }
    first(facts, StepFacts::edited_twice).map(|at| Move::GiveUp(Reason::Leftover(at)))
}

/// A copy of ours lies beside the file.
pub(super) fn copy_beside(step: StepFacts) -> bool {
    matches!(step.beside, Beside::Before | Beside::After)
}

pub(super) fn settled(goal: Goal, facts: &ChangeFacts) -> Move {
    // Before whoever would come after this run goes: an empty hosts directory answers for its registry.
    if facts.leaves && facts.faults == 0 && goal != Goal::Guard {
        return Move::RemoveFolders;
    }
    if let Some(next) = service::closed(goal, facts) {
        return next;
    }
    if goal != Goal::Rollback {
        return Move::Done;
    }
    if facts.faults > 0 {
        return Move::Refuse(Reason::Fault);
    }
    refusal_of_return(facts).map_or(Move::Recall, Move::Refuse)
}

pub(super) fn recalled(goal: Goal, facts: &ChangeFacts) -> Move {
    let end = match facts.faults {
        // Nothing was swapped back yet, so the change is as settled as it was.
        0 if goal == Goal::Apply => Some(Reason::Asked),
        0 => refusal_of_return(facts),
        1 => Some(Reason::Fault),
        _ => return Move::Halt(Reason::Fault),
    };
    let litter = |step: StepFacts| step.beside != Beside::Nothing;
    if let Some(reason) = end {
        return first(facts, litter).map_or(Move::Keep(reason), Move::Sweep);
    }
    match first(facts, |step| !step.unstaged()) {
        Some(at) if facts.steps.get(at).is_some_and(|step| litter(*step)) => Move::Sweep(at),
        Some(at) => Move::StageUndo(at),
        None => Move::Undo(Reason::Asked),
    }
}

/// Why a settled change cannot be rolled back, if so.
fn refusal_of_return(facts: &ChangeFacts) -> Option<Reason> {
    first(facts, |step| step.there != There::After)
        .map(Reason::Foreign)
        .or_else(|| first(facts, |step| !step.backup).map(Reason::Backup))
}

pub(super) fn undoing(facts: &ChangeFacts) -> Move {
    match facts.faults {
        0 => {}
        1 => return Move::GiveUp(Reason::Fault),
        _ => return Move::Halt(Reason::Fault),
    }
    // Last step first: then what is in force at any moment is one of the prefixes that the plan allows for.
    for (at, step) in facts.steps.iter().copied().enumerate().rev() {
        if let Some(next) = undo_step(at, step) {
            return next;
        }
    }
    if let Some(at) = first(facts, |step| step.beside != Beside::Nothing) {
        return Move::Sweep(at);
    }
    if facts.folders {
        return Move::RemoveFolders;
    }
    facts.service.as_ref().map_or(Move::CloseUndone, service::after_undo)
}

fn undo_step(at: usize, step: StepFacts) -> Option<Move> {
    match (step.there, step.beside) {
        // The swap back displaced an edit that came between looking and swapping.
        (There::Before, Beside::Foreign) if step.mark == Mark::Returning => Some(Move::PutBack(at)),
        (There::Before, Beside::Foreign) if step.mark != Mark::Waiting => Some(Move::GiveUp(Reason::Leftover(at))),
        (There::Before, _) => None,
        (There::After, Beside::Foreign) if step.kind == Kind::Create => Some(Move::GiveUp(Reason::Leftover(at))),
        (There::After, Beside::Foreign) => Some(Move::PutBack(at)),
        (There::After, _) if step.unstaged() => Some(Move::SwapBack(at)),
        (There::After, Beside::Before | Beside::After) => Some(Move::Sweep(at)),
        (There::After, Beside::Nothing) if step.backup => Some(Move::StageUndo(at)),
        (There::After, Beside::Nothing) => Some(Move::GiveUp(Reason::Backup(at))),
        (There::Foreign, _) if step.mark == Mark::Waiting => None,
        (There::Foreign, _) if step.untouched() => Some(Move::Spare(at)),
        (There::Foreign, _) => Some(Move::GiveUp(Reason::Foreign(at))),
    }
}

pub(super) fn stuck(goal: Goal, facts: &ChangeFacts) -> Move {
    if goal != Goal::Rollback {
        return Move::Refuse(Reason::Stuck);
    }
    if facts.faults > 0 {
        return Move::Refuse(Reason::Fault);
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
    way.map_or(Move::Undo(Reason::Asked), Move::Refuse)
}

pub(super) fn first(facts: &ChangeFacts, test: impl Fn(StepFacts) -> bool) -> Option<usize> {
    facts.steps.iter().position(|step| test(*step))
}
