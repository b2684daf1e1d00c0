//! The report of the node for the cluster: computed from the observation and the activity, without a clock.

use crate::change_run::failure_summary::FailureSummary;
use crate::cluster::conditions::{ConditionState, Conditions, Reason};
use crate::cluster::node_mirror::{
    FindingSummary, MirrorSetup, NodeMirrorStatus, NodePhase, PlanSummary, PolicySummary, RouteSummary,
};
use crate::cluster::node_mirror_writer::NodeReport;
use crate::cluster::slots::SlotHolder;
use crate::observe::observation::{
    DriftedFile, MirrorSource, NodeObservation, PlanOutcome, PlannedChange, ReportedFinding, RouteDifference,
};
use crate::reconcile::decide::{Attempt, RestState};
use crate::reconcile::policy_file::{ActivePolicy, PolicyProblem};
use jiff::Timestamp;

/// The activity of the agent on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    Rest(RestState),
    /// The node waits for one of the slots of these holders.
    Wait(Vec<SlotHolder>),
    /// The node is being changed.
    Change,
}

/// Everything that a report is computed from.
pub(crate) struct StatusInputs<'i> {
    pub(crate) observation: Result<&'i NodeObservation, &'i FailureSummary>,
    pub(crate) activity: &'i Activity,
    pub(crate) policy: Option<&'i ActivePolicy>,
    pub(crate) policy_problem: Option<&'i PolicyProblem>,
    /// The slot that the node holds.
    pub(crate) slot: Option<&'i str>,
    pub(crate) attempt: &'i Attempt,
}

/// Computes the report.
pub(crate) fn report(inputs: &StatusInputs<'_>) -> NodeReport {
    let message = message(inputs);
    let mut status = NodeMirrorStatus {
        phase: phase(inputs),
        message: message.clone(),
        slot: inputs.slot.map(str::to_owned),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        policy: inputs.policy.map(|policy| PolicySummary {
            mode: policy.mode_name().to_owned(),
            digest: policy.digest.to_string(),
        }),
        ..NodeMirrorStatus::default()
    };
    if let Ok(observation) = inputs.observation {
        add_observation(observation, &mut status);
    }
    NodeReport {
        status: status.bounded(),
        conditions: Conditions {
            migrated: migrated(inputs, &message),
            degraded: degraded(inputs, &message),
            progressing: progressing(inputs),
            policy_valid: policy_valid(inputs.policy_problem),
        },
    }
}

fn add_observation(observation: &NodeObservation, status: &mut NodeMirrorStatus) {
    status.containerd.clone_from(&observation.containerd);
    status.mirrors = observation.mirrors.map(|mirrors| match mirrors {
        MirrorSource::Legacy => MirrorSetup::Legacy,
        MirrorSource::ConfigPath => MirrorSetup::ConfigPath,
        MirrorSource::Both => MirrorSetup::Both,
        MirrorSource::None => MirrorSetup::None,
    });
    let last = observation.unfinished.as_ref().or(observation.last.as_ref());
    status.change = last.map(|change| change.id.clone());
    let ended = last.and_then(|change| change.ended);
    status.last_change_time = ended
        .and_then(|second| i64::try_from(second).ok())
        .and_then(|second| Timestamp::from_second(second).ok());
    status.findings = observation.findings.iter().map(finding).collect();
    let PlanOutcome::Planned(planned) = &observation.plan else {
        return;
    };
    status.plan = planned.digest.map(|digest| PlanSummary {
        digest: digest.to_string(),
        restart: planned.restart,
        files: u32::try_from(planned.files.len()).unwrap_or(u32::MAX),
    });
    let mut routes: Vec<&RouteDifference> = planned.routes.iter().collect();
    routes.sort_by_key(|route| !route.differs);
    status.routes = routes.into_iter().map(route).collect();
}

fn finding(finding: &ReportedFinding) -> FindingSummary {
    FindingSummary {
        id: finding.id.clone(),
        severity: finding.severity.clone(),
        message: finding.message.clone(),
    }
}

fn route(route: &RouteDifference) -> RouteSummary {
    RouteSummary {
        registry: route.registry.clone(),
        before: route.before.clone(),
        after: route.after.clone(),
    }
}

