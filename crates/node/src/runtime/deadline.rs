//! Time limits of a phase, by the clock that counts since boot.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The time limit of a phase, or of a restart in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    began: Duration,
    limit: Duration,
}

impl Deadline {
    pub(crate) fn new(limit: Duration, began: Duration) -> Self {
        Self { began, limit }
    }

    /// Returns true if the limit has passed at `now`. While containerd is `recovering` (its plugins loaded, and it is
    /// still recovering sandboxes and containers) the limit is doubled, because that takes long on a node with many
    /// containers.
    pub(crate) fn is_over(self, now: Duration, recovering: bool) -> bool {
        let times = if recovering { 2 } else { 1 };
        now.saturating_sub(self.began) > self.limit.saturating_mul(times)
    }
}

/// Returns the time since boot, including the time in which the machine was suspended. No program can set this clock.
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
    fn is_over_doubles_the_limit_while_recovering() {
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
    fn now_does_not_go_back() {
        let before = now();
        assert!(now() >= before && before > Duration::ZERO);
    }
}
