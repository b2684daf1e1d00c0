//! The recording registries: one listener per host, plain or TLS, that records every request.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::Acceptor;

use super::accept::accept;
use super::answer::{Answer, answer};
use crate::lab::content::Content;
use crate::lab::scene::{Host, Http, Request, What};

/// Headers that every client of containerd sends, so they are not recorded.
const USUAL: [&str; 9] = [
    "host",
    "authorization",
    "accept",
    "accept-encoding",
    "range",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
];

/// The state that the hosts of a job share: the image that is being pulled, and the recorded requests. Pulls follow
/// one another, so a request belongs to the current pull.
#[derive(Default)]
pub(super) struct Desk(Mutex<(Current, Vec<Request>)>);

/// The current pull.
#[derive(Clone, Default)]
struct Current {
    reference: String,
    repository: String,
    content: Option<Arc<Content>>,
}

impl Desk {
    /// From now on this image is served, and requests are recorded for it.
    pub(super) fn turn_to(&self, reference: &str, repository: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Current {
            reference: reference.into(),
            repository: repository.into(),
            content: Some(Arc::new(Content::of(repository))),
        };
    }

    /// Returns all requests since the last call.
    pub(super) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    fn current(&self) -> Current {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn book(&self, request: Request) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.push(request);
    }
}

pub(super) struct Server {
    pub(super) host: Host,
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// The client certificates that the lab created, with their common names.
    pub(super) clients: Vec<(CertificateDer<'static>, String)>,
    pub(super) desk: Arc<Desk>,
}

/// The properties of a connection's client.
#[derive(Clone, Default)]
struct Peer {
    /// TLS or plain HTTP, whatever this host expects.
    https: bool,
    sni: Option<String>,
    cert: Option<String>,
}

impl Server {
    /// Starts to listen on its port of `address`.
    pub(super) async fn listen(self, address: IpAddr) -> io::Result<()> {
        let listener = TcpListener::bind(SocketAddr::new(address, self.host.port())).await?;
        let server = Arc::new(self);
        tokio::spawn(async move {
            loop {
                let stream = accept(&listener).await;
                let server = Arc::clone(&server);
                // The requests of a connection that breaks are recorded already.
                tokio::spawn(async move { drop(server.connection(stream).await) });
            }
        });
        Ok(())
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        // A TLS handshake record starts with this byte, and no HTTP method does.
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Ok(());
        }
        if first != [0x16] {
            return self.http(stream, Peer::default()).await;
        }
        let start = match LazyConfigAcceptor::new(Acceptor::default(), stream).await {
            Ok(start) => start,
            Err(error) => {
                self.attempt(None);
                return Err(error);
            }
        };
        let sni = start.client_hello().server_name().map(str::to_owned);
        let Some(config) = &self.tls else {
            self.attempt(sni);
            return refuse_tls(start.io).await;
        };
        let stream = match start.into_stream(Arc::clone(config)).await {
            Ok(stream) => stream,
            Err(error) => {
                self.attempt(sni);
                return Err(error);
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let cert = shown.map(|shown| {
            let known = self.clients.iter().find(|(known, _)| known == shown);
            known.map_or_else(|| "unknown".into(), |(_, name)| name.clone())
        });
        self.http(stream, Peer { https: true, sni, cert }).await
    }

    fn attempt(&self, sni: Option<String>) {
        let image = self.desk.current().reference;
        self.desk.book(Request {
            image,
            at: self.host.endpoint(),
            sni,
            client_cert: None,
            what: What::TlsAttempt,
        });
    }

    async fn http(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) -> io::Result<()> {
        let service = service_fn(move |request| {
            let (server, peer) = (Arc::clone(&self), peer.clone());
            async move { Ok::<_, Infallible>(server.request(request, peer).await) }
        });
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await
            .map_err(io::Error::other)
    }

    async fn request(&self, request: HttpRequest<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let header = |name: &str| {
            head.headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into())
        };
        let mut http = Http {
            scheme: if peer.https { "https" } else { "http" }.into(),
            method: head.method.as_str().into(),
            host: header("host").unwrap_or_default(),
            path: head.uri.path().into(),
            query: head.uri.query().unwrap_or_default().into(),
            authorization: header("authorization"),
            headers: Vec::new(),
            form: String::new(),
            status: 0,
        };
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let own_agent = name == "user-agent" && (value.starts_with("containerd/") || value.starts_with("Go-http"));
            if !USUAL.contains(&name.as_str()) && !own_agent {
                http.headers.push((name.as_str().into(), value.into()));
            }
        }
        // Go writes headers in the order of their names. The order is not compared.
        http.headers.sort();
        if let Ok(body) = body.collect().await {
            http.form = String::from_utf8_lossy(&body.to_bytes()).into();
        }

        let current = self.desk.current();
        let answer = match &current.content {
            // The answer of a TLS server to a plain client.
            _ if self.tls.is_some() && !peer.https => {
                Answer::text(400, "Client sent an HTTP request to an HTTPS server.")
            }
            None => Answer::text(404, "no pull is in progress"),
            Some(content) => answer(&self.host, &http, peer.cert.is_some(), &current.repository, content),
        };
        http.status = answer.status;
        let (image, at) = (current.reference, self.host.endpoint());
        // Recorded before the answer is sent, so that the order is the client's.
        self.desk.book(Request {
            image,
            at,
            sni: peer.sni,
            client_cert: peer.cert,
            what: What::Http(http),
        });
        tokio::time::sleep(answer.after).await;
        answer.into_response()
    }
}

/// The answer of Go's and nginx's plain servers to a TLS handshake. containerd recognises a plain host by it.
async fn refuse_tls(mut stream: TcpStream) -> io::Result<()> {
    stream
        .write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
        .await?;
    stream.shutdown().await?;
    // If the connection were closed with unread data, it would be reset before the client reads the answer.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
