//! The decision of the agent's loop: one action, computed from the observation. No clock, no node, no cluster.

use crate::observe::observation::{NodeObservation, PlanOutcome, PlannedChange};
use mirrorshift_plan::change::Phase;

/// The `mode` of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DesiredMode {
    /// The node is observed and not changed. Also the mode before a policy was read.
    Observe,
    /// The node is changed to match the policy.
    Migrate,
    /// The changes of the node are rolled back, one by one, to the original files.
    Rollback,
}

/// The agent's knowledge of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// The API server did not answer. The node is not changed.
    Unknown,
    NotHeld,
    Held,
}

/// The last attempt to change the node, as far as it prevents the next attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// There was none, or it succeeded, or it does not prevent the next attempt.
    #[default]
    None,
    /// The change was refused in this cycle, although the observation before it found no obstacle. The next cycle tries
    /// again.
    Declined { reason: String },
    /// The change was made with the slot that the node holds, failed, and was undone. The slot is kept.
    Failed { reason: String },
}

impl Attempt {
    /// The reason why the change was not made or was undone.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Declined { reason } | Self::Failed { reason } => Some(reason),
        }
    }
}

/// Everything that decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReconcileInput<'o> {
    pub(crate) mode: DesiredMode,
    /// The policy allows a restart of containerd.
    pub(crate) may_restart: bool,
    pub(crate) observation: &'o NodeObservation,
    /// The plan was rehearsed with the running containerd, and containerd behaved as planned.
    pub(crate) rehearsed: bool,
    pub(crate) slot: SlotState,
    pub(crate) attempt: &'o Attempt,
}

/// The next action. Each except `Rest` is followed by another observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextAction {
    /// Wait for the end of the change in progress.
    Follow,
    /// Rehearse the plan in a sandbox.
    Rehearse,
    AcquireSlot,
    /// Make the change that the policy requires.
    Change,
    /// Restore the drifted files.
    Repair,
    ReleaseSlot,
    /// Do nothing until there is an event.
    Rest(RestState),
}

/// The state of the node while the agent does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestState {
    /// The plan is empty.
    Observed,
    /// There is a plan, and the policy only observes.
    Planned,
    /// The plan needs a restart, and the policy allows none.
    RestartNotAllowed,
    /// The node is busy with work that a restart would interrupt.
    Busy,
    /// The API server does not answer, so the node cannot get a slot.
    SlotUnknown,
    /// The node matches the policy.
    Migrated,
    /// Another program keeps overwriting repaired files.
    Contested,
    /// Every file is the original.
    RolledBack,
    /// The node cannot be changed.
    Refused,
    /// A change failed and was undone. It is not attempted again until the plan changes.
    Undone,
    /// A change was interrupted, and the policy does not allow another change to finish it.
    Unfinished,
    /// An undo failed.
    Stuck,
}

/// Returns the next action. Total: every input has one.
pub(crate) fn next_action(input: ReconcileInput<'_>) -> NextAction {
    let observation = input.observation;
    if observation.under_way {
        return NextAction::Follow;
    }
    if let Some(unfinished) = &observation.unfinished {
        return match (unfinished.phase, input.mode) {
            (Phase::Stuck, _) => NextAction::Rest(RestState::Stuck),
            // The run of the change has ended. The next change undoes it first, which may need a restart.
            (_, DesiredMode::Migrate | DesiredMode::Rollback) => change_with_slot(input),
            (_, DesiredMode::Observe) => NextAction::Rest(RestState::Unfinished),
        };
    }
    // A repair needs no restart and therefore no slot. If it was refused in this cycle, do not retry it.
    let can_repair =
        input.mode == DesiredMode::Migrate && *input.attempt == Attempt::None && observation.is_repairable();
    if can_repair && !observation.is_contested() {
        return NextAction::Repair;
    }
    if should_release(input) {
        return NextAction::ReleaseSlot;
    }
    if can_repair && observation.is_only_drift() {
        return NextAction::Rest(RestState::Contested);
    }
    match (input.mode, &observation.plan) {
        (DesiredMode::Rollback, _) if observation.in_force.is_none() => NextAction::Rest(RestState::RolledBack),
        (_, PlanOutcome::Refused(_)) => NextAction::Rest(RestState::Refused),
        (DesiredMode::Migrate, PlanOutcome::Planned(planned))
            if planned.is_empty() && observation.in_force.is_some() =>
        {
            NextAction::Rest(RestState::Migrated)
        }
        (_, PlanOutcome::Planned(planned)) if planned.is_empty() => NextAction::Rest(RestState::Observed),
        (DesiredMode::Observe, PlanOutcome::Planned(planned)) => {
            if !input.rehearsed && planned.undone_before.is_none() {
                NextAction::Rehearse
            } else {
                NextAction::Rest(RestState::Planned)
            }
        }
        (DesiredMode::Migrate | DesiredMode::Rollback, PlanOutcome::Planned(planned)) => change(input, planned),
    }
}

/// Returns true if the node needs its slot no longer.
///
/// A node keeps its slot while it does not serve, and after a failed change. This stops the rollout.
fn should_release(input: ReconcileInput<'_>) -> bool {
    let observation = input.observation;
    if input.slot != SlotState::Held || !observation.serves {
        return false;
    }
    let has_failed = matches!(input.attempt, Attempt::Failed { .. });
    let is_contested = *input.attempt == Attempt::None && observation.is_contested() && observation.is_only_drift();
    match (input.mode, &observation.plan) {
        // Nothing is left to do, so an earlier failure does not matter any more.
        (DesiredMode::Rollback, _) if observation.in_force.is_none() => true,
        (DesiredMode::Migrate, PlanOutcome::Planned(planned)) if planned.is_empty() => true,
        _ if has_failed => false,
        (DesiredMode::Observe, _) | (_, PlanOutcome::Refused(_)) => true,
        (DesiredMode::Migrate, _) if is_contested => true,
        (_, PlanOutcome::Planned(planned)) if planned.is_empty() || planned.undone_before.is_some() => false,
        (_, PlanOutcome::Planned(planned)) => {
            (planned.restart && !input.may_restart) || matches!(input.attempt, Attempt::Declined { .. })
        }
    }
}

/// The next action for a plan that the policy requires. The slot, if any, is still needed.
fn change(input: ReconcileInput<'_>, planned: &PlannedChange) -> NextAction {
    if planned.undone_before.is_some() || matches!(input.attempt, Attempt::Failed { .. }) {
        return NextAction::Rest(RestState::Undone);
    }
    if planned.restart && !input.may_restart {
        return NextAction::Rest(RestState::RestartNotAllowed);
    }
    if matches!(input.attempt, Attempt::Declined { .. }) {
        return NextAction::Rest(RestState::Refused);
    }
    if !input.rehearsed {
        return NextAction::Rehearse;
    }
    // A busy node does not hold a slot that another node could use.
    if planned.busy.is_some() && input.slot != SlotState::Held {
        return NextAction::Rest(RestState::Busy);
    }
    change_with_slot(input)
}

fn change_with_slot(input: ReconcileInput<'_>) -> NextAction {
    match (input.attempt, input.slot) {
        (Attempt::Failed { .. }, _) => NextAction::Rest(RestState::Undone),
        (Attempt::Declined { .. }, _) => NextAction::Rest(RestState::Unfinished),
        (Attempt::None, SlotState::Held) => NextAction::Change,
        (Attempt::None, SlotState::NotHeld) => NextAction::AcquireSlot,
        (Attempt::None, SlotState::Unknown) => NextAction::Rest(RestState::SlotUnknown),
    }
}

#[cfg(test)]
mod tests;
