//! What the agent tells the cluster of its node: values from what it knows, without a clock.

use super::decide::State;
use super::policy::{InForce, Wrong};
use crate::cluster::conditions::{Conditions, Reason, Stated};
use crate::cluster::gate::Holder;
use crate::cluster::mirror::Report;
use crate::cluster::nodemirror::RouteSummary;
use crate::cluster::nodemirror::{self as told, FindingSummary, NodeMirrorStatus, Phase, PlanSummary, PolicySummary};
use crate::live::seen::{Answer, Drifted, Found, Mirrors, Planned, Refused, Routed, Seen};
use jiff::Timestamp;

/// What goes on with the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing.
    Rest(State),
    /// A slot is waited for, which these hold.
    Wait(Vec<Holder>),
    /// It is being changed.
    Change,
}

/// Everything that is told.
pub(super) struct Telling<'t> {
    pub(super) seen: Result<&'t Seen, &'t Refused>,
    pub(super) doing: &'t Doing,
    pub(super) policy: Option<&'t InForce>,
    pub(super) wrong: Option<&'t Wrong>,
    /// The slot that the node holds.
    pub(super) slot: Option<&'t str>,
    /// Why the change that was made with the slot failed, or why it was refused.
    pub(super) why: Option<&'t str>,
}

/// What is told.
pub(super) fn report(telling: &Telling<'_>) -> Report {
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
    Report {
        status: status.bounded(),
        conditions: Conditions {
            migrated: migrated(telling, &message),
            degraded: degraded(telling, &message),
            progressing: progressing(telling),
            policy_valid: policy_valid(telling.wrong),
        },
    }
}

fn look(seen: &Seen, status: &mut NodeMirrorStatus) {
    status.containerd.clone_from(&seen.containerd);
    status.mirrors = seen.mirrors.map(|mirrors| match mirrors {
        Mirrors::Legacy => told::Mirrors::Legacy,
        Mirrors::ConfigPath => told::Mirrors::ConfigPath,
        Mirrors::Both => told::Mirrors::Both,
        Mirrors::None => told::Mirrors::None,
    });
    let last = seen.unfinished.as_ref().or(seen.last.as_ref());
    status.change = last.map(|change| change.id.clone());
    let ended = last.and_then(|change| change.ended);
    status.last_change_time = ended
        .and_then(|second| i64::try_from(second).ok())
        .and_then(|second| Timestamp::from_second(second).ok());
    status.findings = seen.findings.iter().map(finding).collect();
    let Answer::Do(planned) = &seen.answer else { return };
    status.plan = planned.digest.map(|digest| PlanSummary {
        digest: digest.to_string(),
        restart: planned.restart,
        files: u32::try_from(planned.files.len()).unwrap_or(u32::MAX),
    });
    let mut routes: Vec<&Routed> = planned.routes.iter().collect();
    routes.sort_by_key(|route| !route.differs);
    status.routes = routes.into_iter().map(route).collect();
}

fn finding(found: &Found) -> FindingSummary {
    FindingSummary {
        id: found.id.clone(),
        level: found.severity.clone(),
        message: found.message.clone(),
    }
}

fn route(route: &Routed) -> RouteSummary {
    RouteSummary {
        registry: route.registry.clone().unwrap_or_else(|| "*".to_owned()),
        before: route.before.clone(),
        after: route.after.clone(),
    }
}

fn phase(telling: &Telling<'_>) -> Phase {
    if telling.seen.is_err() {
        return Phase::Refused;
    }
    match telling.doing {
        Doing::Change => Phase::Changing,
        Doing::Wait(_) => Phase::Waiting,
        Doing::Rest(state) => match state {
            State::Observed => Phase::Observed,
            State::Planned | State::NoRestart | State::Busy | State::NoGate => Phase::Pending,
            State::Migrated | State::Contested => Phase::Migrated,
            State::RolledBack => Phase::RolledBack,
            State::Refused => Phase::Refused,
            State::Undone => Phase::Undone,
            State::Unfinished => Phase::Changing,
            State::Stuck => Phase::Stuck,
        },
    }
}

