//! What the agent does next: a value from what it knows. No clock, no node, no cluster.

use crate::observe::observation::{NodeObservation, PlanOutcome, Planned};
use mirrorshift_plan::change::Phase;

/// What the policy wants of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DesiredMode {
    /// To be looked at. Also while no policy was ever read.
    Observe,
    /// To be brought to the plan.
    Migrate,
    /// To be taken back, change by change, to the bytes before the first.
    Rollback,
}

/// Whether the node holds a slot of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// The gate could not be asked: no.
    Unknown,
    /// It holds none.
    Free,
    /// It holds one.
    Held,
}

/// Everything that decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReconcileInput<'f> {
    pub(crate) want: DesiredMode,
    /// The policy lets containerd be restarted at all.
    pub(crate) may_restart: bool,
    pub(crate) seen: &'f NodeObservation,
    /// This very plan was tried in a sandbox with the containerd that runs, and it agreed.
    pub(crate) rehearsed: bool,
    pub(crate) slot: SlotState,
    pub(crate) fate: LastAttempt,
}

/// What came of the change that was made last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastAttempt {
    /// Nothing that stands in the way.
    Open,
    /// It was made with the slot that is held, and failed.
    Failed,
    /// It was refused just now, although a look found nothing in its way.
    Declined,
}

/// The one next thing. Any but `Rest` is followed by another look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextAction {
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
    Rest(RestState),
}

/// How the node is while nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestState {
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
pub(crate) fn decide(facts: ReconcileInput<'_>) -> NextAction {
    let seen = facts.seen;
    if seen.under_way {
        return NextAction::Follow;
    }
    if let Some(unfinished) = &seen.unfinished {
        return match (unfinished.phase, facts.want) {
            (Phase::Stuck, _) => NextAction::Rest(RestState::Stuck),
            // Whoever was to end it is gone. The next change ends it first, and restarts containerd for that.
            (_, DesiredMode::Migrate | DesiredMode::Rollback) => gated(facts),
            (_, DesiredMode::Observe) => NextAction::Rest(RestState::Unfinished),
        };
    }
    // Of a node that serves and did not fail, the slot goes back; whatever else holds one keeps it.
    let healthy = facts.slot == SlotState::Held && seen.serves;
    let give_back = healthy && facts.fate != LastAttempt::Failed;
    // It takes no restart, so it waits for nobody; and who was refused it just now, does not try again.
    if facts.want == DesiredMode::Migrate && facts.fate == LastAttempt::Open && seen.is_mendable() {
        match (seen.is_fought_over(), seen.is_only_drift()) {
            (false, _) => return NextAction::Mend,
            (true, true) if give_back => return NextAction::GiveBack,
            (true, true) => return NextAction::Rest(RestState::Contested),
            (true, false) => {}
        }
    }
    match (facts.want, &seen.answer) {
        (DesiredMode::Rollback, _) if seen.in_force.is_none() && healthy => NextAction::GiveBack,
        (DesiredMode::Rollback, _) if seen.in_force.is_none() => NextAction::Rest(RestState::RolledBack),
        (DesiredMode::Observe, _) | (_, PlanOutcome::Refused(_)) if give_back => NextAction::GiveBack,
        (_, PlanOutcome::Refused(_)) => NextAction::Rest(RestState::Refused),
        (DesiredMode::Migrate, PlanOutcome::Planned(planned)) if planned.is_empty() && healthy => NextAction::GiveBack,
        (DesiredMode::Migrate, PlanOutcome::Planned(planned)) if planned.is_empty() && seen.in_force.is_some() => {
            NextAction::Rest(RestState::Migrated)
        }
        (_, PlanOutcome::Planned(planned)) if planned.is_empty() => NextAction::Rest(RestState::Observed),
        (DesiredMode::Observe, PlanOutcome::Planned(planned)) if !facts.rehearsed && can_rehearse(planned) => {
            NextAction::Rehearse
        }
        (DesiredMode::Observe, PlanOutcome::Planned(_)) => NextAction::Rest(RestState::Planned),
        (DesiredMode::Migrate | DesiredMode::Rollback, PlanOutcome::Planned(planned)) => {
            change(facts, planned, give_back)
        }
    }
}

/// A plan that the policy wants carried out.
fn change(facts: ReconcileInput<'_>, planned: &Planned, give_back: bool) -> NextAction {
    if planned.undone_before.is_some() || facts.fate == LastAttempt::Failed {
        return NextAction::Rest(RestState::Undone);
    }
    if planned.restart && !facts.may_restart {
        return if give_back {
            NextAction::GiveBack
        } else {
            NextAction::Rest(RestState::NoRestart)
        };
    }
    if facts.fate == LastAttempt::Declined {
        return if give_back {
            NextAction::GiveBack
        } else {
            NextAction::Rest(RestState::Refused)
        };
    }
    if !facts.rehearsed {
        return NextAction::Rehearse;
    }
    // Nobody waits in front of a gate that others want to go through.
    if planned.busy.is_some() && facts.slot != SlotState::Held {
        return NextAction::Rest(RestState::Busy);
    }
    gated(facts)
}

fn gated(facts: ReconcileInput<'_>) -> NextAction {
    match (facts.fate, facts.slot) {
        (LastAttempt::Failed, _) => NextAction::Rest(RestState::Undone),
        (LastAttempt::Declined, _) => NextAction::Rest(RestState::Unfinished),
        (LastAttempt::Open, SlotState::Held) => NextAction::Change,
        (LastAttempt::Open, SlotState::Free) => NextAction::Ask,
        (LastAttempt::Open, SlotState::Unknown) => NextAction::Rest(RestState::NoGate),
    }
}

fn can_rehearse(planned: &Planned) -> bool {
    planned.undone_before.is_none()
}

#[cfg(test)]
mod tests;
