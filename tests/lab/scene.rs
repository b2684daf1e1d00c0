//! What a job says and what comes back: the values that travel between the suite and the program in the namespaces.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::pki::Pki;

/// Files of the node by absolute path. `${…}` placeholders of [`Pki::fill`] are filled in before containerd sees them.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The world around the node: every host that the files or the images may lead to.
///
/// A host that the scene does not name cannot be resolved, as if DNS knew nothing of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scene {
    /// Hosts in any order; a name may occur with several ports.
    pub hosts: Vec<Host>,
}

impl Scene {
    /// A scene in which docker.io, ghcr.io, quay.io and registry.k8s.io serve over TLS that the node trusts.
    pub fn upstreams() -> Self {
        ["registry-1.docker.io", "ghcr.io", "quay.io", "registry.k8s.io"]
            .into_iter()
            .fold(Self::default(), |scene, name| scene.with(Host::https(name)))
    }

    /// The scene with one more host. A host of the same name and port that is there already is replaced.
    #[must_use]
    pub fn with(mut self, host: Host) -> Self {
        self.hosts.retain(|other| other.endpoint() != host.endpoint());
        self.hosts.push(host);
        self
    }
}

/// One host and port, and how it behaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Name or address, with a port unless it is the wire's usual one: `ghcr.io`, `10.0.20.10:5000`, `[fd00::1]:5000`.
    pub name: String,
    /// Plain or TLS.
    pub wire: Wire,
    /// What it does with a request.
    pub behaviour: Behaviour,
    /// Whom it lets in.
    pub guard: Guard,
}

impl Host {
    /// A registry that serves everything over plain HTTP.
    pub fn http(name: &str) -> Self {
        Self {
            name: name.into(),
            wire: Wire::Http,
            behaviour: Behaviour::Serve,
            guard: Guard::Open,
        }
    }

    /// A registry that serves everything over TLS with a certificate that the node trusts.
    pub fn https(name: &str) -> Self {
        Self {
            wire: Wire::Tls(Cert::Trusted),
            ..Self::http(name)
        }
    }

    /// A registry that serves everything over TLS with a certificate of an authority that the system does not know.
    pub fn private(name: &str) -> Self {
        Self {
            wire: Wire::Tls(Cert::Private),
            ..Self::http(name)
        }
    }

    /// The same host with another behaviour.
    #[must_use]
    pub fn that(self, behaviour: Behaviour) -> Self {
        Self { behaviour, ..self }
    }

    /// The same host behind a guard.
    #[must_use]
    pub fn guarded(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// Name or address without port and without brackets.
    pub fn address(&self) -> &str {
        self.split().0
    }

    /// The port, from the name or the wire.
    pub fn port(&self) -> u16 {
        self.split().1.unwrap_or(if self.wire == Wire::Http { 80 } else { 443 })
    }

    /// `name:port`, always with a port: what [`Request::at`] says.
    pub fn endpoint(&self) -> String {
        let (address, port) = (self.address(), self.port());
        if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        }
    }

    fn split(&self) -> (&str, Option<u16>) {
        if let Some((address, rest)) = self.name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
        }
        match self.name.split_once(':') {
            Some((name, port)) => (name, port.parse().ok()),
            None => (&self.name, None),
        }
    }
}

/// How a host is spoken to. Either kind answers the other as real servers do: plain HTTP sends a 400 to a TLS client,
/// TLS sends a 400 to a plain one, and both are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wire {
    /// Plain HTTP.
    Http,
    /// TLS.
    Tls(Cert),
}

/// Whose certificate a TLS host shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cert {
    /// Signed by the authority in the node's system pool.
    Trusted,
    /// Signed by the authority `${PRIVATE_CA}`, which only a `ca` setting makes known.
    Private,
    /// Signed by itself: good only with `skip_verify`.
    SelfSigned,
}

/// What a host does with requests that its guard lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Behaviour {
    /// Serves the image that is being pulled, under any prefix of its repository.
    Serve,
    /// Answers every request with this status.
    Status(u16),
    /// Resolves, and refuses connections. Attempts leave no record.
    Dead,
    /// Serves after this many milliseconds a request.
    Slow(u64),
    /// Takes every request and never answers.
    Hangs,
}

/// What a cluster's API server is like to those that reach it by the address of its service, as pods do. Everybody else has
/// an address of it that is always open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Front {
    /// Itself.
    #[default]
    Open,
    /// Answers every request with this status. With 429 and 503 it wants to be asked again after a second.
    Answers(u16),
    /// Itself, but each piece of an answer takes this many milliseconds more.
    Slow(u64),
    /// Takes connections and says nothing.
    Hangs,
    /// Ends every connection at once.
    Refuses,
}