/// One sentence for people.
fn message(telling: &Telling<'_>) -> String {
    let seen = match telling.seen {
        Ok(seen) => seen,
        Err(refused) => return with_hint(refused),
    };
    let planned = match &seen.answer {
        Answer::Do(planned) => Some(planned),
        Answer::Refused(_) => None,
    };
    match telling.doing {
        Doing::Change => "the node is being changed".to_owned(),
        Doing::Wait(holders) => waits_for(holders),
        Doing::Rest(state) => match state {
            State::Observed => match seen.mirrors {
                Some(Mirrors::Legacy) => "nothing is to be done".to_owned(),
                _ => "containerd has no mirrors that are to be migrated".to_owned(),
            },
            State::Planned => format!("{}; the policy only observes", files(planned)),
            State::NoRestart => format!("{}; the policy lets containerd never be restarted", files(planned)),
            State::Busy => {
                let busy = planned.and_then(|planned| planned.busy.as_deref());
                format!(
                    "waits until the node is quiet: {}",
                    busy.unwrap_or("something is in hand")
                )
            }
            State::NoGate => "the API server cannot be asked for a slot, so nothing is changed".to_owned(),
            State::Migrated if !seen.drifted.is_empty() => match telling.why {
                Some(why) => format!("somebody changed what was migrated: {}; {why}", drift(seen)),
                None => format!("somebody changed what was migrated: {}", drift(seen)),
            },
            State::Contested => format!(
                "somebody writes again over what was put back within the hour, so it is left to them until then: {}",
                drift(seen)
            ),
            State::Migrated => "as the policy wants it".to_owned(),
            State::RolledBack => "nothing of what was changed is in force".to_owned(),
            State::Refused => match (&seen.answer, telling.why) {
                (Answer::Refused(refused), _) => with_hint(refused),
                (_, why) => why.unwrap_or("the change was refused").to_owned(),
            },
            State::Undone => {
                let before = planned.and_then(|planned| planned.undone_before.as_deref());
                let why = telling.why.or(before).or_else(|| seen.last.as_ref()?.note.as_deref());
                let why = why.unwrap_or("containerd did not serve");
                format!("a change failed and was undone: {why}")
            }
            State::Unfinished => "a change is not over; `mirrorshift status` on the node shows it".to_owned(),
            State::Stuck => {
                "an undo failed, and a person is needed: `mirrorshift status` on the node names the files".to_owned()
            }
        },
    }
}

/// What somebody changed, and what is known of them.
pub(super) fn drift(seen: &Seen) -> String {
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

fn waits_for(holders: &[Holder]) -> String {
    if let Some(holder) = holders.iter().find(|holder| holder.failed()) {
        return format!(
            "the fleet stands still: node {} holds {} and failed: {}; `{}` frees it",
            holder.node, holder.slot, holder.reason, holder.free
        );
    }
    let names: Vec<&str> = holders.iter().map(|holder| holder.node.as_str()).collect();
    format!("waits for a slot; {} is being changed", names.join(", "))
}

fn migrated(telling: &Telling<'_>, message: &str) -> Stated {
    let Ok(seen) = telling.seen else {
        return Stated::unknown(Reason::NotSeenYet, message);
    };
    match telling.doing {
        Doing::Rest(State::Migrated) if !seen.drifted.is_empty() => Stated::no(Reason::Drifted, message),
        Doing::Rest(State::Contested) => Stated::no(Reason::Drifted, message),
        // With nothing in force there is nothing to be as wanted, and nothing to be done about it.
        Doing::Rest(State::Migrated | State::Observed) => Stated::yes(Reason::AsWanted, message),
        Doing::Rest(State::RolledBack) => Stated::no(Reason::RolledBack, message),
        Doing::Rest(State::Planned) => Stated::no(Reason::ObserveOnly, message),
        _ => Stated::no(Reason::NotYet, message),
    }
}

fn degraded(telling: &Telling<'_>, message: &str) -> Stated {
    if telling.seen.is_err() {
        return Stated::yes(Reason::HostUnreachable, message);
    }
    match telling.doing {
        Doing::Rest(State::Refused) => Stated::yes(Reason::Refused, message),
        Doing::Rest(State::Undone | State::Unfinished) => Stated::yes(Reason::Undone, message),
        Doing::Rest(State::Stuck) => Stated::yes(Reason::Stuck, message),
        Doing::Rest(State::Contested) => Stated::yes(Reason::Fight, message),
        _ => Stated::no(Reason::Well, ""),
    }
}

fn progressing(telling: &Telling<'_>) -> Stated {
    match telling.doing {
        Doing::Change => Stated::yes(Reason::Changing, "the node is being changed"),
        Doing::Wait(holders) => {
            let reason = if holders.iter().any(Holder::failed) {
                Reason::FleetHalted
            } else {
                Reason::WaitingForSlot
            };
            Stated::yes(reason, waits_for(holders))
        }
        Doing::Rest(State::Busy) => Stated::yes(Reason::Preparing, "waits until the node is quiet"),
        Doing::Rest(_) => Stated::no(Reason::Idle, ""),
    }
}

fn policy_valid(wrong: Option<&Wrong>) -> Stated {
    match wrong {
        None => Stated::yes(Reason::Read, ""),
        Some(Wrong::Missing) => Stated::no(
            Reason::Missing,
            "there is no policy; the last good one, if any, stays in force",
        ),
        Some(Wrong::Invalid(why)) => Stated::no(Reason::Invalid, why.clone()),
    }
}
