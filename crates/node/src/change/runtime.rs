//! The interface between the loop of a change and the running containerd.

use crate::error::NodeError;
use crate::journal::record::{Change, ServiceRecord};
use mirrorshift_plan::change::{Guard, Health, Phase, Service, Trial};

/// The state of the running containerd at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeState {
    /// The invocation of the unit, if it runs.
    pub invocation: Option<String>,
    /// The health of containerd, compared with the moment when the change was armed.
    pub health: Health,
    /// The differences, each as a fragment of a sentence. Empty if containerd serves as before and no test pull failed.
    pub differences: Vec<String>,
    /// The result of the requested test pull.
    pub trial: Trial,
    /// The state of the guard that undoes the change if this process ends.
    pub guard: Guard,
}

/// The service manager and containerd of a node. It is the only trait of this crate, because a test of files has neither.
pub trait Runtime: std::fmt::Debug {
    /// Returns the record of the running containerd for the journal. Called once, before anything is written.
    ///
    /// # Errors
    /// A required fact cannot be observed. Nothing was changed.
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError>;

    /// Observes containerd.
    ///
    /// # Errors
    /// Its state is unknown. A containerd that does not answer is not an error but [`Health::Absent`].
    fn observe(&mut self, change: &Change) -> Result<RuntimeState, NodeError>;

    /// Installs the guard that undoes `change` if this process ends, and tests it.
    ///
    /// # Errors
    /// The guard cannot be installed, or does not work.
    fn guard(&mut self, change: &Change) -> Result<(), NodeError>;

    /// Removes the guard that [`Runtime::guard`] installed, whether it was tested or not.
    ///
    /// # Errors
    /// A part of the guard cannot be removed.
    fn disarm(&mut self) -> Result<(), NodeError>;

    /// Restarts containerd, or starts it. With `again` the unit's failed starts are reset first. Returns when the service manager has
    /// finished the job, whatever its result is.
    ///
    /// # Errors
    /// The service manager could not be called.
    fn restart(&mut self, again: bool) -> Result<(), NodeError>;

    /// Makes containerd pull the test image once. The next observation has the result.
    fn pull_trial_image(&mut self);

    /// Notes that a phase, or a restart in it, has begun. Its deadline is measured from here.
    fn phase_started(&mut self, phase: Phase);

    /// Returns true if the deadline of the phase has passed.
    fn expired(&self) -> bool;

    /// Waits for one polling interval.
    fn wait(&mut self);

    /// Alerts an operator at the machine's console with one line. A failure is ignored, because nothing depends on the alert.
    fn alert(&mut self, line: &str);
}

/// Observes the service of `change` for the next decision. `restarts_requested` is the number of restarts that this run requested in
/// this phase.
pub(crate) fn service(
    runtime: &mut dyn Runtime,
    change: &Change,
    restarts_requested: u32,
) -> Result<(Service, RuntimeState), NodeError> {
    let running = runtime.observe(change)?;
    let record = change.service.as_ref();
    let before = match change.phase {
        Phase::Restarting | Phase::Verifying | Phase::Restoring => record.and_then(|record| record.from.as_ref()),
        _ => record.map(|record| &record.armed_with),
    };
    let started_in_this_phase = match &running.invocation {
        // The invocation is unknown. After the announcement of a restart it may already have read the new files.
        None => change.phase == Phase::Undoing && record.is_some_and(|record| record.from.is_some()),
        now => record.is_some() && now.as_ref() != before,
    };
    let service = Service {
        guard: running.guard,
        restart: record.is_some_and(|record| record.restart),
        restarts_requested,
        started_in_this_phase,
        health: running.health,
        trial: running.trial,
        expired: runtime.expired(),
    };
    Ok((service, running))
}
