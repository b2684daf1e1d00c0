//! Random delays before something is repeated, so that thousands of agents that failed at once do not return at once.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A generator of random numbers for delays. The numbers are not suited for secrets.
#[derive(Debug)]
pub struct Jitter(AtomicU64);

impl Jitter {
    /// A generator whose numbers are always the same, for tests.
    pub fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A generator that the operating system seeds, as it does for hash maps.
    pub fn from_os() -> Self {
        Self::seeded(RandomState::new().hash_one(std::process::id()))
    }

    /// Returns a random duration from zero up to `max`.
    pub fn duration_up_to(&self, max: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(max.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns a random item, each with the same probability.
    pub fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(u64::try_from(items.len()).ok()?);
        items.get(usize::try_from(index).ok()?)
    }

    /// Returns a random number less than `end`, or 0.
    fn below(&self, end: u64) -> u64 {
        // The high word of the product is distributed as evenly as the number.
        let scaled = (u128::from(self.next()) * u128::from(end)) >> 64;
        u64::try_from(scaled).unwrap_or(end)
    }

    /// `SplitMix64`: one addition, and a mix that spreads each bit over all.
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A random delay below a ceiling that doubles with each failure in a row, up to a maximum.
///
/// The whole delay is random, not a part of it: after an outage, the first agents to return find a server that the
/// others have not reached yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// A backoff whose first delay is at most `first`, and no delay more than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            ceiling: first,
        }
    }

    /// Returns a delay below the current ceiling.
    pub fn delay(&self, jitter: &Jitter) -> Duration {
        jitter.duration_up_to(self.ceiling)
    }

    /// Doubles the ceiling, after another failure.
    pub fn double(&mut self) {
        self.ceiling = (self.ceiling * 2).min(self.longest);
    }

    /// Divides the ceiling by four, after a success. Returns false if it is then below the first one.
    pub fn quarter(&mut self) -> bool {
        self.ceiling /= 4;
        self.ceiling >= self.first
    }

    /// Returns the delay after another failure, and doubles the ceiling.
    pub fn next(&mut self, jitter: &Jitter) -> Duration {
        let delay = self.delay(jitter);
        self.double();
        delay
    }

    /// Starts again with the first ceiling, after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }

    #[cfg(test)]
    pub(super) fn ceiling(&self) -> Duration {
        self.ceiling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_grow_up_to_the_longest_and_start_again_after_a_reset() {
        let jitter = Jitter::seeded(7);
        let mut backoff = Backoff::new(SECOND, 60 * SECOND);
        let mut ceilings = Vec::new();
        for _ in 0..9 {
            ceilings.push(backoff.ceiling.as_secs());
            let ceiling = backoff.ceiling;
            assert!(backoff.next(&jitter) <= ceiling);
        }
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.reset();
        assert_eq!(backoff, Backoff::new(SECOND, 60 * SECOND));
    }

    #[test]
    fn durations_are_distributed_evenly() {
        let jitter = Jitter::seeded(3);
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let duration = jitter.duration_up_to(SECOND);
            assert!(duration < SECOND);
            tenths[usize::try_from(duration.as_millis() / 100).unwrap()] += 1;
        }
        for count in tenths {
            assert!((800..1200).contains(&count), "{tenths:?}");
        }
        assert_eq!(jitter.duration_up_to(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn generators_seeded_by_the_os_differ() {
        let (first, second) = (Jitter::from_os(), Jitter::from_os());
        assert_ne!(first.duration_up_to(SECOND), second.duration_up_to(SECOND));
    }
}
