//! What the agent tells the cluster of its node: values from what it knows, without a clock.

use crate::cluster::conditions::{ConditionState, Conditions, Reason};
use crate::cluster::node_mirror::{
    FindingSummary, NodeMirrorStatus, NodePhase, PlanSummary, PolicySummary, RouteSummary, {self as told},
};
use crate::cluster::node_mirror_writer::NodeReport;
use crate::cluster::slots::SlotHolder;
use crate::observe::observation::{
    Drifted, MirrorSource, NodeObservation, PlanOutcome, Planned, Refused, ReportedFinding, RouteDifference,
};
use crate::reconcile::decide::RestState;
use crate::reconcile::policy_file::{ActivePolicy, PolicyProblem};
use jiff::Timestamp;

/// What goes on with the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Nothing.
    Rest(RestState),
    /// A slot is waited for, which these hold.
    Wait(Vec<SlotHolder>),
    /// It is being changed.
    Change,
}

/// Everything that is told.
pub(crate) struct StatusInputs<'t> {
    pub(crate) seen: Result<&'t NodeObservation, &'t Refused>,
    pub(crate) doing: &'t Activity,
    pub(crate) policy: Option<&'t ActivePolicy>,
    pub(crate) wrong: Option<&'t PolicyProblem>,
    /// The slot that the node holds.
    pub(crate) slot: Option<&'t str>,
    /// Why the change that was made with the slot failed, or why it was refused.
    pub(crate) why: Option<&'t str>,
}

/// What is told.
pub(crate) fn report(telling: &StatusInputs<'_>) -> NodeReport {
    let phase = phase(telling);
    let message = message(telling);
    let mut status = NodeMirrorStatus {
        phase,
        message: message.clone(),
        slot: telling.slot.map(str::to_owned),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        policy: telling.policy.map(|policy| PolicySummary {
            mode: policy.mode().to_owned(),
            digest: policy.digest.to_string(),
        }),
        ..NodeMirrorStatus::default()
    };
    if let Ok(seen) = telling.seen {
        look(seen, &mut status);
    }
    NodeReport {
        status: status.bounded(),
        conditions: Conditions {
            migrated: migrated(telling, &message),
            degraded: degraded(telling, &message),
            progressing: progressing(telling),
            policy_valid: policy_valid(telling.wrong),
        },
    }
}

