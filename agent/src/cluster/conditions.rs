//! Conditions by Kubernetes' conventions: `lastTransitionTime` moves only when the status does, whatever else is said.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition as it stands in the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is said.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Since when it does, or does not.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
    /// Why, in one word for programs.
    #[schemars(
        regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
        length(min = 1, max = 1024)
    )]
    pub reason: String,
    /// Why, in a sentence for people.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The generation of the object that it was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What conditions say. Each is read as its name: `True` is good news for `Migrated` and `PolicyValid`, bad for `Degraded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The node's mirrors are as the policy wants them, in force and serving.
    Migrated,
    /// Somebody has to look: a change failed, the host cannot be asked, or two tools fight over a file.
    Degraded,
    /// Something is being done, or waited for, that ends by itself.
    Progressing,
    /// The policy can be read; when it cannot, the last good one stays in force.
    PolicyValid,
}

impl ConditionType {
    /// All of them, in their order in the object.
    pub const ALL: [Self; 4] = [Self::Migrated, Self::Degraded, Self::Progressing, Self::PolicyValid];
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// The agent cannot tell.
    Unknown,
}

/// Why a condition is as it is: one word for programs, explained in `docs/runbook.md`.
///
/// The first of each condition is what it says of a node that needs nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `Migrated`: the node is as the policy wants it.
    AsWanted,
    /// `Migrated`: there is a plan, and the policy only observes.
    ObserveOnly,
    /// `Migrated`: there is a plan that was not carried out yet.
    NotYet,
    /// `Migrated`: the policy asked to take the change back.
    RolledBack,
    /// `Migrated`: something else of the node has changed since.
    Drifted,
    /// `Degraded`: all is well.
    Well,
    /// `Degraded`: the node cannot be changed as it is.
    Refused,
    /// `Degraded`: a change failed and was undone.
    Undone,
    /// `Degraded`: an undo failed, and a person is needed.
    Stuck,
    /// `Degraded`: another tool writes what this one repairs.
    Fight,
    /// `Degraded`: the host's system bus or its units cannot be reached.
    HostUnreachable,
    /// `Progressing`: nothing is under way.
    Idle,
    /// `Progressing`: a plan is being made or rehearsed.
    Preparing,
    /// `Progressing`: all slots are held by others.
    WaitingForSlot,
    /// `Progressing`: the node is being changed.
    Changing,
    /// `Progressing`: the fleet stands still, as a failed node keeps its slot.
    FleetHalted,
    /// `PolicyValid`: it was read.
    Read,
    /// `PolicyValid`: it cannot be read; the message names file, line and key.
    Invalid,
    /// `PolicyValid`: there is none.
    Missing,
    /// Any: the agent has not looked yet.
    NotSeenYet,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::AsWanted,
        Self::ObserveOnly,
        Self::NotYet,
        Self::RolledBack,
        Self::Drifted,
        Self::Well,
        Self::Refused,
        Self::Undone,
        Self::Stuck,
        Self::Fight,
        Self::HostUnreachable,
        Self::Idle,
        Self::Preparing,
        Self::WaitingForSlot,
        Self::Changing,
        Self::FleetHalted,
        Self::Read,
        Self::Invalid,
        Self::Missing,
        Self::NotSeenYet,
    ];

    /// As it stands in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::AsWanted => "AsWanted",
            Self::ObserveOnly => "ObserveOnly",
            Self::NotYet => "NotYet",
            Self::RolledBack => "RolledBack",
            Self::Drifted => "Drifted",
            Self::Well => "Well",
            Self::Refused => "Refused",
            Self::Undone => "Undone",
            Self::Stuck => "Stuck",
            Self::Fight => "Fight",
            Self::HostUnreachable => "HostUnreachable",
            Self::Idle => "Idle",
            Self::Preparing => "Preparing",
            Self::WaitingForSlot => "WaitingForSlot",
            Self::Changing => "Changing",
            Self::FleetHalted => "FleetHalted",
            Self::Read => "Read",
            Self::Invalid => "Invalid",
            Self::Missing => "Missing",
            Self::NotSeenYet => "NotSeenYet",
        }
    }
}

