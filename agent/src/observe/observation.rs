//! What a look at the node found, as the document that goes from the node to the daemon. Holds no secret.

use crate::exit::Exit;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::Phase;
use serde::{Deserialize, Serialize};

/// The node at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeObservation {
    /// The version of containerd that is installed, as the plan is made for it.
    pub(crate) containerd: Option<String>,
    /// The unit that runs containerd.
    pub(crate) unit: Option<String>,
    /// The run of containerd's unit: another one after each start.
    pub(crate) invocation: Option<String>,
    /// CRI says that it can make sandboxes.
    pub(crate) serves: bool,
    /// Where containerd has its mirrors from; nothing when its configuration cannot be read.
    pub(crate) mirrors: Option<MirrorSource>,
    /// A change or an undo of one is under way just now.
    pub(crate) under_way: bool,
    /// The change that is not over, by its identifier.
    pub(crate) unfinished: Option<ChangeSummary>,
    /// The change whose bytes are in force.
    pub(crate) in_force: Option<ChangeSummary>,
    /// The change that was over last.
    pub(crate) last: Option<ChangeSummary>,
    /// Files that the tool wrote and that hold something else now.
    pub(crate) drifted: Vec<Drifted>,
    /// How long ago such files were put back last, in seconds by the node's clock.
    pub(crate) mended_ago: Option<u64>,
    /// What is to be done, or why it cannot be.
    pub(crate) answer: PlanOutcome,
    /// What containerd refuses, ignores or will drop, worst first.
    pub(crate) findings: Vec<ReportedFinding>,
}

/// Where containerd has its mirrors from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MirrorSource {
    /// `registry.mirrors`.
    Legacy,
    /// hosts.toml files below `config_path`.
    ConfigPath,
    /// Both are set, and CRI is dead of it.
    Both,
    /// Nowhere.
    None,
}

/// A file that does not hold what the tool wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drifted {
    /// The file.
    pub(crate) path: String,
    /// Whose it is now and when it was written last, in seconds since 1970; nothing when it is gone.
    pub(crate) now: Option<(u32, i64)>,
    /// It can be put back without a restart.
    pub(crate) mendable: bool,
}

/// A change, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeSummary {
    /// Its identifier.
    pub(crate) id: String,
    /// How far it came.
    pub(crate) phase: Phase,
    /// When it was closed, in seconds since 1970 by the node's clock.
    pub(crate) ended: Option<u64>,
    /// Why it was undone or is stuck.
    pub(crate) note: Option<String>,
}

/// What is to be done, or why it cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PlanOutcome {
    /// This; nothing when it names no file.
    Planned(Planned),
    /// It cannot be done, and nothing was touched.
    Refused(Refused),
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    /// Names the plan; nothing when there is nothing to do.
    pub(crate) digest: Option<Digest>,
    /// Whether containerd has to be restarted.
    pub(crate) restart: bool,
    /// The files that change.
    pub(crate) files: Vec<String>,
    /// Who is asked for each registry, before and after.
    pub(crate) routes: Vec<RouteDifference>,
    /// Why this very plan was undone before on this containerd.
    pub(crate) undone_before: Option<String>,
    /// What the node is busy with: a change would wait for it.
    pub(crate) busy: Option<String>,
    /// What a rehearsal came to, where one was asked for: it agrees.
    pub(crate) rehearsed: Option<String>,
}

/// Who is asked for one registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RouteDifference {
    /// The registry; nothing for every one that nobody names.
    pub(crate) registry: Option<String>,
    /// URLs in their order, now.
    pub(crate) before: Vec<String>,
    /// After the plan.
    pub(crate) after: Vec<String>,
    /// Whether a registry could tell the two apart, be it by something that the URLs do not show.
    pub(crate) differs: bool,
}

/// Why nothing can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// How a command would have ended.
    pub(crate) exit: Exit,
    /// A stable name.
    pub(crate) reason: String,
    /// A sentence, with file and line where they are known.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportedFinding {
    /// A stable name.
    pub(crate) id: String,
    /// How bad it is.
    pub(crate) severity: String,
    /// What, where, and what to do.
    pub(crate) message: String,
}

/// Who fights over a file is let win for this long.
const TRUCE: u64 = 3600;

impl NodeObservation {
    /// A node that serves, where nothing was ever changed, and of which nothing else is known: one that is made up.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn serving(answer: PlanOutcome) -> Self {
        Self {
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
            mended_ago: None,
            answer,
            findings: Vec::new(),
        }
    }

    /// Whether something can be put back.
    pub(crate) fn is_mendable(&self) -> bool {
        self.drifted.iter().any(|drifted| drifted.mendable)
    }

    /// Whether somebody writes again what was put back within the hour.
    pub(crate) fn is_fought_over(&self) -> bool {
        self.is_mendable() && self.mended_ago.is_some_and(|ago| ago < TRUCE)
    }

    /// Whether a plan would write nothing but what somebody else has written.
    pub(crate) fn is_only_drift(&self) -> bool {
        let PlanOutcome::Planned(planned) = &self.answer else {
            return false;
        };
        let drifted = |file: &String| self.drifted.iter().any(|drifted| drifted.path == *file);
        !planned.restart && planned.files.iter().all(drifted)
    }
}

impl Planned {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}
