//! Waits for a containerd that systemd has just started, before all of it is looked at.

use crate::containerd::socket::{CallError, Socket};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two questions.
const GLANCE: Duration = Duration::from_millis(5);

/// Waits for the first answer of CRI at `address`, no longer than `most` and the turn that is under way then: a connection
/// and a question, each no longer than `call`. Judges nothing: whatever came of it is for a look to find.
///
/// systemd is content before containerd has recovered what ran. A look asks every shim, and would take processors from a
/// containerd that is needed: with 100 sandboxes CRI was away for a tenth longer, as docs/cri-away.md has it.
pub(crate) fn wait_for_cri(address: &str, most: Duration, call: Duration) {
    let began = Instant::now();
    let mut open = None;
    while began.elapsed() < most {
        let socket = match open.take() {
            Some(socket) => Ok(socket),
            None => Socket::connect(address, call),
        };
        match socket.map(|mut socket| (socket.cri_status().err(), socket)) {
            Err(CallError::Connect { .. }) => {}
            // As CRI says it until it has recovered.
            Ok((Some(CallError::Failed { .. }), socket)) => open = Some(socket),
            // An answer, or one that the next question would not bring: it hangs, or serves no CRI.
            Ok(_) | Err(_) => return,
        }
        sleep(GLANCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use h2::server;
    use http::{HeaderMap, HeaderName, Response};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    const MOST: Duration = Duration::from_secs(20);
    const CALL: Duration = Duration::from_secs(5);

    /// gRPC's `UNKNOWN` and `UNIMPLEMENTED`: what CRI answers before it is ready, and what a containerd without CRI does.
    const NOT_YET: &str = "2";
    const NO_CRI: &str = "12";

    /// A containerd that is bound after `after`, fails the first questions with these codes and answers any other; how many
    /// it was asked.
    fn containerd(path: &Path, after: Duration, fails: &'static [&'static str]) -> Arc<AtomicUsize> {
        let asked = Arc::new(AtomicUsize::new(0));
        let (path, counted) = (path.to_owned(), Arc::clone(&asked));
        thread::spawn(move || {
            sleep(after);
            let listener = UnixListener::bind(path).unwrap();
            listener.set_nonblocking(true).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve(listener, &counted, fails));
        });
        asked
    }

    async fn serve(listener: UnixListener, asked: &AtomicUsize, fails: &[&str]) {
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut answer))) = connection.accept().await {
                let number = asked.fetch_add(1, Ordering::SeqCst);
                let head = Response::builder().header("content-type", "application/grpc");
                let fails = fails.get(number).copied();
                let head = fails.iter().fold(head, |head, code| head.header("grpc-status", *code));
                let mut body = answer.send_response(head.body(()).unwrap(), fails.is_some()).unwrap();
                if fails.is_none() {
                    // A message without a field: not compressed, and 0 bytes long.
                    body.send_data(vec![0; 5].into(), false).unwrap();
                    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), 0.into())]);
                    body.send_trailers(trailers).unwrap();
                }
            }
        }
    }

    fn asked_of(after: Duration, fails: &'static [&'static str]) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let asked = containerd(&path, after, fails);
        let began = Instant::now();
        wait_for_cri(path.to_str().unwrap(), MOST, CALL);
        assert!(began.elapsed() < MOST, "it waited although there was an answer");
        asked.load(Ordering::SeqCst)
    }

    #[test]
    fn it_asks_until_cri_answers() {
        assert_eq!(asked_of(Duration::from_millis(50), &[]), 1);
        assert_eq!(asked_of(Duration::ZERO, &[NOT_YET, NOT_YET, NOT_YET]), 4);
    }

    #[test]
    fn a_containerd_without_cri_is_asked_once() {
        assert_eq!(asked_of(Duration::ZERO, &[NO_CRI]), 1);
        assert_eq!(asked_of(Duration::ZERO, &[NOT_YET, NO_CRI]), 2);
    }

    #[test]
    fn one_that_hangs_costs_one_call() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _hung = UnixListener::bind(&path).unwrap();
        let began = Instant::now();
        wait_for_cri(path.to_str().unwrap(), MOST, Duration::from_millis(150));
        assert!(began.elapsed() < MOST);
    }

    #[test]
    fn one_that_never_comes_is_given_up() {
        let most = Duration::from_millis(60);
        let began = Instant::now();
        wait_for_cri("/nowhere/containerd.sock", most, CALL);
        assert!(began.elapsed() >= most, "it was given up at once");
    }
}
