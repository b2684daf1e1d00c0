//! Routes by `registry.mirrors` and `registry.configs` (`registryHosts` and `registryEndpoints` of the CRI plugin).

use crate::certs;
use crate::hosts::url::{self, is_localhost};
use crate::registry::{Mirror, Registry, TlsConfig};
use crate::route::{Failure, Headers, Origin, Provenance, RegistryHost, Route, Scheme, SourceLocation, Tls};
use crate::tree::Tree;

/// Returns the route of `registry` by `mirrors` and `configs`.
pub(crate) fn route(settings: &Registry, tree: &Tree, registry: &str) -> Route {
    match walk(settings, CertificateFiles::Checked(tree), registry) {
        Ok(hosts) => Route::Hosts(hosts),
        Err(failure) => Route::Fails(failure),
    }
}

/// Returns the hosts that the settings list. Certificates that they name need not be readable.
///
/// # Errors
///
/// Fails if an endpoint is not a URL.
pub(crate) fn literal_endpoints(settings: &Registry, registry: &str) -> Result<Vec<RegistryHost>, Failure> {
    walk(settings, CertificateFiles::Ignored, registry)
}

/// Controls the check of certificate files.
#[derive(Clone, Copy)]
enum CertificateFiles<'t> {
    Checked(&'t Tree),
    Ignored,
}

fn walk(settings: &Registry, files: CertificateFiles<'_>, registry: &str) -> Result<Vec<RegistryHost>, Failure> {
    let (mirror, rule) = match settings.mirror(registry) {
        Some(mirror) => (Some(mirror), Origin::Mirror),
        None => (settings.mirror("*"), Origin::Wildcard),
    };
    let mut hosts = Vec::new();
    let mut names_registry = false;
    for (written, place) in mirror.iter().flat_map(|mirror| &mirror.endpoints) {
        let Some(endpoint) = Endpoint::read(written) else {
            return Err(Failure {
                reason: "an endpoint is not a URL, so every pull fails".to_owned(),
                place: Some(place.clone()),
            });
        };
        names_registry |= endpoint.host == registry;
        // An endpoint with another scheme fails at once, and containerd tries the next one.
        let Some(scheme) = endpoint.scheme else { continue };
        let why = Provenance {
            rule,
            place: Some(place.clone()),
        };
        hosts.push(route_host(settings, files, registry, scheme, &endpoint, why)?);
    }
    if !names_registry {
        let (endpoint, scheme) = upstream(registry);
        hosts.push(route_host(
            settings,
            files,
            registry,
            scheme,
            &endpoint,
            Provenance {
                rule: Origin::Upstream,
                place: None,
            },
        )?);
    }
    Ok(hosts)
}

/// Returns the host for a mirror at this URL, as if it were an endpoint.
pub(crate) fn mirror(
    settings: &Registry,
    tree: &Tree,
    registry: &str,
    url: &str,
    why: Provenance,
) -> Result<RegistryHost, Failure> {
    let unreadable = || Failure {
        reason: "not an http or https URL".to_owned(),
        place: why.place.clone(),
    };
    let endpoint = Endpoint::read(url).ok_or_else(unreadable)?;
    let scheme = endpoint.scheme.ok_or_else(unreadable)?;
    route_host(
        settings,
        CertificateFiles::Checked(tree),
        registry,
        scheme,
        &endpoint,
        why,
    )
}

/// Returns the files that [`route`] needs.
pub(crate) fn required_paths(settings: &Registry) -> Vec<String> {
    let tls = settings.configs.values().filter_map(|config| config.tls.as_ref());
    let files = tls.flat_map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]);
    files
        .map(|path| absolute(path))
        .filter(|path| !path.is_empty())
        .collect()
}

/// An endpoint as the CRI plugin reads it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// `None` for a scheme that containerd cannot use.
    pub(crate) scheme: Option<Scheme>,
    /// Host and port as written.
    pub(crate) host: String,
    /// The path as written; `/v2` if there is none.
    pub(crate) path: String,
}

impl Endpoint {
    /// Parses an entry of an `endpoint` list; returns `None` if it is not a URL.
    pub(crate) fn read(written: &str) -> Option<Self> {
        let written = if written.contains("://") {
            written.to_owned()
        } else {
            let host = url::parse(&format!("dummy://{written}")).ok()?.host;
            let scheme = if is_localhost(&host) { "http" } else { "https" };
            format!("{scheme}://{written}")
        };
        let read = url::parse(&written).ok()?;
        let scheme = match read.scheme.as_str() {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => None,
        };
        // A request without a host fails like one with an unknown scheme.
        let scheme = scheme.filter(|_| !read.host.is_empty());
        let path = if read.path.is_empty() { "/v2" } else { &read.path };
        Some(Self {
            scheme,
            host: read.host,
            path: clean_path(path),
        })
    }
}

