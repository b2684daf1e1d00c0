//! The running containerd of a change, as the loop sees it and acts on it.

use crate::error::NodeError;
use crate::facts::baseline::Baseline;
use crate::journal::file::Change;
use mirrorshift_plan::change::{Guard, Health, Phase, Service, Trial};
use serde::{Deserialize, Serialize};

/// What the journal remembers of the containerd that a change is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRecord {
    /// Its unit, such as `containerd.service`.
    pub unit: String,
    /// The boot in which the change was armed, as the kernel names it.
    pub boot: String,
    /// Whether the change counts only after a restart.
    pub restart: bool,
    /// The invocation that ran when the change was armed.
    pub armed_with: String,
    /// The invocation that ran when the restart of this phase was announced; nothing when none ran.
    pub from: Option<String>,
    /// The invocation that served when the change was closed: it has read its files as the change left them, whatever their
    /// times and the clock say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_with: Option<String>,
    /// What it served when the change was armed.
    pub baseline: Baseline,
}

/// What runs at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeState {
    /// The unit's invocation, when it has one.
    pub invocation: Option<String>,
    /// How it serves, against what it did when the change was armed.
    pub health: Health,
    /// What is not as it was, each as a fragment for people. Empty when it serves and no trial failed.
    pub differences: Vec<String>,
    /// What came of the trial that was asked for.
    pub trial: Trial,
    /// What would undo the change without this run.
    pub guard: Guard,
}

/// The service manager and containerd of a node. The one trait of this crate: a test of files has neither.
pub trait Runtime: std::fmt::Debug {
    /// What the journal is to remember of the containerd that runs now. Called once, before anything is written.
    ///
    /// # Errors
    /// Whatever keeps it from being known; nothing was changed.
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError>;

    /// What runs now.
    ///
    /// # Errors
    /// Only when it cannot be known at all. A containerd that does not answer is [`Health::Absent`].
    fn observe(&mut self, change: &Change) -> Result<RuntimeState, NodeError>;

    /// Puts in place what undoes `change` when this run is gone, and sees it work.
    ///
    /// # Errors
    /// Whatever keeps it from working.
    fn guard(&mut self, change: &Change) -> Result<(), NodeError>;

    /// Takes away what [`Runtime::guard`] put in place, tried or not.
    ///
    /// # Errors
    /// What cannot be taken away.
    fn disarm(&mut self) -> Result<(), NodeError>;

    /// Has containerd restarted, or started. `again` forgets its failed starts first. Returns when the service manager is
    /// done with it, however that ended.
    ///
    /// # Errors
    /// The service manager could not be asked.
    fn restart(&mut self, again: bool) -> Result<(), NodeError>;

    /// Has containerd do once what was asked for as a trial. What comes of it, the next look says.
    fn pull_trial_image(&mut self);

    /// A phase, or a restart in it, begins: its time is measured from here.
    fn phase_started(&mut self, phase: Phase);

    /// Whether the time of what began last is up.
    fn expired(&self) -> bool;

    /// Lets a moment pass.
    fn wait(&mut self);

    /// Tells whoever is at the machine that a person is needed, in one line. Nothing depends on it, so nothing comes of a
    /// failure.
    fn alert(&mut self, line: &str);
}

/// The service of `change` as the next decision sees it, and all that was seen of it. `asked` is how often this run had it
/// restarted in this phase.
pub(crate) fn service(
    runtime: &mut dyn Runtime,
    change: &Change,
    asked: u32,
) -> Result<(Service, RuntimeState), NodeError> {
    let running = runtime.observe(change)?;
    let record = change.service.as_ref();
    let before = match change.phase {
        Phase::Restarting | Phase::Verifying | Phase::Restoring => record.and_then(|record| record.from.as_ref()),
        _ => record.map(|record| &record.armed_with),
    };
    let fresh = match &running.invocation {
        // Nobody can say which one runs. Once a restart was announced it may be one that has read the new files.
        None => change.phase == Phase::Undoing && record.is_some_and(|record| record.from.is_some()),
        now => record.is_some() && now.as_ref() != before,
    };
    let service = Service {
        guard: running.guard,
        restart: record.is_some_and(|record| record.restart),
        restarts_requested: asked,
        started_in_this_phase: fresh,
        health: running.health,
        trial: running.trial,
        expired: runtime.expired(),
    };
    Ok((service, running))
}
