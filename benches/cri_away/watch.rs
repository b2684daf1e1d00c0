//! Calls CRI continuously to find out whether it is ready, as the kubelet does every few seconds.

use mirrorshift_tests::lab::Node;
use mirrorshift_tests::lab::node::NodeCri;
use mirrorshift_tests::node_tests::CRI;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// The pause between an answer and the next call.
const PAUSE: Duration = Duration::from_millis(2);
/// The time in which CRI is called before and after the action, so that the first and the last answer are from an idle node.
const AROUND: Duration = Duration::from_millis(50);

/// The time of an answer, and whether it reported CRI as ready.
type Answer = (Instant, bool);

/// Runs `act`, and returns its result and the time during which CRI was not available. It is an error if CRI was
/// always available, or does not become available again.
pub(super) fn away_during<T>(node: &Node, act: impl FnOnce() -> io::Result<T>) -> io::Result<(T, Duration)> {
    let over = AtomicBool::new(false);
    let (done, answers) = scope(|scope| {
        let asking = scope.spawn(|| ask(node, &over));
        sleep(AROUND);
        let done = act().and_then(|done| node.wait_cri(CRI).map(|_| done));
        sleep(AROUND);
        over.store(true, Ordering::Relaxed);
        (done, asking.join())
    });
    let answers = answers.map_err(|_| io::Error::other("the thread that calls CRI has ended"))?;
    let away = away(&answers).ok_or_else(|| io::Error::other("CRI was always or never available"));
    Ok((done?, away?))
}

fn ask(node: &Node, over: &AtomicBool) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut open: Option<NodeCri> = None;
    while !over.load(Ordering::Relaxed) {
        let answer = match open.take() {
            Some(cri) => Ok(cri),
            None => node.cri(),
        }
        .and_then(|mut cri| cri.status().map(|status| (cri, status.runtime)));
        let ready = matches!(answer, Ok((_, true)));
        answers.push((Instant::now(), ready));
        open = answer.ok().map(|(cri, _)| cri);
        sleep(PAUSE);
    }
    answers
}

/// Returns the sum of the gaps, each from the last ready answer to the next one; `None` without a complete gap.
fn away(answers: &[Answer]) -> Option<Duration> {
    let (mut ready_at, mut gone, mut sum) = (None, false, None);
    for &(at, ready) in answers {
        if !ready {
            gone = true;
            continue;
        }
        if let (Some(before), true) = (ready_at, gone) {
            sum = Some(sum.unwrap_or(Duration::ZERO) + at.duration_since(before));
        }
        (ready_at, gone) = (Some(at), false);
    }
    sum.filter(|_| !gone)
}
