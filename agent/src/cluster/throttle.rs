//! The throttle of requests to an API server that fails, for all calls of this agent together.
//!
//! Five thousand agents that each repeat a rejected call three times make an overload worse. So a failure
//! delays all later requests, whichever call they belong to, and a success shortens the delay.

use crate::cluster::backoff::{Backoff, Jitter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep_until};

/// Delays between requests. There are none while the server answers. Each failure doubles the ceiling of the random
/// delay, and each answer divides it by four.
#[derive(Debug)]
pub(super) struct RequestThrottle {
    first: Duration,
    slowest: Duration,
    state: Mutex<ThrottleState>,
    reachable: Notify,
}

#[derive(Debug, Default)]
struct ThrottleState {
    /// None while the server answers.
    backoff: Option<Backoff>,
    /// The time of the next request.
    next: Option<Instant>,
}

impl RequestThrottle {
    /// A throttle whose first ceiling is `first`, and whose ceiling never exceeds `slowest`.
    pub(super) fn new(first: Duration, slowest: Duration) -> Self {
        Self {
            first,
            slowest,
            state: Mutex::default(),
            reachable: Notify::new(),
        }
    }

    /// Completes when the server, after a failure, has answered often enough that requests are not delayed any more. A
    /// notification between this call and the first poll is not missed.
    pub(super) fn reachable(&self) -> Notified<'_> {
        self.reachable.notified()
    }

    /// Waits until a request may be sent. Returns false at once if that is later than `deadline`. Cancel safe.
    pub(super) async fn wait_for_turn(&self, deadline: Option<Instant>, jitter: &Jitter) -> bool {
        loop {
            let next = {
                let mut state = self.state();
                match state.next.filter(|next| *next > Instant::now()) {
                    None => {
                        state.next = state.next_request(jitter);
                        return true;
                    }
                    Some(next) => next,
                }
            };
            if deadline.is_some_and(|deadline| next > deadline) {
                return false;
            }
            sleep_until(next).await;
        }
    }

    /// Records an answer of the server.
    pub(super) fn record_answer(&self) {
        let mut state = self.state();
        let is_over = state.backoff.as_mut().is_some_and(|backoff| !backoff.quarter());
        if is_over {
            *state = ThrottleState::default();
            self.reachable.notify_waiters();
        }
    }

    /// Records a failure, or an answer that asks to repeat the request after `retry_after`.
    pub(super) fn record_failure(&self, retry_after: Option<Duration>, jitter: &Jitter) {
        let mut state = self.state();
        match &mut state.backoff {
            Some(backoff) => backoff.double(),
            None => state.backoff = Some(Backoff::new(self.first, self.slowest)),
        }
        // A server that asks for a day must not stop the agent for a day.
        let retry_after = retry_after.unwrap_or_default().min(self.slowest);
        let next = state.next_request(jitter).map(|next| next + retry_after);
        state.next = state.next.max(next);
    }

    fn state(&self) -> MutexGuard<'_, ThrottleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ThrottleState {
    /// The time of the next request, if a request is sent now.
    fn next_request(&self, jitter: &Jitter) -> Option<Instant> {
        let backoff = self.backoff?;
        Some(Instant::now() + backoff.delay(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn throttle() -> (RequestThrottle, Jitter) {
        (RequestThrottle::new(2 * SECOND, 30 * SECOND), Jitter::seeded(1))
    }

    /// The time that `count` requests in a row wait.
    async fn wait_for_turns(count: usize, throttle: &RequestThrottle, jitter: &Jitter) -> Duration {
        let begun = Instant::now();
        for _ in 0..count {
            assert!(throttle.wait_for_turn(None, jitter).await);
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_not_delayed_while_the_server_answers() {
        let (throttle, jitter) = throttle();
        for _ in 0..100 {
            assert!(throttle.wait_for_turn(Some(Instant::now()), &jitter).await);
            throttle.record_answer();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_doubles_the_delay_up_to_the_maximum() {
        let (throttle, jitter) = throttle();
        let mut before = Duration::ZERO;
        for ceiling in [2, 4, 8, 16, 30, 30] {
            throttle.record_failure(None, &jitter);
            assert_eq!(throttle.state().backoff.unwrap().ceiling(), ceiling * SECOND);
            // Half the ceiling each, on average.
            let took = wait_for_turns(500, &throttle, &jitter).await;
            assert!(took > before * 9 / 10, "{took:?}");
            let each = took.as_secs_f64() / 500.0 / f64::from(ceiling);
            assert!((0.45..0.55).contains(&each), "{each}");
            before = took;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_shorten_the_delay_and_notify_once() {
        let (throttle, jitter) = throttle();
        for _ in 0..9 {
            throttle.record_failure(None, &jitter);
        }
        let mut reachable = std::pin::pin!(throttle.reachable());
        for ceiling in [Some(7500), None] {
            assert!(!reachable.as_mut().enable());
            throttle.record_answer();
            let backoff = throttle.state().backoff;
            assert_eq!(backoff.map(|backoff| backoff.ceiling().as_millis()), ceiling);
        }
        assert_eq!(wait_for_turns(100, &throttle, &jitter).await, Duration::ZERO);
        assert!(reachable.as_mut().enable());
        // Another answer without a failure notifies no waiter.
        let mut again = std::pin::pin!(throttle.reachable());
        throttle.record_answer();
        assert!(!again.as_mut().enable());
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_the_least_delay_and_is_bounded() {
        for (retry_after, least, most) in [(7, 7, 9), (86_400, 30, 32)] {
            let (throttle, jitter) = throttle();
            throttle.record_failure(Some(retry_after * SECOND), &jitter);
            let took = wait_for_turns(1, &throttle, &jitter).await;
            assert!((least * SECOND..most * SECOND).contains(&took), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn turn_after_the_deadline_is_refused_at_once() {
        let (throttle, jitter) = throttle();
        throttle.record_failure(Some(30 * SECOND), &jitter);
        let begun = Instant::now();
        assert!(!throttle.wait_for_turn(Some(begun + 8 * SECOND), &jitter).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    /// Each of several waiting calls gets a separate turn, and a dropped call takes none.
    #[tokio::test(start_paused = true)]
    async fn dropped_calls_take_no_turn() {
        let (throttle, jitter) = throttle();
        for _ in 0..9 {
            throttle.record_failure(None, &jitter);
        }
        for _ in 0..100 {
            let dropped = tokio::time::timeout(Duration::from_millis(1), throttle.wait_for_turn(None, &jitter)).await;
            assert!(dropped.is_err());
        }
        let begun = Instant::now();
        tokio::join!(
            throttle.wait_for_turn(None, &jitter),
            throttle.wait_for_turn(None, &jitter),
            throttle.wait_for_turn(None, &jitter)
        );
        let took = begun.elapsed();
        assert!((SECOND..180 * SECOND).contains(&took), "{took:?}");
        assert!(begun + took < throttle.state().next.unwrap());
    }

    /// Two thousand agents need six answers each from a server that gives a hundred per second and rejects the rest
    /// with 429.
    #[tokio::test(start_paused = true)]
    async fn thousands_of_agents_slow_down_to_the_capacity_of_the_server() {
        let begun = Instant::now();
        let requests = Mutex::new(vec![0_u32; 1000]);
        let agent = async |seed| {
            let (throttle, jitter) = (RequestThrottle::new(2 * SECOND, 30 * SECOND), Jitter::seeded(seed));
            let mut answers = 0;
            while answers < 6 {
                throttle.wait_for_turn(None, &jitter).await;
                let second = usize::try_from(begun.elapsed().as_secs()).unwrap();
                let mut requests = requests.lock().unwrap();
                requests[second] += 1;
                if requests[second] <= 100 {
                    answers += 1;
                    throttle.record_answer();
                } else {
                    throttle.record_failure(Some(SECOND), &jitter);
                }
            }
        };
        futures_util::future::join_all((0..2000).map(agent)).await;
        let requests = requests.into_inner().unwrap();
        // The server needs two minutes for this work, and half of all requests are rejected.
        assert!(begun.elapsed() < Duration::from_mins(4), "{:?}", begun.elapsed());
        assert!(requests.iter().sum::<u32>() < 36_000, "{requests:?}");
        assert!(requests[30..].iter().all(|count| *count < 350), "{requests:?}");
    }
}