/// What the agent has to say of one condition, without its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionState {
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence. Whoever makes it has masked it.
    pub message: String,
}

impl ConditionState {
    /// A condition that holds.
    pub fn true_with(reason: Reason, message: impl Into<String>) -> Self {
        Self::of(ConditionStatus::True, reason, message)
    }

    /// A condition that does not hold.
    pub fn false_with(reason: Reason, message: impl Into<String>) -> Self {
        Self::of(ConditionStatus::False, reason, message)
    }

    /// A condition of which the agent cannot tell.
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

/// What is said of all four, so that none can be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// See [`ConditionType::Migrated`].
    pub migrated: ConditionState,
    /// See [`ConditionType::Degraded`].
    pub degraded: ConditionState,
    /// See [`ConditionType::Progressing`].
    pub progressing: ConditionState,
    /// See [`ConditionType::PolicyValid`].
    pub policy_valid: ConditionState,
}

impl Conditions {
    /// As they belong into the object, given those that stand there.
    ///
    /// A condition whose status is the same as before keeps its time; one of a type that the agent does not know goes.
    /// Times are whole seconds, as everywhere in Kubernetes.
    pub fn after(&self, before: &[Condition], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
        let now = whole_second(now);
        let history = |kind, status| {
            let same = |old: &&Condition| old.kind == kind && old.status == status;
            before.iter().find(same).map_or(now, |old| old.last_transition_time)
        };
        ConditionType::ALL
            .into_iter()
            .map(|kind| {
                let stated = self.of(kind);
                Condition {
                    kind,
                    status: stated.status,
                    last_transition_time: history(kind, stated.status),
                    reason: stated.reason.name().to_owned(),
                    message: stated.message.clone(),
                    observed_generation: generation,
                }
            })
            .collect()
    }

    fn of(&self, kind: ConditionType) -> &ConditionState {
        match kind {
            ConditionType::Migrated => &self.migrated,
            ConditionType::Degraded => &self.degraded,
            ConditionType::Progressing => &self.progressing,
            ConditionType::PolicyValid => &self.policy_valid,
        }
    }
}

/// A time without its fraction, as Kubernetes writes times.
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
            degraded: ConditionState::false_with(Reason::Well, ""),
            progressing: ConditionState::false_with(Reason::Idle, "Nothing is under way."),
            policy_valid: ConditionState::unknown(Reason::NotSeenYet, ""),
        }
    }

    #[test]
    fn the_time_moves_only_with_the_status() {
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
        let other = conditions(ConditionState::true_with(Reason::AsWanted, "c")).after(&same, Some(2), at(300));
        assert_eq!(other[0].last_transition_time, Timestamp::from_second(300).unwrap());
        // The others stay where they were.
        for unmoved in &other[1..] {
            assert_eq!(unmoved.last_transition_time, Timestamp::from_second(100).unwrap());
        }
        // A status that comes back does not find its old time again.
        let back = conditions(ConditionState::false_with(Reason::Drifted, "d")).after(&other, Some(2), at(400));
        assert_eq!(back[0].last_transition_time, Timestamp::from_second(400).unwrap());
    }

    #[test]
    fn all_four_are_said_in_their_order() {
        let said = conditions(ConditionState::false_with(Reason::NotYet, "a")).after(&[], None, at(0));
        let kinds: Vec<_> = said.iter().map(|condition| condition.kind).collect();
        assert_eq!(kinds, ConditionType::ALL);
        assert_eq!(
            serde_json::to_value(&said[3]).unwrap(),
            json!({
                "type": "PolicyValid", "status": "Unknown", "reason": "NotSeenYet", "message": "",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            })
        );
    }

    #[test]
    fn reasons_are_words_as_kubernetes_wants_them() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            let name = reason.name();
            assert_eq!(name, format!("{reason:?}"));
            assert!(name.starts_with(|first: char| first.is_ascii_uppercase()), "{name}");
            assert!(name.chars().all(|letter| letter.is_ascii_alphanumeric()), "{name}");
            assert!(seen.insert(name), "{name} twice");
        }
    }
}
