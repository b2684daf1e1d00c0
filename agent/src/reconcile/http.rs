//! `/metrics`, `/healthz` and `/readyz`. One answer a connection: who asks does so a few times a minute.

use crate::reconcile::metrics::Metrics;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// For a whole request and its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than the head of any request that is meant: bytes.
const HEAD: usize = 8 << 10;
/// Connections at one time.
const MOST: usize = 8;

/// Answers for ever.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                tokio::spawn(async move {
                    timeout(PATIENCE, answer(stream, &metrics)).await.ok();
                    drop(place);
                });
            }
            // Too many open files, or a connection that went at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics) -> io::Result<()> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part).await?;
        if read == 0 || head.len() > HEAD {
            return Ok(());
        }
        head.extend_from_slice(&part[..read]);
    }
    let head = String::from_utf8_lossy(&head);
    let (status, kind, body) = respond(head.lines().next().unwrap_or_default(), metrics);
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

const PLAIN: &str = "text/plain; charset=utf-8";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn respond(request: &str, metrics: &Metrics) -> (&'static str, &'static str, String) {
    let mut words = request.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    if method != Some("GET") {
        return ("405 Method Not Allowed", PLAIN, "only GET\n".to_owned());
    }
    match target.split('?').next() {
        Some("/metrics") => ("200 OK", METRICS, metrics.text()),
        Some("/healthz") => ("200 OK", PLAIN, "ok\n".to_owned()),
        Some("/readyz") if metrics.has_looked() => ("200 OK", PLAIN, "ok\n".to_owned()),
        Some("/readyz") => (
            "503 Service Unavailable",
            PLAIN,
            "the node was not looked at yet\n".to_owned(),
        ),
        _ => ("404 Not Found", PLAIN, "/metrics, /healthz, /readyz\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_has_seen_the_node() {
        let metrics = Metrics::new();
        let status = |path: &str| respond(&format!("GET {path} HTTP/1.1"), &metrics).0;
        assert_eq!(status("/healthz"), "200 OK");
        assert_eq!(status("/readyz"), "503 Service Unavailable");
        metrics.inc_observations();
        assert_eq!(status("/readyz?verbose"), "200 OK");
        assert_eq!(status("/"), "404 Not Found");
        assert_eq!(respond("POST /metrics HTTP/1.1", &metrics).0, "405 Method Not Allowed");
        assert_eq!(respond("", &metrics).0, "405 Method Not Allowed");
    }

    #[tokio::test]
    async fn a_client_is_answered_and_one_that_says_nothing_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Metrics::new())));
        let mut silent = Vec::new();
        for _ in 0..MOST - 1 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("# EOF\n"),
            "{text}"
        );
        server.abort();
    }
}
