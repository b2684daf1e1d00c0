//! Jobs and reports: the values that the suite and the program in the namespaces exchange.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::pki::Pki;

/// Files of the node by absolute path. The placeholders `${…}` of [`Pki::fill`] are filled in before containerd reads
/// them.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The registries around a node: every host that the files or the images may refer to.
///
/// A host that the scene does not name cannot be resolved, as if it were not in DNS.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scene {
    /// In any order; a name may occur with several ports.
    pub hosts: Vec<Host>,
}

impl Scene {
    /// Returns a scene in which docker.io, ghcr.io, quay.io and registry.k8s.io serve over TLS that the node trusts.
    pub fn upstreams() -> Self {
        ["registry-1.docker.io", "ghcr.io", "quay.io", "registry.k8s.io"]
            .into_iter()
            .fold(Self::default(), |scene, name| scene.with(Host::https(name)))
    }

    /// Adds a host, or replaces the host with the same name and port.
    #[must_use]
    pub fn with(mut self, host: Host) -> Self {
        self.hosts.retain(|other| other.endpoint() != host.endpoint());
        self.hosts.push(host);
        self
    }
}

/// One host and port, and its behaviour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Name or address, with a port unless it is the default port of the protocol: `ghcr.io`, `10.0.20.10:5000`,
    /// `[fd00::1]:5000`.
    pub name: String,
    pub wire: Wire,
    pub behaviour: Behaviour,
    /// The authentication that it requires.
    pub guard: Guard,
}

impl Host {
    /// Returns a registry that serves everything over plain HTTP.
    pub fn http(name: &str) -> Self {
        Self {
            name: name.into(),
            wire: Wire::Http,
            behaviour: Behaviour::Serve,
            guard: Guard::Open,
        }
    }

    /// Returns a registry that serves everything over TLS with a certificate that the node trusts.
    pub fn https(name: &str) -> Self {
        Self {
            wire: Wire::Tls(Cert::Trusted),
            ..Self::http(name)
        }
    }

    /// Returns a registry that serves everything over TLS with a certificate of an authority that the system does not
    /// trust.
    pub fn private(name: &str) -> Self {
        Self {
            wire: Wire::Tls(Cert::Private),
            ..Self::http(name)
        }
    }

    /// Sets the behaviour.
    #[must_use]
    pub fn that(self, behaviour: Behaviour) -> Self {
        Self { behaviour, ..self }
    }

    /// Sets the required authentication.
    #[must_use]
    pub fn guarded(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// Name or address without port and brackets.
    pub fn address(&self) -> &str {
        self.split().0
    }

    /// The port of the name, or the default port of the protocol.
    pub fn port(&self) -> u16 {
        self.split().1.unwrap_or(if self.wire == Wire::Http { 80 } else { 443 })
    }

    /// `name:port`, always with a port, as in [`Request::at`].
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

/// The protocol of a host. A host answers a client of the other protocol as real servers do: a plain host sends a 400
/// to a TLS client, a TLS host sends a 400 to a plain client, and both are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wire {
    Http,
    Tls(Cert),
}

/// The signer of a TLS host's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cert {
    /// The authority in the node's system pool.
    Trusted,
    /// The authority `${PRIVATE_CA}`, which only a `ca` setting makes known.
    Private,
    /// Self-signed: accepted only with `skip_verify`.
    SelfSigned,
}

/// The behaviour of a host for requests with the required authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Behaviour {
    /// Serves the image that is being pulled, under any prefix of its repository.
    Serve,
    /// Answers every request with this status.
    Status(u16),
    /// Resolves, and refuses connections. Attempts are not recorded.
    Dead,
    /// Delays each answer by this many milliseconds.
    Slow(u64),
    /// Accepts every request and never answers.
    Hangs,
}

/// The behaviour of a cluster's API server towards clients that use the address of its service, as pods do. All other
/// clients use an address that always works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Front {
    /// Passes everything through.
    #[default]
    Open,
    /// Answers every request with this status. With 429 and 503 it sends `Retry-After: 1`.
    Answers(u16),
    /// Passes everything through, but delays each piece of an answer by this many milliseconds.
    Slow(u64),
    /// Accepts connections and never answers.
    Hangs,
    /// Closes every connection at once.
    Refuses,
}

