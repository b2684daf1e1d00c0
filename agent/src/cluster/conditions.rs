//! Conditions by the conventions of Kubernetes: `lastTransitionTime` changes only when the status changes.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A condition of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The type of the condition.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// The time of the last change of the status.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
    /// The reason, one word for programs. docs/runbook.md explains each.
    #[schemars(
        regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
        length(min = 1, max = 1024)
    )]
    pub reason: String,
    /// The reason, a sentence for people.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The generation of the object for which the condition was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The type of a condition. `True` is good for `Migrated` and `PolicyValid`, and bad for `Degraded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The node matches the policy, and containerd serves.
    Migrated,
    /// An operator must act: a change failed, the host is unreachable, or another tool overwrites files.
    Degraded,
    /// The node is being changed, or waits for a slot or for ongoing work.
    Progressing,
    /// The policy can be read. While it cannot, the last valid one stays in effect.
    PolicyValid,
}

impl ConditionType {
    /// All types, in their order in the object.
    pub const ALL: [Self; 4] = [Self::Migrated, Self::Degraded, Self::Progressing, Self::PolicyValid];
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// The agent does not know.
    Unknown,
}

/// The reason of a condition: one word for programs, explained in `docs/runbook.md`.
///
/// The first reason of each condition is that of a healthy node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `Migrated`: the node matches the policy.
    PolicyApplied,
    /// `Migrated`: there is a plan, and the policy only observes.
    ObserveOnly,
    /// `Migrated`: the plan has not been carried out yet.
    NotYet,
    /// `Migrated`: the policy required a rollback.
    RolledBack,
    /// `Migrated`: another program has modified migrated files.
    Drifted,
    /// `Degraded`: there is no problem.
    Healthy,
    /// `Degraded`: the node cannot be changed.
    Refused,
    /// `Degraded`: a change failed and was undone.
    Undone,
    /// `Degraded`: the undo failed; an operator must repair the node.
    Stuck,
    /// `Degraded`: another program keeps overwriting repaired files.
    ConflictingWriter,
    /// `Degraded`: the host's system bus or its units cannot be reached.
    HostUnreachable,
    /// `Progressing`: no change is in progress.
    Idle,
    /// `Progressing`: the node is prepared for a change.
    Preparing,
    /// `Progressing`: other nodes hold all slots.
    WaitingForSlot,
    /// `Progressing`: the node is being changed.
    Changing,
    /// `Progressing`: the node waits for a slot that a failed node keeps.
    FleetHalted,
    /// `PolicyValid`: the policy was read.
    Read,
    /// `PolicyValid`: the policy is invalid; the message names file, line and key.
    Invalid,
    /// `PolicyValid`: there is no policy.
    Missing,
    /// Any condition: the agent has not observed the node yet.
    Initializing,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 20] = [
        Self::PolicyApplied,
        Self::ObserveOnly,
        Self::NotYet,
        Self::RolledBack,
        Self::Drifted,
        Self::Healthy,
        Self::Refused,
        Self::Undone,
        Self::Stuck,
        Self::ConflictingWriter,
        Self::HostUnreachable,
        Self::Idle,
        Self::Preparing,
        Self::WaitingForSlot,
        Self::Changing,
        Self::FleetHalted,
        Self::Read,
        Self::Invalid,
        Self::Missing,
        Self::Initializing,
    ];

    /// The name in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::PolicyApplied => "PolicyApplied",
            Self::ObserveOnly => "ObserveOnly",
            Self::NotYet => "NotYet",
            Self::RolledBack => "RolledBack",
            Self::Drifted => "Drifted",
            Self::Healthy => "Healthy",
            Self::Refused => "Refused",
            Self::Undone => "Undone",
            Self::Stuck => "Stuck",
            Self::ConflictingWriter => "ConflictingWriter",
            Self::HostUnreachable => "HostUnreachable",
            Self::Idle => "Idle",
            Self::Preparing => "Preparing",
            Self::WaitingForSlot => "WaitingForSlot",
            Self::Changing => "Changing",
            Self::FleetHalted => "FleetHalted",
            Self::Read => "Read",
            Self::Invalid => "Invalid",
            Self::Missing => "Missing",
            Self::Initializing => "Initializing",
        }
    }
}

/// The state of a condition, without its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionState {
    /// The status.
    pub status: ConditionStatus,
    /// One word for programs.
    pub reason: Reason,
    /// A sentence for people, without secrets.
    pub message: String,
}

impl ConditionState {
    /// A condition with status `True`.
    pub fn true_with(reason: Reason, message: impl Into<String>) -> Self {
        Self::of(ConditionStatus::True, reason, message)
    }

