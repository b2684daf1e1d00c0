//! The observation of a node: the document that the observing unit writes and the agent reads. It holds no secret.

use crate::change_run::failure_summary::FailureSummary;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::Phase;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The node at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeObservation {
    /// The version of the installed containerd. The plan is made for it.
    pub(crate) containerd: Option<String>,
    /// The unit that runs containerd.
    pub(crate) unit: Option<String>,
    /// The invocation of containerd's unit, which changes with each start.
    pub(crate) invocation: Option<String>,
    /// The duration of the last start of containerd's unit, which bounds the deadline of a restart from below.
    #[serde(default)]
    pub(crate) last_start: Option<Duration>,
    /// CRI reports that it can create sandboxes.
    pub(crate) serves: bool,
    /// None when containerd's configuration cannot be read.
    pub(crate) mirrors: Option<MirrorSource>,
    /// A change or an undo is in progress.
    pub(crate) under_way: bool,
    pub(crate) unfinished: Option<ChangeSummary>,
    /// The change whose files are in place.
    pub(crate) in_force: Option<ChangeSummary>,
    /// The change that ended last.
    pub(crate) last: Option<ChangeSummary>,
    pub(crate) drifted: Vec<DriftedFile>,
    /// Seconds since the last repair ended, by the node's clock.
    pub(crate) repaired_ago: Option<u64>,
    pub(crate) plan: PlanOutcome,
    /// Settings that containerd rejects, ignores or will drop, worst first.
    pub(crate) findings: Vec<ReportedFinding>,
}

/// The settings from which containerd takes its mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MirrorSource {
    /// `registry.mirrors`.
    Legacy,
    /// hosts.toml files under `config_path`.
    ConfigPath,
    /// Both are set, so CRI does not load.
    Both,
    /// Neither is set.
    None,
}

/// A file that Mirrorshift wrote and another program has modified or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DriftedFile {
    pub(crate) path: String,
    /// The user that owns it and the second since 1970 at which it was modified; none when the file is missing.
    pub(crate) now: Option<(u32, i64)>,
    /// It can be restored without a restart.
    pub(crate) repairable: bool,
}

/// A change in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeSummary {
    pub(crate) id: String,
    pub(crate) phase: Phase,
    /// The second since 1970 at which it ended, by the node's clock.
    pub(crate) ended: Option<u64>,
    /// The reason why it was undone or is stuck.
    pub(crate) note: Option<String>,
}

/// The plan for the node, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PlanOutcome {
    Planned(PlannedChange),
    /// The node cannot be changed. Nothing was changed.
    Refused(FailureSummary),
}

/// The change that a plan makes; empty when the node needs none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedChange {
    /// The digest of the plan; none when the plan is empty.
    pub(crate) digest: Option<Digest>,
    /// containerd must be restarted.
    pub(crate) restart: bool,
    /// The files that change.
    pub(crate) files: Vec<String>,
    pub(crate) routes: Vec<RouteDifference>,
    /// The reason why the same plan was undone before on this containerd.
    pub(crate) undone_before: Option<String>,
    /// The work that the node is busy with. A change would wait for its end.
    pub(crate) busy: Option<String>,
    /// The summary of a successful rehearsal, if one was requested.
    pub(crate) rehearsed: Option<String>,
}

/// The hosts that containerd tries for a registry, before and after the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RouteDifference {
    /// The registry; `*` for any other registry.
    pub(crate) registry: String,
    /// URLs in the order in which containerd tries them.
    pub(crate) before: Vec<String>,
    pub(crate) after: Vec<String>,
    /// A registry could distinguish the two, perhaps by a property that the URLs do not show.
    pub(crate) differs: bool,
}

/// A finding of `mirrorshift check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportedFinding {
    pub(crate) id: String,
    pub(crate) severity: String,
    /// The location, what containerd does, and the remedy.
    pub(crate) message: String,
}

/// A file that is modified again within this time after a repair is left unchanged, because another tool manages it.
const REPAIR_PAUSE_SECS: u64 = 3600;

impl NodeObservation {
    /// A node that serves and was never changed, for tests and simulations.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn serving(plan: PlanOutcome) -> Self {
        Self {
            last_start: None,
            containerd: None,
            unit: None,
            invocation: None,
            serves: true,
            mirrors: None,
            under_way: false,
            unfinished: None,
            in_force: None,
            last: None,
            drifted: Vec::new(),
            repaired_ago: None,
            plan,
            findings: Vec::new(),
        }
    }

    /// Returns true if a drifted file can be restored without a restart.
    pub(crate) fn is_repairable(&self) -> bool {
        self.drifted.iter().any(|file| file.repairable)
    }

    /// Returns true if another program modified a file again within the hour after its repair.
    pub(crate) fn is_contested(&self) -> bool {
        self.is_repairable() && self.repaired_ago.is_some_and(|ago| ago < REPAIR_PAUSE_SECS)
    }

    /// Returns true if the plan would only restore drifted files.
    pub(crate) fn is_only_drift(&self) -> bool {
        let PlanOutcome::Planned(planned) = &self.plan else {
            return false;
        };
        let is_drifted = |path: &String| self.drifted.iter().any(|file| file.path == *path);
        !planned.restart && planned.files.iter().all(is_drifted)
    }
}

impl PlannedChange {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}