/// Returns the parts of an `endpoint` that containerd does not send. It uses only scheme, host and path of the URL
/// (`registryHosts` of its CRI plugin).
pub fn ignored_url_parts(written: &str) -> Vec<&'static str> {
    let rest = written.split_once("://").map_or(written, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (before, fragment) = rest.split_once('#').map_or((rest, false), |(before, _)| (before, true));
    let parts = [
        ("user-info", authority.contains('@')),
        ("a query", before.contains('?')),
        ("a fragment", fragment),
    ];
    parts
        .into_iter()
        .filter(|(_, is_present)| *is_present)
        .map(|(name, _)| name)
        .collect()
}

/// Cleans a path. A request joins it with the rest of its URL by `path.Join`, which removes double and trailing slashes.
fn clean_path(path: &str) -> String {
    match url::clean(path).as_str() {
        "/" => String::new(),
        clean => clean.to_owned(),
    }
}

/// Returns the registry's own host, which containerd tries last.
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

fn route_host(
    settings: &Registry,
    files: CertificateFiles<'_>,
    registry: &str,
    scheme: Scheme,
    endpoint: &Endpoint,
    why: Provenance,
) -> Result<RegistryHost, Failure> {
    let config = settings.configs.get(&endpoint.host);
    let tls = match config.and_then(|config| config.tls.as_ref()) {
        Some(config) => tls(config, files)?,
        None => Tls::default(),
    };
    Ok(RegistryHost {
        scheme,
        host: endpoint.host.clone(),
        path: endpoint.path.clone(),
        resolves: true,
        pulls: true,
        // Plain HTTP has no certificates.
        tls: if scheme == Scheme::Http { Tls::default() } else { tls },
        headers: Headers::default(),
        credentials: config
            .and_then(|config| config.auth.as_ref())
            .map(|_| endpoint.host.clone()),
        namespace: namespace(registry, &endpoint.host),
        dial_timeout: None,
        provenance: why,
    })
}

/// Returns the `ns` parameter for a host other than the registry's own (core/remotes/docker/registry.go, `isProxy`).
pub(crate) fn namespace(registry: &str, host: &str) -> Option<String> {
    let own = host == registry || registry == "docker.io" && host == "registry-1.docker.io";
    (!own).then(|| registry.to_owned())
}

/// Returns the TLS settings of a host as `getTLSConfig` does: an unreadable file makes the pull fail, and a CA file without
/// a certificate is ignored.
fn tls(config: &TlsConfig, files: CertificateFiles<'_>) -> Result<Tls, Failure> {
    let mut tls = Tls {
        skip_verify: config.insecure_skip_verify,
        ..Tls::default()
    };
    let (ca, certificate, key) = (
        absolute(&config.ca_file),
        absolute(&config.cert_file),
        absolute(&config.key_file),
    );
    if !ca.is_empty() {
        tls.ca.push(ca.clone());
    }
    if !certificate.is_empty() || !key.is_empty() {
        tls.client
            .push((certificate.clone(), Some(key.clone()).filter(|key| !key.is_empty())));
    }
    let CertificateFiles::Checked(tree) = files else {
        return Ok(tls);
    };
    let fails = |reason: String| Failure {
        reason,
        place: config.place.clone(),
    };
    let read = |path: &String| tree.file(path).ok_or_else(|| fails(format!("cannot read `{path}`")));
    if !ca.is_empty() && !certs::holds_certificate(read(&ca)?) {
        tls.ca.clear();
    }
    match (certificate.is_empty(), key.is_empty()) {
        (true, true) => {}
        (false, false) => certs::check_pair(read(&certificate)?, read(&key)?).map_err(|_| {
            fails(format!(
                "no usable pair of certificate and key in `{certificate}` and `{key}`"
            ))
        })?,
        _ => return Err(fails("`cert_file` and `key_file` must both be set".to_owned())),
    }
    Ok(tls)
}

/// Resolves a relative path in the daemon's working directory, which is `/` under systemd.
fn absolute(path: &str) -> String {
    match path {
        "" => String::new(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    }
}

impl Mirror {
    /// Iterates over the hosts of the endpoints that are URLs.
    pub fn hosts(&self) -> impl Iterator<Item = String> {
        self.endpoints
            .iter()
            .filter_map(|(written, _)| Some(Endpoint::read(written)?.host))
    }
}

/// Builds a route that fails.
pub(crate) fn failure(reason: &str, place: Option<&SourceLocation>) -> Route {
    Route::Fails(Failure {
        reason: reason.to_owned(),
        place: place.cloned(),
    })
}
