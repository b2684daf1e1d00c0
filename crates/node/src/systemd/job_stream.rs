//! Tells when somebody has started or stopped a unit.

use crate::systemd::bus::Bus;
use crate::systemd::error::BusError;
use crate::systemd::job::{removed, subscribe};
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use zbus::MessageStream;

/// The ends of one unit's jobs from now on, whoever asked for them: systemd's own restarts are among them.
#[derive(Debug)]
pub struct UnitJobs {
    bus: Bus,
    unit: String,
    /// Taken by `drop` alone.
    signals: Option<MessageStream>,
}

impl Bus {
    /// Listens for the ends of a unit's jobs.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn ends(self, unit: &str) -> Result<UnitJobs, BusError> {
        let signals = self.wait(self.within, "Subscribe", subscribe(self.connection()?))?;
        Ok(UnitJobs {
            bus: self,
            unit: unit.to_owned(),
            signals: Some(signals),
        })
    }
}

impl UnitJobs {
    /// Waits for the next one; false when there is none `within`.
    ///
    /// # Errors
    /// [`BusError`] when the bus is gone: another connection is needed.
    pub fn next(&mut self, within: Duration) -> Result<bool, BusError> {
        let (Some(signals), unit) = (&mut self.signals, &self.unit) else {
            return Err(BusError::Unexpected("JobRemoved"));
        };
        let ended = async {
            loop {
                let Some(signal) = poll_fn(|context| Pin::new(&mut *signals).poll_next(context)).await else {
                    return Err(BusError::Unexpected("JobRemoved"));
                };
                let signal = signal.map_err(|error| BusError::of("JobRemoved", error))?;
                if removed(&signal).is_some_and(|job| job.unit == *unit) {
                    return Ok(());
                }
            }
        };
        match self.bus.patience.wait(within, ended) {
            Ok(ended) => ended.map(|()| true),
            Err(_late) => Ok(false),
        }
    }
}

impl Drop for UnitJobs {
    fn drop(&mut self) {
        let _entered = self.bus.patience.enter();
        self.signals = None;
    }
}