/// The authentication that a host requires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    Open,
    /// This user, by basic authentication.
    Basic(Login),
    /// A bearer token from `/token` on the same host; with a login, only that user gets one.
    Token(Option<Login>),
    /// A bearer token from `/token` on the same host, in exchange for this identity token by POST.
    Identity(String),
    /// A client certificate; without one the host answers 400, as nginx does.
    ClientCert,
}

/// A user's name and password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl Login {
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }
}

/// The input of `lab-run`: one containerd, one scene, and rounds that each start with an empty node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) program: PathBuf,
    pub(super) pki: Pki,
    pub(super) scene: Scene,
    pub(super) rounds: Vec<Round>,
}

/// One start of containerd: the node's files and the images to pull, in order. A repository occurs only once in a
/// round, because a second image would find its blobs on the node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Round {
    pub files: Files,
    /// If empty, the round only checks whether CRI loads.
    pub images: Vec<Image>,
}

/// An image to pull, as in a request of the kubelet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Reference with tag or digest. [`super::content::by_digest`] returns the digest of a repository's image.
    pub reference: String,
    /// The pull secret.
    pub auth: Option<Login>,
    /// The registry of the pull secret, as a URL. Without one, containerd sends the secret to every host that
    /// requires it.
    pub server_address: Option<String>,
}

impl Image {
    /// Returns an image without a pull secret.
    pub fn new(reference: &str) -> Self {
        Self {
            reference: reference.into(),
            auth: None,
            server_address: None,
        }
    }

    /// Adds the kubelet's pull secret.
    #[must_use]
    pub fn with_secret(self, login: Login) -> Self {
        Self {
            auth: Some(login),
            ..self
        }
    }
}

/// The result of one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoundReport {
    /// The result of containerd's start.
    pub boot: Boot,
    /// One entry per image; empty unless CRI answered.
    pub pulls: Vec<Pull>,
    /// All requests to the hosts, in order of arrival.
    pub requests: Vec<Request>,
    /// The end of containerd's log, for people to read.
    pub log: String,
}

/// The result of a start of containerd with some files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    /// CRI answers `Status`.
    CriOk,
    /// containerd serves, and CRI is missing or not ready; the reason is from the log or from CRI.
    CriDead(String),
    /// containerd ended; the reason is the last line of its log.
    Refuses(String),
    /// containerd neither served nor ended within the time limit, so nothing is known about its files.
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

/// The result of one pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The requested reference.
    pub image: String,
    /// The error that CRI returned.
    pub error: Option<String>,
}

/// A request or a TLS attempt that arrived at a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The reference that was being pulled.
    pub image: String,
    /// The scene's host, as `name:port`.
    pub at: String,
    /// The server name that the client sent in TLS.
    pub sni: Option<String>,
    /// The common name of the client certificate.
    pub client_cert: Option<String>,
    /// The request, or the attempt.
    pub what: What,
}

/// A request, or a TLS attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A TLS handshake that failed: the host is plain, or client and host do not trust each other.
    TlsAttempt,
    Http(Http),
}

/// An HTTP request and the status of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// `http` or `https`.
    pub scheme: String,
    /// `GET`, `HEAD`, …
    pub method: String,
    pub host: String,
    /// The path as sent.
    pub path: String,
    /// The query as sent, without `?`; empty if there is none.
    pub query: String,
    /// The Authorization header as sent.
    pub authorization: Option<String>,
    /// All other headers that not every client of containerd sends; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body of a token request that is sent as a form.
    pub form: String,
    /// The status of the answer.
    pub status: u16,
}

#[cfg(test)]
mod tests {
    use super::{Host, Scene};

    #[test]
    fn endpoint_always_has_a_port() {
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
    fn host_with_the_same_endpoint_is_replaced() {
        let scene = Scene::default()
            .with(Host::https("a"))
            .with(Host::http("a:443"))
            .with(Host::http("a:80"));
        let endpoints: Vec<String> = scene.hosts.iter().map(Host::endpoint).collect();
        assert_eq!(endpoints, ["a:443", "a:80"]);
    }
}
