//! The input of `decide`: the goal of a run, and the facts that were observed.

use crate::change::phase::Phase;
use crate::change::step::StepFacts;
use serde::{Deserialize, Serialize};

/// The facts that [`decide`](crate::change::decide) needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeFacts {
    /// The phase in the journal.
    pub phase: Phase,
    /// The steps in their order.
    pub steps: Vec<StepFacts>,
    /// True while the journal names folders that the change created and that an undo has not yet handled.
    pub has_created_folders: bool,
    /// True while the journal names folders that the change leaves empty. They are removed after it has settled.
    pub has_folders_to_remove: bool,
    /// The number of moves that have failed since the phase was last written.
    pub failed_moves: u32,
    /// The containerd that the change is for, when it runs.
    pub service: Option<Service>,
}

impl ChangeFacts {
    /// Returns the index of the first step that passes `test`.
    pub(super) fn first_step(&self, test: impl Fn(StepFacts) -> bool) -> Option<usize> {
        self.steps.iter().position(|step| test(*step))
    }
}

/// The result that a run is to bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// The new files, staged from contents that the caller has.
    Apply,
    /// The end of an interrupted change, without the contents: forward once everything is staged, otherwise back.
    Recover,
    /// The original files, and a containerd that serves with them.
    Rollback,
    /// The original files, restored during boot, before containerd starts. A second unit that runs after containerd
    /// continues from there.
    Guard,
}

impl Goal {
    /// Returns the goal for an unfinished change when a plan is to be applied.
    ///
    /// The same plan is continued, because its contents are available. Any other plan was made for the files before or
    /// after the unfinished change, not between, so that change is undone first; the expectations of the new plan are
    /// then checked as always. A stuck change waits for an operator.
    pub fn for_unfinished(phase: Phase, same_plan: bool) -> Self {
        match phase {
            Phase::Stuck => Self::Recover,
            _ if same_plan => Self::Apply,
            _ => Self::Rollback,
        }
    }
}

/// The running containerd that a change is for, and the guard that undoes the change when this run ends. A change of
/// files that no running containerd reads has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// The boot guard, which undoes the change without this run.
    pub guard: Guard,
    /// True when the change takes effect only after a restart, because a configuration file is part of it.
    pub restart: bool,
    /// The number of restarts that this run has requested in this phase. Requests of an earlier run are not included,
    /// because that run may have ended before the call.
    pub restarts_requested: u32,
    /// True when the running containerd started after this phase's restart was requested. In a phase before such a
    /// restart: when another program started it after the change was armed.
    pub started_in_this_phase: bool,
    /// The health of containerd.
    pub health: Health,
    /// The result of the test that the operator requested.
    pub trial: Trial,
    /// True when the time of this phase is up. Each restart in the phase starts its time again.
    pub expired: bool,
}

/// The state of the boot guard, which undoes an unsettled change after its process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// No guard is in place.
    Nothing,
    /// The guard is in place, but has not been tested.
    Placed,
    /// The guard was started with the properties of a real undo, and left its proof.
    Tried,
}

/// The health of containerd, compared with its health when the change was armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Every plugin, CRI, every sandbox and every container that was there is there.
    Serves,
    /// containerd runs, and its CRI is still recovering.
    Recovering,
    /// Something that was there is missing, and waiting will not restore it.
    Fails,
    /// No containerd runs or answers.
    Absent,
}

/// A test that a serving containerd must pass once before the change settles, such as the pull of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trial {
    /// No test was requested.
    Nothing,
    /// The test has still to run.
    Due,
    /// The test passed.
    Passed,
    /// The test failed.
    Failed,
}
