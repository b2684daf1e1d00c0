//! The HTTP server of the agent: `/metrics` for Prometheus, `/healthz` and `/readyz` for the kubelet.

use crate::reconcile::metrics::Metrics;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The buffer of a connection in bytes, and so the longest request head.
const MAX_HEAD: usize = 8 << 10;
/// The most connections at the same time.
const MAX_CONNECTIONS: usize = 8;

/// Timeouts that keep slow clients from holding all connections.
#[derive(Clone, Copy, Debug)]
struct ConnectionTimeouts {
    /// From the start of a connection, or from the end of a response, until the head of the next request is complete.
    head: Duration,
    /// The lifetime of a connection. The client must have received the response by then.
    connection: Duration,
}

impl Default for ConnectionTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            connection: Duration::from_mins(1),
        }
    }
}

/// Serves requests forever.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    serve_with(listener, metrics, ConnectionTimeouts::default()).await;
}

async fn serve_with(listener: TcpListener, metrics: Arc<Metrics>, timeouts: ConnectionTimeouts) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                tokio::spawn(async move {
                    serve_connection(stream, &metrics, timeouts).await;
                    drop(permit);
                });
            }
            // Too many open files, or a connection that was closed at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, metrics: &Metrics, timeouts: ConnectionTimeouts) {
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(respond(request.method(), request.uri().path(), metrics))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away, is too slow or sends no HTTP needs no answer.
    timeout(timeouts.connection, pin!(connection)).await.ok();
}

const PLAIN: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn respond(method: &Method, path: &str, metrics: &Metrics) -> Response<Full<Bytes>> {
    // hyper sends the head only in response to HEAD.
    if method != Method::GET && method != Method::HEAD {
        let text = "use GET or HEAD\n".to_owned();
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, text);
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match path {
        "/metrics" => response(StatusCode::OK, OPEN_METRICS, metrics.text()),
        "/healthz" => response(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        "/readyz" if metrics.has_observation() => response(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        "/readyz" => {
            let text = "the node has not been observed yet\n".to_owned();
            response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, text)
        }
        _ => {
            let text = "not found; try /metrics, /healthz or /readyz\n".to_owned();
            response(StatusCode::NOT_FOUND, PLAIN, text)
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    const TIMEOUTS: ConnectionTimeouts = ConnectionTimeouts {
        head: Duration::from_millis(300),
        connection: Duration::from_secs(20),
    };

    async fn server(timeouts: ConnectionTimeouts) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve_with(listener, Arc::new(Metrics::new()), timeouts));
        (address, server)
    }

    /// Sends a text and reads until the server closes the connection.
    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[test]
    fn readyz_is_unavailable_until_the_node_is_observed() {
        let metrics = Metrics::new();
        let status = |method: Method, path: &str| respond(&method, path, &metrics).status().as_u16();
        assert_eq!(status(Method::GET, "/healthz"), 200);
        assert_eq!(status(Method::GET, "/readyz"), 503);
        metrics.inc_observations();
        assert_eq!(status(Method::GET, "/readyz"), 200);
        assert_eq!(status(Method::GET, "/"), 404);
        assert_eq!(status(Method::POST, "/metrics"), 405);
    }

    #[tokio::test]
    async fn get_of_metrics_returns_openmetrics_text() {
        let (address, _server) = server(TIMEOUTS).await;
        let request = "GET /metrics?verbose HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let text = exchange(address, request).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("content-type: application/openmetrics-text"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[tokio::test]
    async fn head_of_healthz_has_the_length_and_no_body() {
        let (address, _server) = server(TIMEOUTS).await;
        let request = "HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let text = exchange(address, request).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(
            text.contains("content-length: 3\r\n") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn unknown_path_is_404_and_post_is_405_with_allowed_methods() {
        let (address, _server) = server(TIMEOUTS).await;
        let text = exchange(address, "GET /etc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{text}");
        let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
        let text = exchange(address, post).await;
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{text}");
        assert!(text.contains("allow: GET, HEAD\r\n"), "{text}");
    }

    #[tokio::test]
    async fn two_requests_of_a_connection_are_both_answered() {
        let (address, _server) = server(TIMEOUTS).await;
        let requests =
            "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let text = exchange(address, requests).await;
        assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{text}");
    }

    #[tokio::test]
    async fn head_of_a_request_is_limited() {
        let (address, _server) = server(TIMEOUTS).await;
        let long = "x".repeat(2 * MAX_HEAD);
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n");
        // The server may close the connection before it has read everything.
        client.write_all(request.as_bytes()).await.ok();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.ok();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }

    #[tokio::test]
    async fn slow_clients_are_disconnected_and_others_are_answered() {
        let (address, _server) = server(TIMEOUTS).await;
        let mut slow = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut client = TcpStream::connect(address).await.unwrap();
            // The head of the request stays incomplete.
            client.write_all(b"GET /heal").await.unwrap();
            slow.push(client);
        }
        let answered = exchange(address, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let text = timeout(Duration::from_secs(10), answered).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        for client in &mut slow {
            let mut rest = Vec::new();
            timeout(Duration::from_secs(10), client.read_to_end(&mut rest))
                .await
                .unwrap()
                .ok();
        }
    }

    #[tokio::test]
    async fn connection_is_closed_at_the_end_of_its_lifetime() {
        let timeouts = ConnectionTimeouts {
            head: Duration::from_secs(20),
            connection: Duration::from_millis(300),
        };
        let (address, _server) = server(timeouts).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut text = Vec::new();
        let closed = timeout(Duration::from_secs(10), client.read_to_end(&mut text)).await;
        assert!(closed.is_ok(), "the connection stays open");
    }
}
