//! The moves that concern the containerd that a change is for: restart, verify, restore, disarm.

use crate::change::facts::{ChangeFacts, Goal, Guard, Health, Service, Trial};
use crate::change::moves::{Move, UndoReason};
use crate::change::shared::{after_last_swap, settle, turn_back};

/// The number of restarts that one run requests to return to the original files. The second resets a start limit that
/// the first may have reached.
const ATTEMPTS: u32 = 2;

pub(super) fn restarting(goal: Goal, facts: &ChangeFacts, service: &Service) -> Move {
    if let Some(back) = turn_back(goal, facts) {
        return back;
    }
    match service.health {
        _ if service.restarts_requested == 0 => Move::Restart,
        Health::Fails => Move::Undo(UndoReason::ContainerdUnhealthy),
        _ if service.started_in_this_phase && service.health != Health::Absent => Move::Verify,
        _ if service.expired => Move::Undo(UndoReason::ContainerdUnhealthy),
        _ => Move::Wait,
    }
}

pub(super) fn verifying(goal: Goal, facts: &ChangeFacts, service: &Service) -> Move {
    if let Some(back) = turn_back(goal, facts) {
        return back;
    }
    match service.health {
        Health::Serves if service.started_in_this_phase || !service.restart => {
            after_last_swap(facts).unwrap_or_else(|| match service.trial {
                Trial::Due => Move::RunTrial,
                Trial::Failed => Move::Undo(UndoReason::ContainerdUnhealthy),
                Trial::Nothing | Trial::Passed => settle(facts),
            })
        }
        Health::Recovering | Health::Absent if !service.expired => Move::Wait,
        _ => Move::Undo(UndoReason::ContainerdUnhealthy),
    }
}

/// Returns the next move of an undo after every file is the original again.
pub(super) fn after_undo(service: &Service) -> Move {
    // A containerd that has read only original files, and still serves, is the same process as before the change.
    if service.started_in_this_phase || service.health == Health::Absent {
        Move::Restore
    } else {
        Move::CloseUndone
    }
}

pub(super) fn restoring(goal: Goal, facts: &ChangeFacts, service: &Service) -> Move {
    if goal == Goal::Guard {
        return Move::LeaveToNextRun;
    }
    if facts.failed_moves > ATTEMPTS {
        return Move::StopWithFault(UndoReason::MoveFailed);
    }
    // A containerd that another program has started since, as systemd does after a boot, also gets its time.
    let may_wait = (service.restarts_requested > 0 || service.started_in_this_phase)
        && facts.failed_moves == 0
        && !service.expired;
    match service.health {
        Health::Serves if service.started_in_this_phase => Move::CloseUndone,
        Health::Recovering | Health::Absent if may_wait => Move::Wait,
        _ if service.restarts_requested < ATTEMPTS => Move::Restart,
        _ => Move::GiveUp(UndoReason::ContainerdUnhealthy),
    }
}

/// Returns the move that removes the boot guard of a change that is over.
pub(super) fn after_close(goal: Goal, facts: &ChangeFacts) -> Option<Move> {
    let guarded = facts.service.is_some_and(|service| service.guard != Guard::Nothing);
    match facts.failed_moves {
        // The guard only swaps files; the unit that runs after containerd removes the guard.
        _ if !guarded || goal == Goal::Guard => None,
        0 => Some(Move::Disarm),
        _ => Some(Move::StopWithFault(UndoReason::MoveFailed)),
    }
}
