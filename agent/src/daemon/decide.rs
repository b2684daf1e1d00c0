//! What the agent does next: a value from what it knows. No clock, no node, no cluster.

use crate::live::seen::{Answer, Planned, Seen};
use mirrorshift_plan::change::Phase;

/// What the policy wants of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// To be looked at. Also while no policy was ever read.
    Observe,
    /// To be brought to the plan.
    Migrate,
    /// To be taken back, change by change, to the bytes before the first.
    Rollback,
}

/// Whether the node holds a slot of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The gate could not be asked: no.
    Unknown,
    /// It holds none.
    Free,
    /// It holds one.
    Held,
}

/// Everything that decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'f> {
    pub(super) want: Want,
    /// The policy lets containerd be restarted at all.
    pub(super) may_restart: bool,
    pub(super) seen: &'f Seen,
    /// This very plan was tried in a sandbox with the containerd that runs, and it agreed.
    pub(super) rehearsed: bool,
    pub(super) slot: Slot,
    pub(super) fate: Fate,
}

/// What came of the change that was made last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing that stands in the way.
    Open,
    /// It was made with the slot that is held, and failed.
    Failed,
    /// It was refused just now, although a look found nothing in its way.
    Declined,
}

/// The one next thing. Any but `Rest` is followed by another look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// A change is under way: wait for its end.
    Follow,
    /// Try the plan in a sandbox.
    Rehearse,
    /// Ask for a slot.
    Ask,
    /// Make the change.
    Change,
    /// Put back what somebody wrote over.
    Mend,
    /// Give the slot back.
    GiveBack,
    /// Do nothing until something is new.
    Rest(State),
}

/// How the node is while nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is nothing to do, or the policy only observes.
    Observed,
    /// There is a plan, and the policy only observes.
    Planned,
    /// There is a plan that takes a restart, and the policy allows none.
    NoRestart,
    /// The node has something in hand that a restart would cut off.
    Busy,
    /// The gate cannot be asked.
    NoGate,
    /// The node is as the policy wants it.
    Migrated,
    /// Somebody writes again and again over what was migrated.
    Contested,
    /// Nothing of what was changed is in force.
    RolledBack,
    /// It cannot be done.
    Refused,
    /// A change failed and was undone, and is not tried again by itself.
    Undone,
    /// A change is not over, and the policy lets nobody end it.
    Unfinished,
    /// An undo failed.
    Stuck,
}

/// The one next move. Total.
pub(super) fn decide(facts: Facts<'_>) -> Move {
    let seen = facts.seen;
    if seen.under_way {
        return Move::Follow;
    }
    if let Some(unfinished) = &seen.unfinished {
        return match (unfinished.phase, facts.want) {
            (Phase::Stuck, _) => Move::Rest(State::Stuck),
            // Whoever was to end it is gone. The next change ends it first, and restarts containerd for that.
            (_, Want::Migrate | Want::Rollback) => gated(facts),
            (_, Want::Observe) => Move::Rest(State::Unfinished),
        };
    }
    // Of a node that serves and did not fail, the slot goes back; whatever else holds one keeps it.
    let healthy = facts.slot == Slot::Held && seen.serves;
    let give_back = healthy && facts.fate != Fate::Failed;
    // It takes no restart, so it waits for nobody; and who was refused it just now, does not try again.
    if facts.want == Want::Migrate && facts.fate == Fate::Open && seen.is_mendable() {
        match (seen.is_fought_over(), seen.is_only_drift()) {
            (false, _) => return Move::Mend,
            (true, true) if give_back => return Move::GiveBack,
            (true, true) => return Move::Rest(State::Contested),
            (true, false) => {}
        }
    }
    match (facts.want, &seen.answer) {
        (Want::Rollback, _) if seen.in_force.is_none() && healthy => Move::GiveBack,
        (Want::Rollback, _) if seen.in_force.is_none() => Move::Rest(State::RolledBack),
        (Want::Observe, _) | (_, Answer::Refused(_)) if give_back => Move::GiveBack,
        (_, Answer::Refused(_)) => Move::Rest(State::Refused),
        (Want::Migrate, Answer::Do(planned)) if planned.is_empty() && healthy => Move::GiveBack,
        (Want::Migrate, Answer::Do(planned)) if planned.is_empty() && seen.in_force.is_some() => {
            Move::Rest(State::Migrated)
        }
        (_, Answer::Do(planned)) if planned.is_empty() => Move::Rest(State::Observed),
        (Want::Observe, Answer::Do(planned)) if !facts.rehearsed && can_rehearse(planned) => Move::Rehearse,
        (Want::Observe, Answer::Do(_)) => Move::Rest(State::Planned),
        (Want::Migrate | Want::Rollback, Answer::Do(planned)) => change(facts, planned, give_back),
    }
}

/// A plan that the policy wants carried out.
fn change(facts: Facts<'_>, planned: &Planned, give_back: bool) -> Move {
    if planned.undone_before.is_some() || facts.fate == Fate::Failed {
        return Move::Rest(State::Undone);
    }
    if planned.restart && !facts.may_restart {
        return if give_back {
            Move::GiveBack
        } else {
            Move::Rest(State::NoRestart)
        };
    }
    if facts.fate == Fate::Declined {
        return if give_back {
            Move::GiveBack
        } else {
            Move::Rest(State::Refused)
        };
    }
    if !facts.rehearsed {
        return Move::Rehearse;
    }
    // Nobody waits in front of a gate that others want to go through.
    if planned.busy.is_some() && facts.slot != Slot::Held {
        return Move::Rest(State::Busy);
    }
    gated(facts)
}

fn gated(facts: Facts<'_>) -> Move {
    match (facts.fate, facts.slot) {
        (Fate::Failed, _) => Move::Rest(State::Undone),
        (Fate::Declined, _) => Move::Rest(State::Unfinished),
        (Fate::Open, Slot::Held) => Move::Change,
        (Fate::Open, Slot::Free) => Move::Ask,
        (Fate::Open, Slot::Unknown) => Move::Rest(State::NoGate),
    }
}

fn can_rehearse(planned: &Planned) -> bool {
    planned.undone_before.is_none()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