fn look(seen: &NodeObservation, status: &mut NodeMirrorStatus) {
    status.containerd.clone_from(&seen.containerd);
    status.mirrors = seen.mirrors.map(|mirrors| match mirrors {
        MirrorSource::Legacy => told::MirrorSetup::Legacy,
        MirrorSource::ConfigPath => told::MirrorSetup::ConfigPath,
        MirrorSource::Both => told::MirrorSetup::Both,
        MirrorSource::None => told::MirrorSetup::None,
    });
    let last = seen.unfinished.as_ref().or(seen.last.as_ref());
    status.change = last.map(|change| change.id.clone());
    let ended = last.and_then(|change| change.ended);
    status.last_change_time = ended
        .and_then(|second| i64::try_from(second).ok())
        .and_then(|second| Timestamp::from_second(second).ok());
    status.findings = seen.findings.iter().map(finding).collect();
    let PlanOutcome::Planned(planned) = &seen.answer else {
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

fn finding(found: &ReportedFinding) -> FindingSummary {
    FindingSummary {
        id: found.id.clone(),
        level: found.severity.clone(),
        message: found.message.clone(),
    }
}

fn route(route: &RouteDifference) -> RouteSummary {
    RouteSummary {
        registry: route.registry.clone().unwrap_or_else(|| "*".to_owned()),
        before: route.before.clone(),
        after: route.after.clone(),
    }
}

fn phase(telling: &StatusInputs<'_>) -> NodePhase {
    if telling.seen.is_err() {
        return NodePhase::Refused;
    }
    match telling.doing {
        Activity::Change => NodePhase::Changing,
        Activity::Wait(_) => NodePhase::Waiting,
        Activity::Rest(state) => match state {
            RestState::Observed => NodePhase::Observed,
            RestState::Planned | RestState::NoRestart | RestState::Busy | RestState::NoGate => NodePhase::Pending,
            RestState::Migrated | RestState::Contested => NodePhase::Migrated,
            RestState::RolledBack => NodePhase::RolledBack,
            RestState::Refused => NodePhase::Refused,
            RestState::Undone => NodePhase::Undone,
            RestState::Unfinished => NodePhase::Changing,
            RestState::Stuck => NodePhase::Stuck,
        },
    }
}

/// One sentence for people.
fn message(telling: &StatusInputs<'_>) -> String {
    let seen = match telling.seen {
        Ok(seen) => seen,
        Err(refused) => return with_hint(refused),
    };
    let planned = match &seen.answer {
        PlanOutcome::Planned(planned) => Some(planned),
        PlanOutcome::Refused(_) => None,
    };
    match telling.doing {
        Activity::Change => "the node is being changed".to_owned(),
        Activity::Wait(holders) => waits_for(holders),
        Activity::Rest(state) => match state {
            RestState::Observed => match seen.mirrors {
                Some(MirrorSource::Legacy) => "nothing is to be done".to_owned(),
                _ => "containerd has no mirrors that are to be migrated".to_owned(),
            },
            RestState::Planned => format!("{}; the policy only observes", files(planned)),
            RestState::NoRestart => format!("{}; the policy lets containerd never be restarted", files(planned)),
            RestState::Busy => {
                let busy = planned.and_then(|planned| planned.busy.as_deref());
                format!(
                    "waits until the node is quiet: {}",
                    busy.unwrap_or("something is in hand")
                )
            }
            RestState::NoGate => "the API server cannot be asked for a slot, so nothing is changed".to_owned(),
            RestState::Migrated if !seen.drifted.is_empty() => match telling.why {
                Some(why) => format!("somebody changed what was migrated: {}; {why}", drift(seen)),
                None => format!("somebody changed what was migrated: {}", drift(seen)),
            },
            RestState::Contested => format!(
                "somebody writes again over what was put back within the hour, so it is left to them until then: {}",
                drift(seen)
            ),
            RestState::Migrated => "as the policy wants it".to_owned(),
            RestState::RolledBack => "nothing of what was changed is in force".to_owned(),
            RestState::Refused => match (&seen.answer, telling.why) {
                (PlanOutcome::Refused(refused), _) => with_hint(refused),
                (_, why) => why.unwrap_or("the change was refused").to_owned(),
            },
            RestState::Undone => {
                let before = planned.and_then(|planned| planned.undone_before.as_deref());
                let why = telling.why.or(before).or_else(|| seen.last.as_ref()?.note.as_deref());
                let why = why.unwrap_or("containerd did not serve");
                format!("a change failed and was undone: {why}")
            }
            RestState::Unfinished => "a change is not over; `mirrorshift status` on the node shows it".to_owned(),
            RestState::Stuck => {
                "an undo failed, and a person is needed: `mirrorshift status` on the node names the files".to_owned()
            }
        },
    }
}

/// What somebody changed, and what is known of them.
pub(crate) fn drift(seen: &NodeObservation) -> String {
    let one = |drifted: &Drifted| match drifted.now {
        None => format!("{} is gone", drifted.path),
        Some((owner, second)) => {
            let time = Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string());
            format!("{} was written at {time} and is of user {owner}", drifted.path)
        }
    };
    let all: Vec<String> = seen.drifted.iter().map(one).collect();
    all.join(", ")
}

fn with_hint(refused: &Refused) -> String {
    match &refused.hint {
        Some(hint) => format!("{}; {hint}", refused.message),
        None => refused.message.clone(),
    }
}

fn files(planned: Option<&Planned>) -> String {
    let count = planned.map_or(0, |planned| planned.files.len());
    let restart = match planned {
        Some(planned) if planned.restart => "with a restart of containerd",
        _ => "without a restart",
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} file{plural} to write, {restart}")
}

fn waits_for(holders: &[SlotHolder]) -> String {
    if let Some(holder) = holders.iter().find(|holder| holder.failed()) {
        return format!(
            "the fleet stands still: node {} holds {} and failed: {}; `{}` frees it",
            holder.node, holder.slot, holder.reason, holder.free
        );
    }
    let names: Vec<&str> = holders.iter().map(|holder| holder.node.as_str()).collect();
    format!("waits for a slot; {} is being changed", names.join(", "))
}

fn migrated(telling: &StatusInputs<'_>, message: &str) -> ConditionState {
    let Ok(seen) = telling.seen else {
        return ConditionState::unknown(Reason::NotSeenYet, message);
    };
    match telling.doing {
        Activity::Rest(RestState::Migrated) if !seen.drifted.is_empty() => {
            ConditionState::false_with(Reason::Drifted, message)
        }
        Activity::Rest(RestState::Contested) => ConditionState::false_with(Reason::Drifted, message),
        // With nothing in force there is nothing to be as wanted, and nothing to be done about it.
        Activity::Rest(RestState::Migrated | RestState::Observed) => {
            ConditionState::true_with(Reason::AsWanted, message)
        }
        Activity::Rest(RestState::RolledBack) => ConditionState::false_with(Reason::RolledBack, message),
        Activity::Rest(RestState::Planned) => ConditionState::false_with(Reason::ObserveOnly, message),
        _ => ConditionState::false_with(Reason::NotYet, message),
    }
}

fn degraded(telling: &StatusInputs<'_>, message: &str) -> ConditionState {
    if telling.seen.is_err() {
        return ConditionState::true_with(Reason::HostUnreachable, message);
    }
    match telling.doing {
        Activity::Rest(RestState::Refused) => ConditionState::true_with(Reason::Refused, message),
        Activity::Rest(RestState::Undone | RestState::Unfinished) => ConditionState::true_with(Reason::Undone, message),
        Activity::Rest(RestState::Stuck) => ConditionState::true_with(Reason::Stuck, message),
        Activity::Rest(RestState::Contested) => ConditionState::true_with(Reason::Fight, message),
        _ => ConditionState::false_with(Reason::Well, ""),
    }
}

fn progressing(telling: &StatusInputs<'_>) -> ConditionState {
    match telling.doing {
        Activity::Change => ConditionState::true_with(Reason::Changing, "the node is being changed"),
        Activity::Wait(holders) => {
            let reason = if holders.iter().any(SlotHolder::failed) {
                Reason::FleetHalted
            } else {
                Reason::WaitingForSlot
            };
            ConditionState::true_with(reason, waits_for(holders))
        }
        Activity::Rest(RestState::Busy) => {
            ConditionState::true_with(Reason::Preparing, "waits until the node is quiet")
        }
        Activity::Rest(_) => ConditionState::false_with(Reason::Idle, ""),
    }
}

fn policy_valid(wrong: Option<&PolicyProblem>) -> ConditionState {
    match wrong {
        None => ConditionState::true_with(Reason::Read, ""),
        Some(PolicyProblem::Missing) => ConditionState::false_with(
            Reason::Missing,
            "there is no policy; the last good one, if any, stays in force",
        ),
        Some(PolicyProblem::Invalid(why)) => ConditionState::false_with(Reason::Invalid, why.clone()),
    }
}
