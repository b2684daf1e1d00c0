//! What stands between the API server and those that reach it by its service's address: the plain way through, as kube-proxy
//! gives it, or a server that is overloaded, broken, slow, silent or gone.

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

/// The front, as its site knows it.
#[derive(Clone)]
pub(super) struct Counter(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    behaviour: Front,
    /// Connections that were begun under this behaviour.
    connections: Vec<AbortHandle>,
    /// Requests answered here since the last turn.
    answered: u64,
}

impl Counter {
    /// From now on it does this, and what was connected is cut off, as when one server takes the place of another. How many
    /// requests were answered here since the last turn.
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

/// Listens from now on.
pub(super) async fn start(listen: SocketAddr, server: SocketAddr, pair: &Pair) -> io::Result<Counter> {
    let config = Arc::new(tls::plain(pair)?);
    let listener = TcpListener::bind(listen).await?;
    let counter = Counter(Arc::default());
    let front = counter.clone();
    tokio::spawn(async move {
        loop {
            let stream = accept(&listener).await;
            // Held, so that a turn either comes before this connection or knows of it.
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

/// Serves one connection to its end. Whoever breaks it off is not waited for.
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

/// Hands everything on, what comes back after a while.
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

/// Answers every request with a status, as an API server words it.
async fn answers(stream: TcpStream, status: u16, config: Arc<ServerConfig>, counter: Counter) -> io::Result<()> {
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let service = service_fn(move |_| {
        counter.count();
        let (reason, message) = match status {
            429 => ("TooManyRequests", "too many requests, please try again later"),
            _ => ("InternalError", "the lab says so"),
        };
        let body = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": status,
        });
        let mut answer = Response::builder()
            .status(status)
            .header("content-type", "application/json");
        // Of a server that is only busy.
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