/// What a host asks of its clients before it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// Nothing.
    Open,
    /// This user, by basic authentication.
    Basic(Login),
    /// A bearer token from `/token` on the same host; with a login only that user gets one.
    Token(Option<Login>),
    /// A bearer token from `/token` on the same host, for this identity token by POST.
    Identity(String),
    /// A client certificate; without one it answers 400, as nginx does.
    ClientCert,
}

/// A user's name and password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl Login {
    /// A login.
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }
}

/// One run in namespaces of its own: one containerd, one scene, and rounds that each start from an empty node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) program: PathBuf,
    pub(super) pki: Pki,
    pub(super) scene: Scene,
    pub(super) rounds: Vec<Round>,
}

/// One start of containerd: the node's files and what is pulled, in order. No two images of a round may be of one
/// repository, as the second would find its blobs on the node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Round {
    /// The node's files.
    pub files: Files,
    /// What is pulled. None asks only whether CRI loads.
    pub images: Vec<Image>,
}

/// An image to pull, as kubelet would ask for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Reference with tag or digest. [`super::content::by_digest`] knows the digest of a repository's image.
    pub reference: String,
    /// The pull secret.
    pub auth: Option<Login>,
    /// The registry that the pull secret is for, as a URL; without one containerd shows it to every host that asks.
    pub server_address: Option<String>,
}

impl Image {
    /// An image without a pull secret.
    pub fn new(reference: &str) -> Self {
        Self {
            reference: reference.into(),
            auth: None,
            server_address: None,
        }
    }

    /// The image with kubelet's pull secret.
    #[must_use]
    pub fn with_secret(self, login: Login) -> Self {
        Self {
            auth: Some(login),
            ..self
        }
    }
}

/// What one round came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoundReport {
    /// How containerd started.
    pub boot: Boot,
    /// One entry an image; empty unless CRI answered.
    pub pulls: Vec<Pull>,
    /// Everything that arrived at a host, in order of arrival.
    pub requests: Vec<Request>,
    /// The end of containerd's log, for a person to read.
    pub log: String,
}

/// How a containerd took its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    /// CRI answers `Status`.
    CriOk,
    /// containerd serves and CRI is not there, or not well; the reason is from the log or from CRI.
    CriDead(String),
    /// containerd ended by itself; the reason is its last words.
    Refuses(String),
    /// Neither within the time allowed. Tells nothing about the files.
    NoAnswer(String),
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CriOk => f.write_str("CRI ok"),
            Self::CriDead(why) => write!(f, "CRI dead: {why}"),
            Self::Refuses(why) => write!(f, "containerd refuses: {why}"),
            Self::NoAnswer(why) => write!(f, "no answer: {why}"),
        }
    }
}

/// How one pull ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The reference as it was asked for.
    pub image: String,
    /// The error that CRI gave, if it gave one.
    pub error: Option<String>,
}

/// Something that arrived at a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The reference whose pull was under way.
    pub image: String,
    /// The scene's host, as `name:port`.
    pub at: String,
    /// The server name that the client sent in TLS.
    pub sni: Option<String>,
    /// Common name of the client certificate that was shown.
    pub client_cert: Option<String>,
    /// The request, or what came instead.
    pub what: What,
}

/// A request, or an attempt at TLS that never became one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A client's TLS greeting without a connection: the host is plain, or client and host do not trust each other.
    TlsAttempt,
    /// An HTTP request.
    Http(Http),
}

/// An HTTP request and the status it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// `http` or `https`.
    pub scheme: String,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// The Host header.
    pub host: String,
    /// The path as sent.
    pub path: String,
    /// The query as sent, without `?`; empty when there is none.
    pub query: String,
    /// The Authorization header as sent.
    pub authorization: Option<String>,
    /// Every other header but those that every client of containerd sends; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body of a token request by form.
    pub form: String,
    /// The status that the host answered.
    pub status: u16,
}

#[cfg(test)]
mod tests {
    use super::{Host, Scene};

    #[test]
    fn endpoints_always_have_a_port() {
        for (host, endpoint, address) in [
            (Host::https("ghcr.io"), "ghcr.io:443", "ghcr.io"),
            (Host::http("ghcr.io"), "ghcr.io:80", "ghcr.io"),
            (Host::http("10.0.20.10:5000"), "10.0.20.10:5000", "10.0.20.10"),
            (Host::http("[fd00::10]:5000"), "[fd00::10]:5000", "fd00::10"),
            (Host::https("[fd00::10]"), "[fd00::10]:443", "fd00::10"),
        ] {
            assert_eq!((host.endpoint().as_str(), host.address()), (endpoint, address));
        }
    }

    #[test]
    fn a_host_is_replaced_by_endpoint() {
        let scene = Scene::default()
            .with(Host::https("a"))
            .with(Host::http("a:443"))
            .with(Host::http("a:80"));
        let endpoints: Vec<String> = scene.hosts.iter().map(Host::endpoint).collect();
        assert_eq!(endpoints, ["a:443", "a:80"]);
    }
}
