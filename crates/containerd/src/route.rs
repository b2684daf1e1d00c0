//! Routes: the hosts that containerd tries for an image, in order. `registry.mirrors` and hosts.toml give the same type.
//!
//! Two routes are equal if the registries receive the same requests. The location of a setting is not compared.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The location of a setting: a file of the node, and a line if it is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceLocation {
    /// The absolute path on the node.
    pub path: String,
    /// The line, counted from 1.
    pub line: Option<usize>,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

/// The hosts that containerd tries for the images of one registry.
#[derive(Clone, Debug)]
pub enum Route {
    /// containerd tries these hosts in order until one has the object. It resolves tags only at hosts that `resolves`, and
    /// fetches layers from all of them.
    Hosts(Vec<RegistryHost>),
    /// The pull fails before containerd sends a request.
    Fails(Failure),
}

/// The reason why a pull fails before containerd tries a host.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The fault, as a fragment such as "cannot read CA file `/etc/ssl/x.crt`".
    pub reason: String,
    /// The location of the setting that causes it.
    pub place: Option<SourceLocation>,
}

/// A host that containerd tries, with the settings for its requests.
#[derive(Clone, Debug)]
pub struct RegistryHost {
    /// The protocol of the requests.
    pub scheme: Scheme,
    /// The host and port of the request.
    pub host: String,
    /// The API root without a trailing slash: `/v2`, `/v2/proxy`, or empty.
    pub path: String,
    /// True if containerd resolves tags here (needs `pull` and `resolve`).
    pub resolves: bool,
    /// True if containerd fetches manifests by digest here.
    pub pulls: bool,
    /// The certificates of server and client.
    pub tls: Tls,
    /// The extra headers of every request.
    pub headers: Headers,
    /// The key in `registry.configs` whose `auth` containerd uses if the kubelet sends no credentials.
    pub credentials: Option<String>,
    /// The value of the `ns` query parameter, set if the host is not the image's registry.
    pub namespace: Option<String>,
    /// The time limit of a connection attempt, if it is set.
    pub dial_timeout: Option<Duration>,
    /// The rule that adds this host, and its location. Not compared.
    pub provenance: Provenance,
}

/// The protocol that containerd uses with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTPS only.
    Https,
    /// HTTPS first, and plain HTTP if the server does not support TLS.
    HttpsThenHttp,
}

impl Scheme {
    /// Returns the scheme of a URL. It is `http` for a host that falls back to HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http | Self::HttpsThenHttp => "http",
            Self::Https => "https",
        }
    }
}

/// The TLS settings of a host. The default is the system's certificates and no client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tls {
    /// Accepts any certificate.
    pub skip_verify: bool,
    /// The absolute paths of files with certificates that are trusted in addition to the system's.
    pub ca: Vec<String>,
    /// The absolute paths of client certificates: the certificate file, and the key file if it is a separate file.
    pub client: Vec<(String, Option<String>)>,
}

/// Extra request headers. Values may be secret, so they are compared but never printed.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Headers(BTreeMap<String, Vec<String>>);

impl Headers {
    /// Wraps headers, by name.
    pub fn new(headers: BTreeMap<String, Vec<String>>) -> Self {
        Self(headers)
    }

    /// Returns true if there are no headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns names and secret values, for code that writes a hosts.toml.
    pub fn reveal(&self) -> &BTreeMap<String, Vec<String>> {
        &self.0
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The rule that adds a host to a route, and its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The kind of rule.
    pub rule: Origin,
    /// The location, or `None` if containerd adds the host by default.
    pub place: Option<SourceLocation>,
}

/// The kind of rule that adds a host to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `mirrors."<registry>"`.
    Mirror,
    /// `mirrors."*"`.
    Wildcard,
    /// A hosts.toml of the registry's own directory.
    HostsToml,
    /// The hosts.toml of `_default`.
    DefaultDirectory,
    /// The image's own registry, which containerd adds by itself.
    Upstream,
}

impl PartialEq for RegistryHost {
    fn eq(&self, other: &Self) -> bool {
        // Exhaustive, so that a new field does not compile until it is decided whether a registry can see it.
        let Self {
            scheme,
            host,
            path,
            resolves,
            pulls,
            tls,
            headers,
            credentials,
            namespace,
            dial_timeout,
            provenance: _,
        } = self;
        *scheme == other.scheme
            && *host == other.host
            && *path == other.path
            && *resolves == other.resolves
            && *pulls == other.pulls
            && *tls == other.tls
            && *headers == other.headers
            && *credentials == other.credentials
            && *namespace == other.namespace
            && *dial_timeout == other.dial_timeout
    }
}

impl PartialEq for Route {
    /// Two routes that fail are equal whatever the reason, because neither sends a request. A host that repeats the
    /// previous host is ignored, because a second identical request has the same answer.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hosts(left), Self::Hosts(right)) => without_repeats(left).eq(without_repeats(right)),
            (Self::Fails(_), Self::Fails(_)) => true,
            _ => false,
        }
    }
}

/// Iterates over the hosts without those that repeat the host before them.
fn without_repeats(hosts: &[RegistryHost]) -> impl Iterator<Item = &RegistryHost> {
    let repeats = |at: usize| at > 0 && hosts[at - 1] == hosts[at];
    hosts
        .iter()
        .enumerate()
        .filter(move |(at, _)| !repeats(*at))
        .map(|(_, host)| host)
}

impl RegistryHost {
    /// Returns scheme, host and API root as a URL.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme.as_str(), self.host, self.path)
    }
}

impl Route {
    /// Returns the hosts, or an empty slice if the pull fails.
    pub fn hosts(&self) -> &[RegistryHost] {
        match self {
            Self::Hosts(hosts) => hosts,
            Self::Fails(_) => &[],
        }
    }
}
