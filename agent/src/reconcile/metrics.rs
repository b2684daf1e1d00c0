//! What `/metrics` says. Each is explained in docs/runbook.md.

use crate::cluster::error::ApiErrorKind;
use crate::cluster::node_mirror::NodePhase;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt::{
    Write, {self},
};
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

/// A label's value that is known when the program is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPhase {
    phase: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: Word,
}

/// All of them, of one node.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    phase: Family<OfPhase, Gauge>,
    slot: Gauge,
    policy: Gauge,
    changes: Family<OfOutcome, Counter>,
    repairs: Counter,
    fight: Gauge,
    /// Exact, so that two looks within a second are told apart.
    looked: Gauge<f64, AtomicU64>,
    api: Family<OfKind, Counter>,
}

/// How a change may end, as a label.
const OUTCOMES: [&str; 6] = ["done", "rolled_back", MENDED, "undone", "stuck", "refused"];
const MENDED: &str = "mended";

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut new = Self {
            registry: Registry::with_prefix("mirrorshift"),
            phase: Family::default(),
            slot: Gauge::default(),
            policy: Gauge::default(),
            changes: Family::default(),
            repairs: Counter::default(),
            fight: Gauge::default(),
            looked: Gauge::default(),
            api: Family::default(),
        };
        // What has not happened yet is there as a zero: a rate of what appears is lost otherwise.
        for outcome in OUTCOMES {
            drop(new.changes.get_or_create(&OfOutcome { outcome: Word(outcome) }));
        }
        let all = &mut new.registry;
        all.register("phase", "Whether the node is in this phase", new.phase.clone());
        all.register(
            "slot_held",
            "Whether the node holds a slot of the gate",
            new.slot.clone(),
        );
        all.register("policy_valid", "Whether the policy can be read", new.policy.clone());
        all.register("changes", "Changes of the node that ended", new.changes.clone());
        all.register(
            "drift_repairs",
            "Times that files were put back that somebody had written over",
            new.repairs.clone(),
        );
        all.register(
            "fight",
            "Whether somebody writes again and again over what is put back",
            new.fight.clone(),
        );
        all.register_with_unit(
            "last_look_timestamp",
            "When the node was looked at last",
            Unit::Seconds,
            new.looked.clone(),
        );
        all.register("api_errors", "Calls of the API server that failed", new.api.clone());
        new
    }

    pub(crate) fn phase(&self, now: NodePhase) {
        for phase in NodePhase::ALL {
            let of = OfPhase {
                phase: Word(phase.name()),
            };
            self.phase.get_or_create(&of).set(i64::from(phase == now));
        }
    }

    pub(crate) fn set_slot_held(&self, held: bool) {
        self.slot.set(i64::from(held));
    }

    pub(crate) fn policy(&self, valid: bool) {
        self.policy.set(i64::from(valid));
    }

    pub(crate) fn set_contested(&self, goes_on: bool) {
        self.fight.set(i64::from(goes_on));
    }

    pub(crate) fn change(&self, outcome: &'static str) {
        if outcome == MENDED {
            self.repairs.inc();
        }
        self.changes.get_or_create(&OfOutcome { outcome: Word(outcome) }).inc();
    }

    pub(crate) fn inc_observations(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.looked.set(now.as_secs_f64());
    }

    pub(crate) fn api_failed(&self, kind: ApiErrorKind) {
        self.api
            .get_or_create(&OfKind {
                kind: Word(kind.name()),
            })
            .inc();
    }

    /// Whether the node was ever looked at.
    pub(crate) fn has_looked(&self) -> bool {
        self.looked.get() > 0.0
    }

    /// As Prometheus reads it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry).ok();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_runbook() {
        let metrics = Metrics::new();
        metrics.phase(NodePhase::Migrated);
        metrics.set_slot_held(true);
        metrics.policy(true);
        metrics.change("undone");
        metrics.change(MENDED);
        metrics.set_contested(true);
        metrics.set_contested(false);
        metrics.inc_observations();
        metrics.api_failed(ApiErrorKind::Forbidden);
        let text = metrics.text();
        for line in [
            "mirrorshift_phase{phase=\"Migrated\"} 1\n",
            "mirrorshift_phase{phase=\"Undone\"} 0\n",
            "mirrorshift_slot_held 1\n",
            "mirrorshift_policy_valid 1\n",
            "mirrorshift_changes_total{outcome=\"undone\"} 1\n",
            "mirrorshift_changes_total{outcome=\"done\"} 0\n",
            "mirrorshift_drift_repairs_total 1\n",
            "mirrorshift_fight 0\n",
            "mirrorshift_api_errors_total{kind=\"forbidden\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.contains("\nmirrorshift_last_look_timestamp_seconds "), "{text}");
    }
}