    /// A condition with status `False`.
    pub fn false_with(reason: Reason, message: impl Into<String>) -> Self {
        Self::of(ConditionStatus::False, reason, message)
    }

    /// A condition with status `Unknown`.
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self::of(ConditionStatus::Unknown, reason, message)
    }

    fn of(status: ConditionStatus, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
        }
    }
}

/// The states of all four conditions, so that none can be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// [`ConditionType::Migrated`].
    pub migrated: ConditionState,
    /// [`ConditionType::Degraded`].
    pub degraded: ConditionState,
    /// [`ConditionType::Progressing`].
    pub progressing: ConditionState,
    /// [`ConditionType::PolicyValid`].
    pub policy_valid: ConditionState,
}

impl Conditions {
    /// Returns the conditions for the object, given those that it has.
    ///
    /// A condition keeps its time while its status is the same. Conditions of unknown types are dropped. Times are
    /// whole seconds, as everywhere in Kubernetes.
    pub fn after(&self, before: &[Condition], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
        let now = whole_second(now);
        let history = |kind, status| {
            let is_same = |old: &&Condition| old.kind == kind && old.status == status;
            before.iter().find(is_same).map_or(now, |old| old.last_transition_time)
        };
        ConditionType::ALL
            .into_iter()
            .map(|kind| {
                let state = self.state(kind);
                Condition {
                    kind,
                    status: state.status,
                    last_transition_time: history(kind, state.status),
                    reason: state.reason.name().to_owned(),
                    message: state.message.clone(),
                    observed_generation: generation,
                }
            })
            .collect()
    }

    fn state(&self, kind: ConditionType) -> &ConditionState {
        match kind {
            ConditionType::Migrated => &self.migrated,
            ConditionType::Degraded => &self.degraded,
            ConditionType::Progressing => &self.progressing,
            ConditionType::PolicyValid => &self.policy_valid,
        }
    }
}

/// Removes the fraction of a second, as Kubernetes does.
pub(super) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millisecond(second * 1000 + 250).unwrap()
    }

    fn conditions(migrated: ConditionState) -> Conditions {
        Conditions {
            migrated,
            degraded: ConditionState::false_with(Reason::Healthy, ""),
            progressing: ConditionState::false_with(Reason::Idle, "No change is in progress."),
            policy_valid: ConditionState::unknown(Reason::Initializing, ""),
        }
    }

    #[test]
    fn transition_time_changes_only_with_the_status() {
        let first = conditions(ConditionState::false_with(Reason::NotYet, "a")).after(&[], Some(1), at(100));
        let same = conditions(ConditionState::false_with(Reason::ObserveOnly, "b")).after(&first, Some(2), at(200));
        assert_eq!(same[0].last_transition_time, Timestamp::from_second(100).unwrap());
        assert_eq!(
            (
                same[0].reason.as_str(),
                same[0].message.as_str(),
                same[0].observed_generation
            ),
            ("ObserveOnly", "b", Some(2))
        );
        let other = conditions(ConditionState::true_with(Reason::PolicyApplied, "c")).after(&same, Some(2), at(300));
        assert_eq!(other[0].last_transition_time, Timestamp::from_second(300).unwrap());
        // The times of the other conditions are unchanged.
        for unmoved in &other[1..] {
            assert_eq!(unmoved.last_transition_time, Timestamp::from_second(100).unwrap());
        }
        // A status that returns gets a new time.
        let back = conditions(ConditionState::false_with(Reason::Drifted, "d")).after(&other, Some(2), at(400));
        assert_eq!(back[0].last_transition_time, Timestamp::from_second(400).unwrap());
    }

    #[test]
    fn conditions_are_migrated_degraded_progressing_policy_valid() {
        let all = conditions(ConditionState::false_with(Reason::NotYet, "a")).after(&[], None, at(0));
        let kinds: Vec<_> = all.iter().map(|condition| condition.kind).collect();
        assert_eq!(kinds, ConditionType::ALL);
        assert_eq!(
            serde_json::to_value(&all[3]).unwrap(),
            json!({
                "type": "PolicyValid", "status": "Unknown", "reason": "Initializing", "message": "",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            })
        );
    }

    #[test]
    fn names_of_reasons_are_distinct_camel_case_words() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            let name = reason.name();
            assert!(name.starts_with(|first: char| first.is_ascii_uppercase()), "{name}");
            assert!(name.chars().all(|letter| letter.is_ascii_alphanumeric()), "{name}");
            assert!(seen.insert(name), "{name} twice");
        }
    }
}
