//! The recording registries: one listener a host, plain or TLS, that writes down whatever arrives.

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

/// Sent by every client of containerd alike, so they tell nothing.
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

/// What the hosts of a job share: the image that is being pulled and what has arrived. Pulls follow one another, so a
/// request belongs to the pull that is under way.
#[derive(Default)]
pub(super) struct Desk(Mutex<(Current, Vec<Request>)>);

/// The pull under way.
#[derive(Clone, Default)]
struct Current {
    reference: String,
    repository: String,
    content: Option<Arc<Content>>,
}

impl Desk {
    /// From now on this image is served and requests are booked on it.
    pub(super) fn turn_to(&self, reference: &str, repository: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Current {
            reference: reference.into(),
            repository: repository.into(),
            content: Some(Arc::new(Content::of(repository))),
        };
    }

    /// Everything that has arrived since the last call.
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

/// A host of the scene, ready to listen.
pub(super) struct Server {
    pub(super) host: Host,
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// The client certificates that the lab made, with their common names.
    pub(super) clients: Vec<(CertificateDer<'static>, String)>,
    pub(super) desk: Arc<Desk>,
}

/// What a connection showed of its client.
#[derive(Clone, Default)]
struct Peer {
    /// TLS, or plain HTTP to whatever this host is.
    https: bool,
    sni: Option<String>,
    cert: Option<String>,
}

impl Server {
    /// Listens at its port of `address` from now on.
    pub(super) async fn listen(self, address: IpAddr) -> io::Result<()> {
        let listener = TcpListener::bind(SocketAddr::new(address, self.host.port())).await?;
        let server = Arc::new(self);
        tokio::spawn(async move {
            loop {
                let stream = accept(&listener).await;
                let server = Arc::clone(&server);
                // A connection that breaks off has booked what it brought.
                tokio::spawn(async move { drop(server.connection(stream).await) });
            }
        });
        Ok(())
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        // A TLS record that begins a handshake starts with this byte, and no HTTP method does.
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
        // Go writes headers in order of name, but a header's order is nothing that a server sees anyhow.
        http.headers.sort();
        if let Ok(body) = body.collect().await {
            http.form = String::from_utf8_lossy(&body.to_bytes()).into();
        }

        let current = self.desk.current();
        let answer = match &current.content {
            // A TLS server's word to a plain client.
            _ if self.tls.is_some() && !peer.https => {
                Answer::text(400, "Client sent an HTTP request to an HTTPS server.")
            }
            None => Answer::text(404, "no pull is under way"),
            Some(content) => answer(&self.host, &http, peer.cert.is_some(), &current.repository, content),
        };
        http.status = answer.status;
        let (image, at) = (current.reference, self.host.endpoint());
        // Booked before the answer goes out, so the order is the client's.
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

/// What Go's and nginx's plain servers say to a TLS greeting. containerd knows by it that the host is plain.
async fn refuse_tls(mut stream: TcpStream) -> io::Result<()> {
    stream
        .write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
        .await?;
    stream.shutdown().await?;
    // Closing with bytes unread would reset the connection before the answer is read.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
