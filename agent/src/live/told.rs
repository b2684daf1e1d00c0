//! Tells every phase that the loop enters, and hands all else to the runtime that it wraps.

use super::progress::Progress;
use mirrorshift_node::{Change, Running, Runtime, ServiceRecord, Trouble};
use mirrorshift_plan::change::Phase;

/// A runtime that tells.
#[derive(Debug)]
pub(super) struct Told<'t, R> {
    pub(super) runtime: R,
    pub(super) progress: &'t mut Progress,
    /// A restart may end containers, so that theirs are not compared.
    pub(super) containers_may_restart: bool,
}

impl<R: Runtime> Runtime for Told<'_, R> {
    fn record(&mut self) -> Result<ServiceRecord, Trouble> {
        let mut record = self.runtime.record()?;
        if self.containers_may_restart {
            record.baseline = record.baseline.after_reboot();
        }
        Ok(record)
    }

    fn look(&mut self, change: &Change) -> Result<Running, Trouble> {
        self.runtime.look(change)
    }

    fn guard(&mut self, change: &Change) -> Result<(), Trouble> {
        self.runtime.guard(change)
    }

    fn disarm(&mut self) -> Result<(), Trouble> {
        self.runtime.disarm()
    }

    fn restart(&mut self, again: bool) -> Result<(), Trouble> {
        if again {
            self.progress.tell("restarting", "containerd is restarted once more");
        }
        self.runtime.restart(again)
    }

    fn attempt(&mut self) {
        self.progress.tell("pulling", "the image that was asked for");
        self.runtime.attempt();
    }

    fn begin(&mut self, phase: Phase) {
        // A restart in a phase begins it again, and is not news.
        let name = crate::render::status::name(phase);
        if self.progress.told().last().is_none_or(|event| event.step != name) {
            self.progress.tell(name, phase.meaning());
        }
        self.runtime.begin(phase);
    }

    fn expired(&self) -> bool {
        self.runtime.expired()
    }

    fn wait(&mut self) {
        self.runtime.wait();
    }

    fn alarm(&mut self, line: &str) {
        self.runtime.alarm(line);
    }
}