fn phase(inputs: &StatusInputs<'_>) -> NodePhase {
    if inputs.observation.is_err() {
        return NodePhase::Refused;
    }
    match inputs.activity {
        Activity::Change => NodePhase::Changing,
        Activity::Wait(_) => NodePhase::Waiting,
        Activity::Rest(state) => match state {
            RestState::Observed => NodePhase::Observed,
            RestState::Planned | RestState::RestartNotAllowed | RestState::Busy | RestState::SlotUnknown => {
                NodePhase::Pending
            }
            RestState::Migrated | RestState::Contested => NodePhase::Migrated,
            RestState::RolledBack => NodePhase::RolledBack,
            RestState::Refused => NodePhase::Refused,
            RestState::Undone => NodePhase::Undone,
            RestState::Unfinished => NodePhase::Changing,
            RestState::Stuck => NodePhase::Stuck,
        },
    }
}

/// The message of the report: one sentence for people.
fn message(inputs: &StatusInputs<'_>) -> String {
    let observation = match inputs.observation {
        Ok(observation) => observation,
        Err(failure) => return with_hint(failure),
    };
    match inputs.activity {
        Activity::Change => "the node is being changed".to_owned(),
        Activity::Wait(holders) => waiting_message(holders),
        Activity::Rest(state) => rest_message(*state, observation, inputs.attempt),
    }
}

fn rest_message(state: RestState, observation: &NodeObservation, attempt: &Attempt) -> String {
    let planned = match &observation.plan {
        PlanOutcome::Planned(planned) => Some(planned),
        PlanOutcome::Refused(_) => None,
    };
    match state {
        RestState::Observed if observation.mirrors == Some(MirrorSource::Legacy) => "nothing to do".to_owned(),
        RestState::Observed => "nothing to do: containerd has no mirrors to migrate".to_owned(),
        RestState::Planned => format!("{}; the policy only observes", planned_files(planned)),
        RestState::RestartNotAllowed => {
            format!(
                "{}; the policy does not allow a restart of containerd",
                planned_files(planned)
            )
        }
        RestState::Busy => {
            let busy = planned.and_then(|planned| planned.busy.as_deref());
            format!(
                "waits until the node is quiet: {}",
                busy.unwrap_or("a restart would interrupt ongoing work")
            )
        }
        RestState::SlotUnknown => {
            "the API server does not answer a request for a slot, so nothing is changed".to_owned()
        }
        RestState::Migrated if observation.drifted.is_empty() => "the node matches the policy".to_owned(),
        RestState::Migrated => {
            let reason = attempt.reason().map(|reason| format!("; not repaired: {reason}"));
            format!(
                "another program modified migrated files: {}{}",
                drift(observation),
                reason.unwrap_or_default()
            )
        }
        RestState::Contested => format!(
            "another tool keeps overwriting repaired files; repairs are paused for one hour: {}",
            drift(observation)
        ),
        RestState::RolledBack => "the changes were rolled back: every file is the original".to_owned(),
        RestState::Refused => match &observation.plan {
            PlanOutcome::Refused(refused) => with_hint(refused),
            PlanOutcome::Planned(_) => attempt.reason().unwrap_or("the change was refused").to_owned(),
        },
        RestState::Undone => {
            let before = planned.and_then(|planned| planned.undone_before.as_deref());
            let note = || observation.last.as_ref()?.note.as_deref();
            let reason = attempt.reason().or(before).or_else(note);
            format!(
                "a change failed and was undone: {}",
                reason.unwrap_or("containerd did not serve")
            )
        }
        RestState::Unfinished => {
            "a change was interrupted; run `mirrorshift status` on the node to see its progress".to_owned()
        }
        RestState::Stuck => {
            "the undo failed; an operator must repair the node: `mirrorshift status` on the node lists the files"
                .to_owned()
        }
    }
}

/// Lists the drifted files with their modification time and owner.
pub(crate) fn drift(observation: &NodeObservation) -> String {
    let describe = |file: &DriftedFile| match file.now {
        None => format!("{} was removed", file.path),
        Some((owner, second)) => {
            let time = Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string());
            format!("{} was modified at {time} and belongs to uid {owner}", file.path)
        }
    };
    let all: Vec<String> = observation.drifted.iter().map(describe).collect();
    all.join(", ")
}

fn with_hint(failure: &FailureSummary) -> String {
    match &failure.hint {
        Some(hint) => format!("{}; {hint}", failure.message),
        None => failure.message.clone(),
    }
}

fn planned_files(planned: Option<&PlannedChange>) -> String {
    let count = planned.map_or(0, |planned| planned.files.len());
    let restart = match planned {
        Some(planned) if planned.restart => "with a restart of containerd",
        _ => "without a restart",
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} file{plural} to write, {restart}")
}

