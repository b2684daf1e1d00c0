//! How often an API server that fails is asked: by all calls of this agent together.
//!
//! Five thousand agents that a server puts off and that each try three times make it worse. So whatever fails slows down everything
//! that comes after it, whoever calls, and what succeeds lets it go faster again.

use crate::cluster::backoff::Jitter;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep_until};

/// No pace at all while the server answers. From its first failure on requests are as far apart as some time below a ceiling that
/// doubles with each failure and is a quarter with each answer.
#[derive(Debug)]
pub(super) struct RequestThrottle {
    first: Duration,
    slowest: Duration,
    now: Mutex<Now>,
    back: Notify,
}

#[derive(Debug, Default)]
struct Now {
    /// Zero while the server answers.
    ceiling: Duration,
    /// The next request may be made then.
    next: Option<Instant>,
}

impl RequestThrottle {
    /// The first failure spreads requests over `first`, no number of them over more than `slowest`.
    pub(super) fn new(first: Duration, slowest: Duration) -> Self {
        Self {
            first,
            slowest,
            now: Mutex::default(),
            back: Notify::new(),
        }
    }

    /// Ends when the server, having failed, has answered so often that there is no pace any more. From now on: what comes before it is
    /// first waited for is not missed.
    pub(super) fn back(&self) -> Notified<'_> {
        self.back.notified()
    }

    /// Waits until a request may be made, unless that is later than `until`: then says no, and at once. May be dropped: nobody waits
    /// longer for it.
    pub(super) async fn turn(&self, until: Option<Instant>, jitter: &Jitter) -> bool {
        loop {
            let next = {
                let mut now = self.now();
                match now.next.filter(|next| *next > Instant::now()) {
                    None => {
                        now.next = now.after(jitter);
                        return true;
                    }
                    Some(next) => next,
                }
            };
            if until.is_some_and(|until| next > until) {
                return false;
            }
            sleep_until(next).await;
        }
    }

    /// The server answered.
    pub(super) fn answered(&self) {
        let mut now = self.now();
        let failed = !now.ceiling.is_zero();
        now.ceiling /= 4;
        if now.ceiling < self.first {
            *now = Now::default();
            if failed {
                self.back.notify_waiters();
            }
        }
    }

    /// It failed, or was away, or put the request off until `asked`.
    pub(super) fn failed(&self, asked: Option<Duration>, jitter: &Jitter) {
        let mut now = self.now();
        now.ceiling = (now.ceiling * 2).clamp(self.first, self.slowest);
        // A server that asks for a day is not believed.
        let asked = asked.unwrap_or_default().min(self.slowest);
        now.next = now.next.max(now.after(jitter).map(|next| next + asked));
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    /// When a request may be made after one that is made now.
    ///
    /// The whole wait is random, not a part of it: after an outage the first to come back find a server that the others have not
    /// reached yet.
    fn after(&self, jitter: &Jitter) -> Option<Instant> {
        (!self.ceiling.is_zero()).then(|| Instant::now() + jitter.duration_up_to(self.ceiling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> (RequestThrottle, Jitter) {
        (RequestThrottle::new(2 * SECOND, 30 * SECOND), Jitter::seeded(1))
    }

    /// How long `count` requests take that wait for their turn.
    async fn take(count: usize, pace: &RequestThrottle, jitter: &Jitter) -> Duration {
        let begun = Instant::now();
        for _ in 0..count {
            assert!(pace.turn(None, jitter).await);
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_is_asked_at_once() {
        let (pace, jitter) = pace();
        for _ in 0..100 {
            assert!(pace.turn(Some(Instant::now()), &jitter).await);
            pace.answered();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_fails_slows_down_the_rest() {
        let (pace, jitter) = pace();
        let mut before = Duration::ZERO;
        for ceiling in [2, 4, 8, 16, 30, 30] {
            pace.failed(None, &jitter);
            assert_eq!(pace.now().ceiling, ceiling * SECOND);
            // Half the ceiling each, on average.
            let took = take(500, &pace, &jitter).await;
            assert!(took > before * 9 / 10, "{took:?}");
            let each = took.as_secs_f64() / 500.0 / f64::from(ceiling);
            assert!((0.45..0.55).contains(&each), "{each}");
            before = took;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_lets_it_go_faster_again() {
        let (pace, jitter) = pace();
        for _ in 0..9 {
            pace.failed(None, &jitter);
        }
        let mut back = std::pin::pin!(pace.back());
        for ceiling in [7500, 0] {
            assert!(!back.as_mut().enable());
            pace.answered();
            assert_eq!(pace.now().ceiling.as_millis(), ceiling);
        }
        assert_eq!(take(100, &pace, &jitter).await, Duration::ZERO);
        assert!(back.as_mut().enable());
        // Once for each time that it had failed.
        let mut again = std::pin::pin!(pace.back());
        pace.answered();
        assert!(!again.as_mut().enable());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_asks_for_is_the_least() {
        for (asked, least, most) in [(7, 7, 9), (86_400, 30, 32)] {
            let (pace, jitter) = pace();
            pace.failed(Some(asked * SECOND), &jitter);
            let took = take(1, &pace, &jitter).await;
            assert!((least * SECOND..most * SECOND).contains(&took), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_wait_is_told_at_once() {
        let (pace, jitter) = pace();
        pace.failed(Some(30 * SECOND), &jitter);
        let begun = Instant::now();
        assert!(!pace.turn(Some(begun + 8 * SECOND), &jitter).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    /// Of several who wait at one time each has a turn of its own, and who no longer waits takes nobody's.
    #[tokio::test(start_paused = true)]
    async fn turns_are_taken_when_they_come() {
        let (pace, jitter) = pace();
        for _ in 0..9 {
            pace.failed(None, &jitter);
        }
        for _ in 0..100 {
            let dropped = tokio::time::timeout(Duration::from_millis(1), pace.turn(None, &jitter)).await;
            assert!(dropped.is_err());
        }
        let begun = Instant::now();
        tokio::join!(
            pace.turn(None, &jitter),
            pace.turn(None, &jitter),
            pace.turn(None, &jitter)
        );
        let took = begun.elapsed();
        assert!((SECOND..180 * SECOND).contains(&took), "{took:?}");
        assert!(begun + took < pace.now().next.unwrap());
    }

    /// Two thousand agents want six answers each of a server that gives a hundred a second and puts off the rest.
    #[tokio::test(start_paused = true)]
    async fn thousands_at_once_come_down_to_what_the_server_takes() {
        let begun = Instant::now();
        let asked = Mutex::new(vec![0_u32; 1000]);
        let agent = async |seed| {
            let (pace, jitter) = (RequestThrottle::new(2 * SECOND, 30 * SECOND), Jitter::seeded(seed));
            let mut answers = 0;
            while answers < 6 {
                pace.turn(None, &jitter).await;
                let second = usize::try_from(begun.elapsed().as_secs()).unwrap();
                let mut asked = asked.lock().unwrap();
                asked[second] += 1;
                if asked[second] <= 100 {
                    answers += 1;
                    pace.answered();
                } else {
                    pace.failed(Some(SECOND), &jitter);
                }
            }
        };
        futures_util::future::join_all((0..2000).map(agent)).await;
        let asked = asked.into_inner().unwrap();
        // Two minutes of work for the server, done in less than three; half of all is put off.
        assert!(begun.elapsed() < Duration::from_mins(4), "{:?}", begun.elapsed());
        assert!(asked.iter().sum::<u32>() < 36_000, "{asked:?}");
        assert!(asked[30..].iter().all(|asked| *asked < 350), "{asked:?}");
    }
}
