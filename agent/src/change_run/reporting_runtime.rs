//! A runtime wrapper that reports each phase as progress and delegates everything else.

use crate::change_run::progress::Progress;
use mirrorshift_node::{Change, NodeError, Runtime, RuntimeState, ServiceRecord};
use mirrorshift_plan::change::Phase;

/// A runtime that reports each phase.
#[derive(Debug)]
pub(crate) struct ReportingRuntime<'p, R> {
    pub(crate) runtime: R,
    pub(crate) progress: &'p mut Progress,
    /// The restart may end containers, so the containers before and after it are not compared.
    pub(crate) containers_may_restart: bool,
}

impl<R: Runtime> Runtime for ReportingRuntime<'_, R> {
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError> {
        let mut record = self.runtime.capture_baseline()?;
        if self.containers_may_restart {
            record.baseline = record.baseline.after_reboot();
        }
        Ok(record)
    }

    fn observe(&mut self, change: &Change) -> Result<RuntimeState, NodeError> {
        self.runtime.observe(change)
    }

    fn guard(&mut self, change: &Change) -> Result<(), NodeError> {
        self.runtime.guard(change)
    }

    fn disarm(&mut self) -> Result<(), NodeError> {
        self.runtime.disarm()
    }

    fn restart(&mut self, again: bool) -> Result<(), NodeError> {
        if again {
            self.progress.report("restarting", "containerd is restarted once more");
        }
        self.runtime.restart(again)
    }

    fn pull_trial_image(&mut self) {
        self.progress.report("pulling", "the image to verify");
        self.runtime.pull_trial_image();
    }

    fn phase_started(&mut self, phase: Phase) {
        // A second restart begins the same phase again, which is not worth a line.
        let name = crate::wording::phase_name(phase);
        if self.progress.events().last().is_none_or(|event| event.step != name) {
            self.progress.report(name, phase.meaning());
        }
        self.runtime.phase_started(phase);
    }

    fn expired(&self) -> bool {
        self.runtime.expired()
    }

    fn wait(&mut self) {
        self.runtime.wait();
    }

    fn alert(&mut self, line: &str) {
        self.runtime.alert(line);
    }
}
