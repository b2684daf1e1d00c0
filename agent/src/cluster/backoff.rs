//! How long to wait before something is tried again, so that many who failed at once do not come back at once.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Random numbers for waiting. Nothing secret may come from them.
#[derive(Debug)]
pub struct Jitter(AtomicU64);

impl Jitter {
    /// Always the same numbers, for tests.
    pub fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Other numbers in each process: seeded as hash maps are, by the system.
    pub fn from_os() -> Self {
        Self::seeded(RandomState::new().hash_one(std::process::id()))
    }

    /// Some time from zero up to `most`.
    pub fn duration_up_to(&self, most: Duration) -> Duration {
        Duration::from_nanos(self.up_to(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// One of them, each as likely as the others; none of none.
    pub fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        let place = self.up_to(u64::try_from(of.len()).ok()?);
        of.get(usize::try_from(place).ok()?)
    }

    /// Below `end`, or 0.
    fn up_to(&self, end: u64) -> u64 {
        // The high word of the product is spread as evenly as the number is.
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

/// Waits that grow with each failure in a row: any time up to a ceiling that doubles until `longest`.
///
/// The whole wait is random, not a part of it: after an outage the first to come back find a server that the others
/// have not reached yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// A first wait of up to `first`, and none of more than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            ceiling: first,
        }
    }

    /// The wait after one more failure.
    pub fn next(&mut self, jitter: &Jitter) -> Duration {
        let wait = jitter.duration_up_to(self.ceiling);
        self.ceiling = (self.ceiling * 2).min(self.longest);
        wait
    }

    /// It worked: the next failure is a first one.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_grow_up_to_the_longest_and_begin_again() {
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
    fn waits_are_spread() {
        let jitter = Jitter::seeded(3);
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let wait = jitter.duration_up_to(SECOND);
            assert!(wait < SECOND);
            tenths[usize::try_from(wait.as_millis() / 100).unwrap()] += 1;
        }
        for count in tenths {
            assert!((800..1200).contains(&count), "{tenths:?}");
        }
        assert_eq!(jitter.duration_up_to(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn two_processes_wait_differently() {
        let (one, other) = (Jitter::from_os(), Jitter::from_os());
        assert_ne!(one.duration_up_to(SECOND), other.duration_up_to(SECOND));
    }
}
