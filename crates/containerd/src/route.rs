//! Who is asked for an image, in order: one type for the rules of `registry.mirrors` and for those of hosts.toml.
//!
//! Routes compare by what a registry would see. Where a setting was read from (`Place`) never takes part.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Where something stands: a file of the node and a line, counted from 1, when there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceLocation {
    /// Absolute path as the node sees it.
    pub path: String,
    /// Line in that file, from 1.
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

/// Who is asked for the images of one registry.
#[derive(Clone, Debug)]
pub enum Route {
    /// These hosts, in this order, each when the one before did not have it. A tag is looked up only at hosts that
    /// resolve; layers are fetched from all of them.
    Hosts(Vec<RegistryHost>),
    /// Nobody: the pull fails before a request is made.
    Fails(Failure),
}

/// Why a pull fails before anybody is asked.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What is wrong, as a fragment such as "cannot read CA file `/etc/ssl/x.crt`".
    pub reason: String,
    /// The setting that is to blame.
    pub place: Option<SourceLocation>,
}

/// One host that is asked.
#[derive(Clone, Debug)]
pub struct RegistryHost {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Host and port as the request names them.
    pub host: String,
    /// API root without a trailing slash: `/v2`, `/v2/proxy`, or empty.
    pub path: String,
    /// Whether tags are resolved here (needs pull and resolve).
    pub resolves: bool,
    /// Whether manifests named by digest are looked up here.
    pub pulls: bool,
    /// How the server is verified and the client shown.
    pub tls: Tls,
    /// Extra headers on every request.
    pub headers: Headers,
    /// The key below `registry.configs` whose `auth` is used when the kubelet sends no credentials.
    pub credentials: Option<String>,
    /// The value of the `ns` query parameter, set when the host is not the image's own.
    pub namespace: Option<String>,
    /// How long a connection attempt may take, where it is set.
    pub dial_timeout: Option<Duration>,
    /// Which rule put this host here, and where it stands. Not compared.
    pub why: Provenance,
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTPS only.
    Https,
    /// HTTPS first, and plain HTTP when the server does not speak TLS.
    HttpsThenHttp,
}

impl Scheme {
    /// As it stands in a URL; a host that falls back to HTTP was written with `http`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http | Self::HttpsThenHttp => "http",
            Self::Https => "https",
        }
    }
}

/// TLS settings of one host. Empty means the system's certificates and no client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tls {
    /// Accept any certificate.
    pub skip_verify: bool,
    /// Files with certificates trusted beside the system's, absolute.
    pub ca: Vec<String>,
    /// Client certificates: certificate file, and key file when it is another one. Absolute.
    pub client: Vec<(String, Option<String>)>,
}

/// Extra request headers. Values may be secrets: they compare, and are never printed.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Headers(BTreeMap<String, Vec<String>>);

impl Headers {
    /// Headers of these names and values.
    pub fn new(headers: BTreeMap<String, Vec<String>>) -> Self {
        Self(headers)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Names and secret values, for the one who writes a hosts.toml.
    pub fn reveal(&self) -> &BTreeMap<String, Vec<String>> {
        &self.0
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Which rule named a host, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The rule.
    pub rule: Origin,
    /// Where it stands; nothing for what containerd does by itself.
    pub place: Option<SourceLocation>,
}

/// The rule that put a host on a route.
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
        // Exhaustive on purpose: a new field must decide whether a registry could see it.
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
            why: _,
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
    /// Two routes that fail are equal whatever the reason: nobody is asked in either. Asking one host for one thing twice
    /// in a row tells nothing that asking once does not.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hosts(one), Self::Hosts(two)) => once(one).eq(once(two)),
            (Self::Fails(_), Self::Fails(_)) => true,
            _ => false,
        }
    }
}

/// The asks without those that repeat the one before.
fn once(asks: &[RegistryHost]) -> impl Iterator<Item = &RegistryHost> {
    let repeats = |at: usize| at > 0 && asks[at - 1] == asks[at];
    asks.iter()
        .enumerate()
        .filter(move |(at, _)| !repeats(*at))
        .map(|(_, ask)| ask)
}

impl RegistryHost {
    /// Scheme, host and API root as one URL.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme.as_str(), self.host, self.path)
    }
}

impl Route {
    /// The hosts asked; none when the pull fails.
    pub fn asks(&self) -> &[RegistryHost] {
        match self {
            Self::Hosts(asks) => asks,
            Self::Fails(_) => &[],
        }
    }
}
