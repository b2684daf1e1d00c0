//! How long containerd is waited for.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The time of a phase, or of a restart in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    began: Duration,
    limit: Duration,
}

impl Deadline {
    pub(crate) fn new(limit: Duration, began: Duration) -> Self {
        Self { began, limit }
    }

    /// Whether it is over at `now`. A containerd whose plugins loaded, and that is still `recovering` what ran, is given the
    /// same time once more: it is on its way, with a node full of containers.
    pub(crate) fn is_over(self, now: Duration, recovering: bool) -> bool {
        let times = if recovering { 2 } else { 1 };
        now.saturating_sub(self.began) > self.limit.saturating_mul(times)
    }
}

/// Since boot, sleep included: no clock that anybody can set.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_recovering_has_the_time_twice_and_no_more() {
        let seconds = Duration::from_secs;
        let deadline = Deadline::new(seconds(20), seconds(1000));
        for (now, absent, recovering) in [
            (999, false, false),
            (1020, false, false),
            (1021, true, false),
            (1040, true, false),
            (1041, true, true),
            (9999, true, true),
        ] {
            let over = |is| deadline.is_over(seconds(now), is);
            assert_eq!((over(false), over(true)), (absent, recovering), "{now}");
        }
    }

    #[test]
    fn the_clock_goes_on() {
        let before = now();
        assert!(now() >= before && before > Duration::ZERO);
    }
}
