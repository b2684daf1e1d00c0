//! Waits for a containerd that systemd has just started, before the whole node is observed.

use crate::containerd::socket::{CallError, Socket};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The pause between two attempts.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits for the first answer of CRI at `address`, at most for `limit` and the attempt that is in progress then: a
/// connection and a call, each with the deadline `call`. It returns nothing, because the observation that follows shows
/// the result.
///
/// systemd considers containerd started before containerd has recovered its sandboxes. An observation calls every shim,
/// and would take CPU time from containerd meanwhile: with 100 sandboxes, CRI was away for a tenth longer, see
/// docs/benchmarks/cri-absence.md.
pub(crate) fn wait_for_cri(address: &str, limit: Duration, call: Duration) {
    let start = Instant::now();
    let mut open = None;
    while start.elapsed() < limit {
        let socket = match open.take() {
            Some(socket) => Ok(socket),
            None => Socket::connect(address, call),
        };
        match socket.map(|mut socket| (socket.cri_status().err(), socket)) {
            Err(CallError::Connect { .. }) => {}
            // CRI answers with an error until it has recovered.
            Ok((Some(CallError::Failed { .. }), socket)) => open = Some(socket),
            // CRI answered, or another attempt would have the same result: containerd hangs, or serves no CRI.
            Ok(_) | Err(_) => return,
        }
        sleep(POLL_INTERVAL);
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

    const LIMIT: Duration = Duration::from_secs(20);
    const CALL: Duration = Duration::from_secs(5);

    /// gRPC's status codes `UNKNOWN` and `UNIMPLEMENTED`: the answers of a CRI that is not ready, and of a containerd
    /// without CRI.
    const NOT_YET: &str = "2";
    const NO_CRI: &str = "12";

    /// Starts a server that binds its socket after `delay`, fails its first requests with the status codes `failures`,
    /// and answers all others. Returns the counter of its requests.
    fn containerd(path: &Path, delay: Duration, failures: &'static [&'static str]) -> Arc<AtomicUsize> {
        let requests = Arc::new(AtomicUsize::new(0));
        let (path, counter) = (path.to_owned(), Arc::clone(&requests));
        thread::spawn(move || {
            sleep(delay);
            let listener = UnixListener::bind(path).unwrap();
            listener.set_nonblocking(true).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve(listener, &counter, failures));
        });
        requests
    }

    async fn serve(listener: UnixListener, counter: &AtomicUsize, failures: &[&str]) {
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut response))) = connection.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let head = Response::builder().header("content-type", "application/grpc");
                let failure = failures.get(number).copied();
                let head = failure
                    .iter()
                    .fold(head, |head, code| head.header("grpc-status", *code));
                let mut body = response
                    .send_response(head.body(()).unwrap(), failure.is_some())
                    .unwrap();
                if failure.is_none() {
                    // A message without fields: not compressed, and 0 bytes long.
                    body.send_data(vec![0; 5].into(), false).unwrap();
                    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), 0.into())]);
                    body.send_trailers(trailers).unwrap();
                }
            }
        }
    }

    fn requests_until_return(delay: Duration, failures: &'static [&'static str]) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let requests = containerd(&path, delay, failures);
        let start = Instant::now();
        wait_for_cri(path.to_str().unwrap(), LIMIT, CALL);
        assert!(start.elapsed() < LIMIT, "it waited although there was an answer");
        requests.load(Ordering::SeqCst)
    }

    #[test]
    fn wait_for_cri_repeats_until_cri_answers() {
        assert_eq!(requests_until_return(Duration::from_millis(50), &[]), 1);
        assert_eq!(requests_until_return(Duration::ZERO, &[NOT_YET, NOT_YET, NOT_YET]), 4);
    }

    #[test]
    fn wait_for_cri_stops_at_a_containerd_without_cri() {
        assert_eq!(requests_until_return(Duration::ZERO, &[NO_CRI]), 1);
        assert_eq!(requests_until_return(Duration::ZERO, &[NOT_YET, NO_CRI]), 2);
    }

    #[test]
    fn wait_for_cri_stops_at_a_containerd_that_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _hung = UnixListener::bind(&path).unwrap();
        let start = Instant::now();
        wait_for_cri(path.to_str().unwrap(), LIMIT, Duration::from_millis(150));
        assert!(start.elapsed() < LIMIT);
    }

    #[test]
    fn wait_for_cri_ends_at_its_limit_without_a_containerd() {
        let limit = Duration::from_millis(60);
        let start = Instant::now();
        wait_for_cri("/nowhere/containerd.sock", limit, CALL);
        assert!(start.elapsed() >= limit, "it ended before its limit");
    }
}
