//! The start time of a daemon, from two sources: systemd recorded the time of day at the start, and the kernel records
//! the ticks since boot. Their difference is the amount by which the clock was set since.

use crate::facts::fact::Fact;
use crate::facts::process::Process;
use crate::systemd::unit::UnitTimestamps;
use rustix::param::clock_ticks_per_second;
use serde::Serialize;
use std::path::Path;
use std::{fs, io};

/// The start time of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Started {
    /// The start time by today's clock: microseconds since 1970, exact to a second.
    pub at_us: i64,
    /// The start time by the clock at that time; `None` if systemd did not record it.
    pub noted_us: Option<i64>,
}

/// The tolerance of a comparison. The kernel keeps the time of day of the boot in whole seconds.
const EXACT_US: i64 = 2_000_000;

impl Started {
    /// Returns the seconds by which the clock was set since the start, positive if it was set forward; 0 if it was not
    /// set.
    pub fn clock_set_by_s(&self) -> Option<i64> {
        let difference = self.at_us - self.noted_us?;
        Some(if difference.abs() <= EXACT_US {
            0
        } else {
            difference / 1_000_000
        })
    }

    /// Returns true if an event at `then_us` (microseconds since 1970) happened after the start.
    pub fn is_before(&self, then_us: i64) -> Fact<bool> {
        match (self.noted_us, self.clock_set_by_s()) {
            (Some(noted), Some(0)) => Fact::Value(then_us > noted),
            (_, Some(seconds)) => {
                Fact::unavailable(format!("the clock was set by {seconds} s since containerd was started"))
            }
            // Within the tolerance, the order is unknown.
            _ if (then_us - self.at_us).abs() <= EXACT_US => {
                Fact::unavailable("it was written within two seconds of containerd's start")
            }
            _ => Fact::Value(then_us > self.at_us),
        }
    }
}

/// Reads the start time of a process. `recorded` is the time that systemd recorded.
pub(crate) fn start_time(proc: &Path, pid: u32, recorded: Option<UnitTimestamps>) -> io::Result<Started> {
    let stat = Process::new(proc, pid).stat()?;
    let text = fs::read_to_string(proc.join("stat"))?;
    let boot =
        boot_time(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "`/proc/stat` has no `btime`"))?;
    let ticks = i64::try_from(stat.started).unwrap_or(i64::MAX);
    let per_second = i64::try_from(clock_ticks_per_second()).unwrap_or(100).max(1);
    Ok(Started {
        at_us: boot
            .saturating_mul(1_000_000)
            .saturating_add(ticks.saturating_mul(1_000_000) / per_second),
        noted_us: recorded.and_then(|time| i64::try_from(time.wall_us).ok()),
    })
}

/// Returns the time of day of the boot by today's clock: seconds since 1970.
fn boot_time(text: &str) -> Option<i64> {
    text.lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn boot_time_is_read_from_the_statistics() {
        assert_eq!(
            boot_time("cpu 1 2\nbtime 1700000000\nprocesses 9\n"),
            Some(1_700_000_000)
        );
        assert_eq!(boot_time("cpu 1 2\n"), None);
    }

    #[test]
    fn start_time_of_this_process_is_recent() {
        let started = start_time(Path::new("/proc"), std::process::id(), None).unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let age = i64::try_from(now.as_micros()).unwrap() - started.at_us;
        assert!((-2 * SECOND..3600 * SECOND).contains(&age), "{age}");
    }

    #[test]
    fn is_before_compares_by_systemds_clock() {
        let started = Started {
            at_us: 100 * SECOND,
            noted_us: Some(101 * SECOND),
        };
        assert_eq!(started.clock_set_by_s(), Some(0));
        assert_eq!(started.is_before(101 * SECOND + 1), Fact::Value(true));
        assert_eq!(started.is_before(101 * SECOND), Fact::Value(false));
    }

    #[test]
    fn is_before_is_unavailable_after_the_clock_was_set() {
        let year = 365 * 86_400;
        let back = Started {
            at_us: 0,
            noted_us: Some(year * SECOND),
        };
        assert_eq!(back.clock_set_by_s(), Some(-year));
        assert!(back.is_before(1).value().is_none());
    }

    #[test]
    fn is_before_without_systemd_is_unavailable_within_the_tolerance() {
        let started = Started {
            at_us: 100 * SECOND,
            noted_us: None,
        };
        assert!(started.is_before(101 * SECOND).value().is_none());
        assert_eq!(started.is_before(103 * SECOND), Fact::Value(true));
        assert_eq!(started.is_before(97 * SECOND), Fact::Value(false));
    }
}
