//! Tells every phase that the loop enters, and hands all else to the runtime that it wraps.

use crate::change_run::progress::Progress;
use mirrorshift_node::{Change, NodeError, Runtime, RuntimeState, ServiceRecord};
use mirrorshift_plan::change::Phase;

/// A runtime that tells.
#[derive(Debug)]
pub(crate) struct ReportingRuntime<'t, R> {
    pub(crate) runtime: R,
    pub(crate) progress: &'t mut Progress,
    /// A restart may end containers, so that theirs are not compared.
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
            self.progress.tell("restarting", "containerd is restarted once more");
        }
        self.runtime.restart(again)
    }

    fn pull_trial_image(&mut self) {
        self.progress.tell("pulling", "the image that was asked for");
        self.runtime.pull_trial_image();
    }

    fn phase_started(&mut self, phase: Phase) {
        // A restart in a phase begins it again, and is not news.
        let name = crate::wording::phase_name(phase);
        if self.progress.told().last().is_none_or(|event| event.step != name) {
            self.progress.tell(name, phase.meaning());
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
