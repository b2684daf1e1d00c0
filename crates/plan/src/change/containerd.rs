//! What to do about the containerd that a change is for: guard, restart, verify, restore.

use crate::change::files::first;
use crate::change::{ChangeFacts, Goal, Move, UndoReason, files};
use serde::{Deserialize, Serialize};

/// The running containerd that a change is for, and what stands ready to undo the change when this run ends. A change of
/// files that no containerd reads at the time has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// What would undo the change without this run.
    pub guard: Guard,
    /// The change counts only after a restart: a configuration file is part of it.
    pub restart: bool,
    /// How often this run asked for a restart in this phase. What a run before it asked for does not count: it may have
    /// ended before the call.
    pub restarts_requested: u32,
    /// The containerd that runs started after this phase's restart was asked for. Before there was such a phase: after
    /// the change was armed, by somebody else's hand.
    pub started_in_this_phase: bool,
    /// How it serves.
    pub health: Health,
    /// What came of the trial that the operator asked for.
    pub trial: Trial,
    /// The time of this phase is up. Every restart in it begins it again.
    pub expired: bool,
}

/// What would undo an unsettled change when its process is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// Nothing.
    Nothing,
    /// It is in place, and nobody has seen it work.
    Placed,
    /// It was started as it would be in need, and left the proof.
    Tried,
}

/// How a containerd serves, against what it did when the change was armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Everything that was there is there: plugins, CRI, sandboxes, containers.
    Serves,
    /// It has come up, and its CRI is still recovering.
    Recovering,
    /// Something that was there is not, and waiting will not bring it.
    Fails,
    /// None runs, or none answers.
    Absent,
}

/// Something that a containerd which serves is to do once before the change counts, such as the pull of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trial {
    /// None was asked for.
    Nothing,
    /// It is still to be done.
    Due,
    /// It was done.
    Passed,
    /// It was asked for in vain.
    Failed,
}

/// A run asks this often for the restart that brings the old files back. The second attempt clears a start limit that the
/// first ran into.
const ATTEMPTS: u32 = 2;

pub(super) fn restarting(goal: Goal, facts: &ChangeFacts, service: &Service) -> Move {
    match facts.failed_moves {
        0 => {}
        1 => return Move::Undo(UndoReason::MoveFailed),
        _ => return Move::StopWithFault(UndoReason::MoveFailed),
    }
    if let Some(reason) = files::undo_reason(goal) {
        return Move::Undo(reason);
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
    match facts.failed_moves {
        0 => {}
        1 => return Move::Undo(UndoReason::MoveFailed),
        _ => return Move::StopWithFault(UndoReason::MoveFailed),
    }
    if let Some(reason) = files::undo_reason(goal) {
        return Move::Undo(reason);
    }
    match service.health {
        Health::Serves if service.started_in_this_phase || !service.restart => files::after_last_swap(facts)
            .unwrap_or_else(|| match service.trial {
                Trial::Due => Move::RunTrial,
                Trial::Failed => Move::Undo(UndoReason::ContainerdUnhealthy),
                Trial::Nothing | Trial::Passed => {
                    first(facts, files::copy_beside).map_or(Move::Settle, Move::RemoveSibling)
                }
            }),
        Health::Recovering | Health::Absent if !service.expired => Move::Wait,
        _ => Move::Undo(UndoReason::ContainerdUnhealthy),
    }
}

/// How an undo goes on once every file holds its old bytes again.
pub(super) fn after_undo(service: &Service) -> Move {
    // One that never read anything but old bytes, and still serves, is what the change found.
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
    // One that somebody else started since, as systemd does after a boot, is given its time too.
    let waits = (service.restarts_requested > 0 || service.started_in_this_phase)
        && facts.failed_moves == 0
        && !service.expired;
    match service.health {
        Health::Serves if service.started_in_this_phase => Move::CloseUndone,
        Health::Recovering | Health::Absent if waits => Move::Wait,
        _ if service.restarts_requested < ATTEMPTS => Move::Restart,
        _ => Move::GiveUp(UndoReason::ContainerdUnhealthy),
    }
}

/// The end of a change that is over: what stood ready to undo it goes.
pub(super) fn after_close(goal: Goal, facts: &ChangeFacts) -> Option<Move> {
    let guarded = facts.service.is_some_and(|service| service.guard != Guard::Nothing);
    match facts.failed_moves {
        // At boot nothing is to be done but swap; who comes after containerd takes it away.
        _ if !guarded || goal == Goal::Guard => None,
        0 => Some(Move::Disarm),
        _ => Some(Move::StopWithFault(UndoReason::MoveFailed)),
    }
}
