//! When the daemon was started, by two accounts: systemd noted the time of day then, and the kernel counts from boot. Their
//! difference is how far the clock was set since, without reading a clock.

use crate::facts::fact::Fact;
use crate::facts::process::Process;
use crate::systemd::unit::UnitTimestamps;
use rustix::param::clock_ticks_per_second;
use serde::Serialize;
use std::path::Path;
use std::{fs, io};

/// When a daemon was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Started {
    /// By today's clock: microseconds since 1970, exact to a second.
    pub at_us: i64,
    /// By the clock of then; `None` when systemd did not note it.
    pub noted_us: Option<i64>,
}

/// Boot's time of day is kept in whole seconds.
const EXACT_US: i64 = 2_000_000;

impl Started {
    /// How far the clock was set since, forward counted positive: seconds. `Some(0)` when it was not.
    pub fn clock_set_by_s(&self) -> Option<i64> {
        let difference = self.at_us - self.noted_us?;
        Some(if difference.abs() <= EXACT_US {
            0
        } else {
            difference / 1_000_000
        })
    }

    /// Whether something stamped `then_us` (microseconds since 1970) happened after the start.
    pub fn is_before(&self, then_us: i64) -> Fact<bool> {
        match (self.noted_us, self.clock_set_by_s()) {
            (Some(noted), Some(0)) => Fact::Value(then_us > noted),
            (_, Some(seconds)) => {
                Fact::unknown(format!("the clock was set by {seconds} s since containerd was started"))
            }
            // A second more or less may be either way.
            _ if (then_us - self.at_us).abs() <= EXACT_US => {
                Fact::unknown("it was written within two seconds of containerd's start")
            }
            _ => Fact::Value(then_us > self.at_us),
        }
    }
}

/// When process `pid` was started; `noted` is what systemd has.
pub(crate) fn of(proc: &Path, pid: u32, noted: Option<UnitTimestamps>) -> io::Result<Started> {
    let stat = Process::of(proc, pid).stat()?;
    let text = fs::read_to_string(proc.join("stat"))?;
    let boot = boot(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "`/proc/stat` has no `btime`"))?;
    let ticks = i64::try_from(stat.started).unwrap_or(i64::MAX);
    let per_second = i64::try_from(clock_ticks_per_second()).unwrap_or(100).max(1);
    Ok(Started {
        at_us: boot
            .saturating_mul(1_000_000)
            .saturating_add(ticks.saturating_mul(1_000_000) / per_second),
        noted_us: noted.and_then(|moment| i64::try_from(moment.wall_us).ok()),
    })
}

/// Boot's time of day by today's clock: seconds since 1970.
fn boot(text: &str) -> Option<i64> {
    text.lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn boot_is_in_the_kernels_statistics() {
        assert_eq!(boot("cpu 1 2\nbtime 1700000000\nprocesses 9\n"), Some(1_700_000_000));
        assert_eq!(boot("cpu 1 2\n"), None);
    }

    #[test]
    fn this_process_was_started_a_moment_ago() {
        let started = of(Path::new("/proc"), std::process::id(), None).unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let age = i64::try_from(now.as_micros()).unwrap() - started.at_us;
        assert!((-2 * SECOND..3600 * SECOND).contains(&age), "{age}");
    }

    #[test]
    fn a_file_is_newer_or_older_by_systemds_clock() {
        let started = Started {
            at_us: 100 * SECOND,
            noted_us: Some(101 * SECOND),
        };
        assert_eq!(started.clock_set_by_s(), Some(0));
        assert_eq!(started.is_before(101 * SECOND + 1), Fact::Value(true));
        assert_eq!(started.is_before(101 * SECOND), Fact::Value(false));
    }

    #[test]
    fn a_clock_that_was_set_leaves_the_order_unknown() {
        let year = 365 * 86_400;
        let back = Started {
            at_us: 0,
            noted_us: Some(year * SECOND),
        };
        assert_eq!(back.clock_set_by_s(), Some(-year));
        assert!(back.is_before(1).known().is_none());
    }

    #[test]
    fn without_systemd_close_calls_are_unknown() {
        let started = Started {
            at_us: 100 * SECOND,
            noted_us: None,
        };
        assert!(started.is_before(101 * SECOND).known().is_none());
        assert_eq!(started.is_before(103 * SECOND), Fact::Value(true));
        assert_eq!(started.is_before(97 * SECOND), Fact::Value(false));
    }
}
