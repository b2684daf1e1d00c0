//! Waits for finished jobs of a unit, so that a caller notices each start and stop.

use crate::systemd::bus::Bus;
use crate::systemd::error::BusError;
use crate::systemd::job::{parse_job_removed, subscribe};
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use zbus::MessageStream;

/// A stream of one unit's finished jobs, whichever program requested them. systemd's automatic restarts are included.
#[derive(Debug)]
pub struct UnitJobs {
    bus: Bus,
    unit: String,
    /// `None` only while the value is dropped.
    signals: Option<MessageStream>,
}

impl Bus {
    /// Subscribes to the finished jobs of a unit.
    ///
    /// # Errors
    /// A [`BusError`] if the subscription fails.
    pub fn finished_jobs(self, unit: &str) -> Result<UnitJobs, BusError> {
        let signals = self.wait(self.within, "Subscribe", subscribe(self.connection()?))?;
        Ok(UnitJobs {
            bus: self,
            unit: unit.to_owned(),
            signals: Some(signals),
        })
    }
}

impl UnitJobs {
    /// Waits for the next finished job. Returns false if none finished `within` that time.
    ///
    /// # Errors
    /// A [`BusError`] if the D-Bus connection is lost. The caller must connect again.
    pub fn next(&mut self, within: Duration) -> Result<bool, BusError> {
        let (Some(signals), unit) = (&mut self.signals, &self.unit) else {
            return Err(BusError::Unexpected("JobRemoved"));
        };
        let next_job = async {
            loop {
                let Some(signal) = poll_fn(|context| Pin::new(&mut *signals).poll_next(context)).await else {
                    return Err(BusError::Unexpected("JobRemoved"));
                };
                let signal = signal.map_err(|error| BusError::new("JobRemoved", error))?;
                if parse_job_removed(&signal).is_some_and(|job| job.unit == *unit) {
                    return Ok(());
                }
            }
        };
        match self.bus.runtime.wait(within, next_job) {
            Ok(result) => result.map(|()| true),
            Err(_late) => Ok(false),
        }
    }
}

impl Drop for UnitJobs {
    fn drop(&mut self) {
        let _entered = self.bus.runtime.enter();
        self.signals = None;
    }
}
