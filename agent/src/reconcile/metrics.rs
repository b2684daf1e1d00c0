//! The metrics of the agent. docs/runbook.md explains each.

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

/// A label value that is a constant of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LabelValue(&'static str);

impl EncodeLabelValue for LabelValue {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: LabelValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: LabelValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    kind: LabelValue,
}

/// The metrics of one node.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    phase: Family<PhaseLabels, Gauge>,
    slot: Gauge,
    policy: Gauge,
    changes: Family<OutcomeLabels, Counter>,
    repairs: Counter,
    contested: Gauge,
    /// Fractions of a second, so that two observations within one second differ.
    observed: Gauge<f64, AtomicU64>,
    api_errors: Family<ErrorLabels, Counter>,
}

/// The `outcome` labels of a change.
const OUTCOMES: [&str; 6] = ["done", "rolled_back", REPAIRED, "undone", "stuck", "refused"];
const REPAIRED: &str = "repaired";

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut new = Self {
            registry: Registry::with_prefix("mirrorshift"),
            phase: Family::default(),
            slot: Gauge::default(),
            policy: Gauge::default(),
            changes: Family::default(),
            repairs: Counter::default(),
            contested: Gauge::default(),
            observed: Gauge::default(),
            api_errors: Family::default(),
        };
        // Each outcome starts with a zero. Otherwise Prometheus cannot compute the rate of the first one.
        for outcome in OUTCOMES {
            drop(new.changes.get_or_create(&OutcomeLabels {
                outcome: LabelValue(outcome),
            }));
        }
        let registry = &mut new.registry;
        registry.register(
            "phase",
            "1 for the current phase of the node, 0 for others",
            new.phase.clone(),
        );
        registry.register("slot_held", "1 while the node holds a slot", new.slot.clone());
        registry.register("policy_valid", "1 while the policy can be read", new.policy.clone());
        registry.register(
            "changes",
            "Changes of the node that ended, by outcome",
            new.changes.clone(),
        );
        registry.register(
            "drift_repairs",
            "Repairs of files that another program had modified",
            new.repairs.clone(),
        );
        registry.register(
            "conflicting_writer",
            "1 while another program keeps overwriting repaired files",
            new.contested.clone(),
        );
        registry.register_with_unit(
            "last_observation_timestamp",
            "Time of the last observation of the node",
            Unit::Seconds,
            new.observed.clone(),
        );
        registry.register(
            "api_errors",
            "Failed calls to the API server, by kind",
            new.api_errors.clone(),
        );
        new
    }

    pub(crate) fn set_phase(&self, current: NodePhase) {
        for phase in NodePhase::ALL {
            let labels = PhaseLabels {
                phase: LabelValue(phase.name()),
            };
            self.phase.get_or_create(&labels).set(i64::from(phase == current));
        }
    }

    pub(crate) fn set_slot_held(&self, held: bool) {
        self.slot.set(i64::from(held));
    }

    pub(crate) fn set_policy_valid(&self, valid: bool) {
        self.policy.set(i64::from(valid));
    }

    pub(crate) fn set_contested(&self, contested: bool) {
        self.contested.set(i64::from(contested));
    }

    pub(crate) fn inc_changes(&self, outcome: &'static str) {
        if outcome == REPAIRED {
            self.repairs.inc();
        }
        let labels = OutcomeLabels {
            outcome: LabelValue(outcome),
        };
        self.changes.get_or_create(&labels).inc();
    }

    pub(crate) fn inc_observations(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.observed.set(now.as_secs_f64());
    }

    pub(crate) fn inc_api_errors(&self, kind: ApiErrorKind) {
        let labels = ErrorLabels {
            kind: LabelValue(kind.name()),
        };
        self.api_errors.get_or_create(&labels).inc();
    }

    /// Returns true if the node has been observed.
    pub(crate) fn has_observation(&self) -> bool {
        self.observed.get() > 0.0
    }

    /// Encodes the metrics in the text format of `OpenMetrics`.
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
    fn encoded_metrics_have_the_names_of_the_runbook() {
        let metrics = Metrics::new();
        metrics.set_phase(NodePhase::Migrated);
        metrics.set_slot_held(true);
        metrics.set_policy_valid(true);
        metrics.inc_changes("undone");
        metrics.inc_changes(REPAIRED);
        metrics.set_contested(true);
        metrics.set_contested(false);
        metrics.inc_observations();
        metrics.inc_api_errors(ApiErrorKind::Forbidden);
        let text = metrics.text();
        for line in [
            "mirrorshift_phase{phase=\"Migrated\"} 1\n",
            "mirrorshift_phase{phase=\"Undone\"} 0\n",
            "mirrorshift_slot_held 1\n",
            "mirrorshift_policy_valid 1\n",
            "mirrorshift_changes_total{outcome=\"undone\"} 1\n",
            "mirrorshift_changes_total{outcome=\"done\"} 0\n",
            "mirrorshift_drift_repairs_total 1\n",
            "mirrorshift_conflicting_writer 0\n",
            "mirrorshift_api_errors_total{kind=\"forbidden\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(
            text.contains("\nmirrorshift_last_observation_timestamp_seconds "),
            "{text}"
        );
    }
}
