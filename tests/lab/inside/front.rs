//! The proxy between the API server and clients that use the address of its service. It passes connections through as
//! kube-proxy does, or behaves like a server that is overloaded, failing, slow, hanging or down.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::accept::accept;
use super::tls;
use crate::lab::pki::Pair;
use crate::lab::scene::Front;

/// A handle to the proxy.
#[derive(Clone)]
pub(super) struct Counter(Arc<Mutex<ProxyState>>);

#[derive(Default)]
struct ProxyState {
    behaviour: Front,
    /// Connections that were accepted under the current behaviour.
    connections: Vec<AbortHandle>,
    /// The number of requests that were answered here since the last change of the behaviour.
    answered: u64,
}

impl Counter {
    /// Changes the behaviour and closes all connections, as if another server took its place. Returns the number
    /// of requests that were answered here since the last change.
    pub(super) fn turn(&self, behaviour: Front) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in state.connections.drain(..) {
            connection.abort();
        }
        state.behaviour = behaviour;
        std::mem::take(&mut state.answered)
    }

    fn count(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answered += 1;
    }
}

/// Starts to listen.
pub(super) async fn start(listen: SocketAddr, server: SocketAddr, pair: &Pair) -> io::Result<Counter> {
    let config = Arc::new(tls::plain(pair)?);
    let listener = TcpListener::bind(listen).await?;
    let counter = Counter(Arc::default());
    let front = counter.clone();
    tokio::spawn(async move {
        loop {
            let stream = accept(&listener).await;
            // The lock is held, so that a change of the behaviour either precedes this connection or closes it.
            let mut state = front.0.lock().unwrap_or_else(PoisonError::into_inner);
            let task = tokio::spawn(connection(
                stream,
                server,
                state.behaviour,
                Arc::clone(&config),
                front.clone(),
            ));
            state.connections.retain(|connection| !connection.is_finished());
            state.connections.push(task.abort_handle());
        }
    });
    Ok(counter)
}

/// Serves one connection to its end. The task is aborted to close it.
async fn connection(stream: TcpStream, server: SocketAddr, front: Front, config: Arc<ServerConfig>, counter: Counter) {
    let ended = match front {
        Front::Open => through(stream, server, Duration::ZERO).await,
        Front::Slow(milliseconds) => through(stream, server, Duration::from_millis(milliseconds)).await,
        Front::Answers(status) => answers(stream, status, config, counter).await,
        Front::Hangs => std::future::pending().await,
        Front::Refuses => Ok(()),
    };
    drop(ended);
}

/// Passes everything through, and delays the answers.
async fn through(mut client: TcpStream, server: SocketAddr, after: Duration) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    if after.is_zero() {
        return tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop);
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let asking = tokio::spawn(hand_on(from_client, to_server, Duration::ZERO));
    let answering = hand_on(from_server, to_client, after).await;
    asking.abort();
    answering
}

async fn hand_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, after: Duration) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        tokio::time::sleep(after).await;
        to.write_all(&bytes[..read]).await?;
    }
}

/// Answers every request with a status, in the words of an API server.
async fn answers(stream: TcpStream, status: u16, config: Arc<ServerConfig>, counter: Counter) -> io::Result<()> {
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let service = service_fn(move |_| {
        counter.count();
        let (reason, message) = match status {
            429 => ("TooManyRequests", "too many requests, please try again later"),
            _ => ("InternalError", "the lab specifies this status"),
        };
        let body = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": status,
        });
        let mut answer = Response::builder()
            .status(status)
            .header("content-type", "application/json");
        // These statuses mean that the server is overloaded, and carry `Retry-After`.
        if [429, 503].contains(&status) {
            answer = answer.header("retry-after", "1");
        }
        let answer = answer.body(Full::new(Bytes::from(body.to_string())));
        async move { Ok::<_, Infallible>(answer.unwrap_or_default()) }
    });
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}