fn waiting_message(holders: &[SlotHolder]) -> String {
    if let Some(holder) = holders.iter().find(|holder| holder.failed()) {
        return format!(
            "the rollout is halted: node {} failed and keeps {} ({}); after you have found the cause, `{}` releases it",
            holder.node, holder.slot, holder.reason, holder.free
        );
    }
    let names: Vec<&str> = holders.iter().map(|holder| holder.node.as_str()).collect();
    format!("waits for a slot; being changed now: {}", names.join(", "))
}

fn migrated(inputs: &StatusInputs<'_>, message: &str) -> ConditionState {
    let Ok(observation) = inputs.observation else {
        return ConditionState::unknown(Reason::Initializing, message);
    };
    match inputs.activity {
        Activity::Rest(RestState::Migrated) if !observation.drifted.is_empty() => {
            ConditionState::false_with(Reason::Drifted, message)
        }
        Activity::Rest(RestState::Contested) => ConditionState::false_with(Reason::Drifted, message),
        // A node without anything to migrate matches the policy too.
        Activity::Rest(RestState::Migrated | RestState::Observed) => {
            ConditionState::true_with(Reason::PolicyApplied, message)
        }
        Activity::Rest(RestState::RolledBack) => ConditionState::false_with(Reason::RolledBack, message),
        Activity::Rest(RestState::Planned) => ConditionState::false_with(Reason::ObserveOnly, message),
        _ => ConditionState::false_with(Reason::NotYet, message),
    }
}

fn degraded(inputs: &StatusInputs<'_>, message: &str) -> ConditionState {
    if inputs.observation.is_err() {
        return ConditionState::true_with(Reason::HostUnreachable, message);
    }
    match inputs.activity {
        Activity::Rest(RestState::Refused) => ConditionState::true_with(Reason::Refused, message),
        Activity::Rest(RestState::Undone | RestState::Unfinished) => ConditionState::true_with(Reason::Undone, message),
        Activity::Rest(RestState::Stuck) => ConditionState::true_with(Reason::Stuck, message),
        Activity::Rest(RestState::Contested) => ConditionState::true_with(Reason::ConflictingWriter, message),
        _ => ConditionState::false_with(Reason::Healthy, ""),
    }
}

fn progressing(inputs: &StatusInputs<'_>) -> ConditionState {
    match inputs.activity {
        Activity::Change => ConditionState::true_with(Reason::Changing, "the node is being changed"),
        Activity::Wait(holders) => {
            let reason = if holders.iter().any(SlotHolder::failed) {
                Reason::FleetHalted
            } else {
                Reason::WaitingForSlot
            };
            ConditionState::true_with(reason, waiting_message(holders))
        }
        Activity::Rest(RestState::Busy) => {
            ConditionState::true_with(Reason::Preparing, "waits until the node is quiet")
        }
        Activity::Rest(_) => ConditionState::false_with(Reason::Idle, ""),
    }
}

fn policy_valid(problem: Option<&PolicyProblem>) -> ConditionState {
    match problem {
        None => ConditionState::true_with(Reason::Read, ""),
        Some(PolicyProblem::Missing) => ConditionState::false_with(
            Reason::Missing,
            "there is no policy; the last valid one, if any, stays in effect",
        ),
        Some(PolicyProblem::Invalid(message)) => ConditionState::false_with(Reason::Invalid, message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::conditions::ConditionStatus;

    #[test]
    fn progressing_is_true_with_fleet_halted_while_a_failed_node_keeps_a_slot() {
        let holder = SlotHolder {
            slot: "slot-0".to_owned(),
            node: "n1".to_owned(),
            phase: NodePhase::Undone.name().to_owned(),
            reason: "containerd did not serve".to_owned(),
            free: "kubectl -n mirrorshift-system delete lease slot-0".to_owned(),
        };
        let observation = NodeObservation::serving(PlanOutcome::Planned(PlannedChange::default()));
        let activity = Activity::Wait(vec![holder]);
        let report = report(&StatusInputs {
            observation: Ok(&observation),
            activity: &activity,
            policy: None,
            policy_problem: None,
            slot: None,
            attempt: &Attempt::None,
        });
        let progressing = &report.conditions.progressing;
        assert_eq!(
            (progressing.status, progressing.reason),
            (ConditionStatus::True, Reason::FleetHalted)
        );
        assert!(
            progressing
                .message
                .contains("kubectl -n mirrorshift-system delete lease slot-0"),
            "{}",
            progressing.message
        );
    }
}
