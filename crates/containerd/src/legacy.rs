//! Who is asked under `registry.mirrors` and `registry.configs` (`registryHosts` and `registryEndpoints` of the CRI plugin).

use crate::certs;
use crate::image::is_localhost;
use crate::registry::{Mirror, Registry, TlsConfig};
use crate::route::{Ask, Failure, Headers, Origin, Place, Route, Scheme, Tls, Why};
use crate::tree::Tree;
use url::Url;

/// The route of `registry` under the legacy rules.
pub(crate) fn route(settings: &Registry, tree: &Tree, registry: &str) -> Route {
    let (mirror, rule) = match settings.mirror(registry) {
        Some(mirror) => (Some(mirror), Origin::Mirror),
        None => (settings.mirror("*"), Origin::Wildcard),
    };
    let mut asks = Vec::new();
    let mut names_registry = false;
    for (written, place) in mirror.iter().flat_map(|mirror| &mirror.endpoints) {
        let Some(endpoint) = Endpoint::read(written) else {
            return Route::Fails(Failure {
                reason: "an endpoint is no URL, which fails every pull".to_owned(),
                place: Some(place.clone()),
            });
        };
        names_registry |= endpoint.host == registry;
        // An endpoint of another scheme fails at once and the next one is asked.
        let Some(scheme) = endpoint.scheme else { continue };
        let why = Why {
            rule,
            place: Some(place.clone()),
        };
        match ask(settings, tree, registry, scheme, &endpoint, why) {
            Ok(ask) => asks.push(ask),
            Err(failure) => return Route::Fails(failure),
        }
    }
    if !names_registry {
        let upstream = upstream(registry);
        match ask(
            settings,
            tree,
            registry,
            upstream.1,
            &upstream.0,
            Why {
                rule: Origin::Upstream,
                place: None,
            },
        ) {
            Ok(ask) => asks.push(ask),
            Err(failure) => return Route::Fails(failure),
        }
    }
    Route::Hosts(asks)
}

/// Files that must have been read before [`route`] can answer.
pub(crate) fn wanted(settings: &Registry) -> Vec<String> {
    let tls = settings.configs.values().filter_map(|config| config.tls.as_ref());
    let files = tls.flat_map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]);
    files.filter(|path| path.starts_with('/')).cloned().collect()
}

/// An endpoint as the CRI plugin reads it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Nothing for a scheme that no request can be made with.
    pub(crate) scheme: Option<Scheme>,
    /// Host and port as written.
    pub(crate) host: String,
    /// As written; `/v2` when there is none.
    pub(crate) path: String,
}

impl Endpoint {
    /// Reads what stands in an `endpoint` list, or nothing when it cannot be read as a URL.
    pub(crate) fn read(written: &str) -> Option<Self> {
        let (scheme, rest) = match written.split_once("://") {
            Some((scheme, rest)) => (scheme.to_owned(), rest),
            None => {
                let host = host_of(written);
                (if is_localhost(host) { "http" } else { "https" }.to_owned(), written)
            }
        };
        let scheme = scheme.to_ascii_lowercase();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        // The host is kept as written: containerd compares and sends it so. Whether it is one is for the library to say.
        let readable = !rest.bytes().any(|byte| byte.is_ascii_control() || byte == b' ');
        let checked = Url::parse(&format!("http://{host}/")).is_ok_and(|url| url.host().is_some());
        if !readable || !checked {
            return None;
        }
        let path = rest[authority.len()..].split(['?', '#']).next().unwrap_or_default();
        let path = if path.is_empty() { "/v2" } else { path };
        let scheme = match scheme.as_str() {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => None,
        };
        Some(Self {
            scheme,
            host: host.to_owned(),
            path: collapse(path),
        })
    }
}

fn host_of(written: &str) -> &str {
    written.split('/').next().unwrap_or(written)
}

/// A request joins the path and the rest of its URL with `path.Join`, so doubled and trailing slashes never show.
pub(crate) fn collapse(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| ["/", part]).collect()
}

/// The registry's own host, which is asked last.
fn upstream(registry: &str) -> (Endpoint, Scheme) {
    let host = if registry == "docker.io" {
        "registry-1.docker.io"
    } else {
        registry
    };
    let scheme = if is_localhost(host) {
        Scheme::Http
    } else {
        Scheme::Https
    };
    (
        Endpoint {
            scheme: Some(scheme),
            host: host.to_owned(),
            path: "/v2".to_owned(),
        },
        scheme,
    )
}

fn ask(
    settings: &Registry,
    tree: &Tree,
    registry: &str,
    scheme: Scheme,
    endpoint: &Endpoint,
    why: Why,
) -> Result<Ask, Failure> {
    let config = settings.configs.get(&endpoint.host);
    let tls = match config.and_then(|config| config.tls.as_ref()) {
        Some(config) => tls(config, tree)?,
        None => Tls::default(),
    };
    Ok(Ask {
        scheme,
        host: endpoint.host.clone(),
        path: endpoint.path.clone(),
        resolves: true,
        pulls: true,
        // On plain HTTP there is nothing to verify.
        tls: if scheme == Scheme::Http { Tls::default() } else { tls },
        headers: Headers::default(),
        credentials: config
            .and_then(|config| config.auth.as_ref())
            .map(|_| endpoint.host.clone()),
        namespace: namespace(registry, &endpoint.host),
        dial_timeout: None,
        why,
    })
}

/// The `ns` that a host other than the registry's own is told (core/remotes/docker/registry.go, `isProxy`).
pub(crate) fn namespace(registry: &str, host: &str) -> Option<String> {
    let own = host == registry || registry == "docker.io" && host == "registry-1.docker.io";
    (!own).then(|| registry.to_owned())
}

/// `getTLSConfig`: an unreadable file fails the pull, a CA file without a certificate counts for nothing.
fn tls(config: &TlsConfig, tree: &Tree) -> Result<Tls, Failure> {
    let fails = |reason: String| Failure {
        reason,
        place: config.place.clone(),
    };
    let read = |path: &String| tree.file(path).ok_or_else(|| fails(format!("cannot read `{path}`")));
    let mut tls = Tls {
        skip_verify: config.insecure_skip_verify,
        ..Tls::default()
    };
    if !config.ca_file.is_empty() && certs::holds_certificate(read(&config.ca_file)?) {
        tls.ca.push(config.ca_file.clone());
    }
    match (config.cert_file.is_empty(), config.key_file.is_empty()) {
        (true, true) => {}
        (false, false) => {
            certs::check_pair(read(&config.cert_file)?, read(&config.key_file)?)
                .map_err(|why| fails(why.to_owned()))?;
            tls.client
                .push((config.cert_file.clone(), Some(config.key_file.clone())));
        }
        _ => return Err(fails("`cert_file` and `key_file` must both be set".to_owned())),
    }
    Ok(tls)
}

impl Mirror {
    /// The endpoints' hosts, as far as they can be read.
    pub fn hosts(&self) -> impl Iterator<Item = String> {
        self.endpoints
            .iter()
            .filter_map(|(written, _)| Some(Endpoint::read(written)?.host))
    }
}

/// What a place-less failure is told with.
pub(crate) fn failure(reason: &str, place: Option<&Place>) -> Route {
    Route::Fails(Failure {
        reason: reason.to_owned(),
        place: place.cloned(),
    })
}
