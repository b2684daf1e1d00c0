//! Routes, findings and places, which several documents hold.

use crate::wording::registry_name;
use mirrorshift_containerd as containerd;
use mirrorshift_containerd::Origin;
use mirrorshift_containerd::redact;
use serde::Serialize;

/// A line of a file.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct LocationDocument {
    /// Absolute path as the node sees it.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: Option<usize>,
}

impl LocationDocument {
    pub(crate) fn of(place: &containerd::SourceLocation) -> Self {
        Self {
            file: place.path.clone(),
            line: place.line,
        }
    }
}

/// The routes of one registry before and after.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteChange {
    /// The registry; null stands for every registry that nothing names.
    registry: Option<String>,
    before: Route,
    after: Route,
    /// Whether a registry could tell them apart.
    differs: bool,
    /// The keys of the policy that asked for a difference.
    asked_by: Vec<String>,
}

impl RouteChange {
    pub(crate) fn of(change: &mirrorshift_plan::RouteChange) -> Self {
        Self {
            registry: registry_name(&change.registry),
            before: Route::of(&change.before),
            after: Route::of(&change.after),
            differs: change.differs(),
            asked_by: change.asked_by.clone(),
        }
    }
}

/// Who is asked.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Route {
    /// The hosts in their order; none when the pull fails before anybody is asked.
    hosts: Vec<HostDocument>,
    /// Why the pull fails before anybody is asked.
    fails: Option<ErrorDocument>,
}

/// Why a pull fails before anybody is asked.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ErrorDocument {
    reason: String,
    place: Option<LocationDocument>,
}

impl Route {
    pub(crate) fn of(route: &containerd::Route) -> Self {
        let fails = match route {
            containerd::Route::Hosts(_) => None,
            containerd::Route::Fails(failure) => Some(ErrorDocument {
                reason: redact::free_text(&failure.reason),
                place: failure.place.as_ref().map(LocationDocument::of),
            }),
        };
        Self {
            hosts: route.asks().iter().map(HostDocument::of).collect(),
            fails,
        }
    }
}

/// One host that is asked.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostDocument {
    /// Scheme, host and the root of the API.
    url: String,
    /// `http`, `https`, or `https-then-http`.
    scheme: &'static str,
    /// Host and port; `unnamed.invalid` stands for the registry that nothing names.
    host: String,
    /// The root of the API.
    path: String,
    /// What it may be asked for: `pull`, `resolve`.
    capabilities: Vec<&'static str>,
    tls: Tls,
    /// The names of extra request headers. Their values are never told.
    headers: Vec<String>,
    /// The key below `registry.configs` whose `auth` is used when the kubelet sends no credentials.
    credentials: Option<String>,
    /// The `ns` query parameter.
    namespace: Option<String>,
    /// Seconds that a connection may take.
    dial_timeout_seconds: Option<f64>,
    /// The rule that put the host here: `mirror`, `wildcard`, `hosts-toml`, `default-directory`, `upstream`.
    rule: &'static str,
    /// Where the rule stands.
    place: Option<LocationDocument>,
}

/// How the server is verified and the client shown.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
struct Tls {
    /// Any certificate is taken.
    skip_verify: bool,
    /// Files of certificates that are trusted beside the system's.
    ca: Vec<String>,
    /// Client certificates.
    client: Vec<Client>,
}

/// A client certificate.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Client {
    certificate: String,
    /// Where the key is another file.
    key: Option<String>,
}

impl HostDocument {
    fn of(ask: &containerd::RegistryHost) -> Self {
        let client = |(certificate, key): &(String, Option<String>)| Client {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let capabilities = [("pull", ask.pulls), ("resolve", ask.resolves)];
        Self {
            url: redact::free_text(&ask.url()),
            scheme: match ask.scheme {
                containerd::Scheme::Http => "http",
                containerd::Scheme::Https => "https",
                containerd::Scheme::HttpsThenHttp => "https-then-http",
            },
            host: redact::free_text(&ask.host),
            path: ask.path.clone(),
            capabilities: capabilities
                .iter()
                .filter(|(_, may)| *may)
                .map(|(name, _)| *name)
                .collect(),
            tls: Tls {
                skip_verify: ask.tls.skip_verify,
                ca: ask.tls.ca.clone(),
                client: ask.tls.client.iter().map(client).collect(),
            },
            headers: ask.headers.names().map(str::to_owned).collect(),
            credentials: ask.credentials.as_deref().map(redact::free_text),
            namespace: ask.namespace.clone(),
            dial_timeout_seconds: ask.dial_timeout.map(|timeout| timeout.as_secs_f64()),
            rule: match ask.why.rule {
                Origin::Mirror => "mirror",
                Origin::Wildcard => "wildcard",
                Origin::HostsToml => "hosts-toml",
                Origin::DefaultDirectory => "default-directory",
                Origin::Upstream => "upstream",
            },
            place: ask.why.place.as_ref().map(LocationDocument::of),
        }
    }
}

/// One thing that an operator should know.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct Finding {
    /// A stable name.
    id: &'static str,
    /// `refuses`, `breaks`, `ignored`, `deprecated`, `advice`: worst first.
    severity: &'static str,
    place: Option<LocationDocument>,
    /// What was found.
    what: String,
    /// What containerd does about it.
    effect: String,
    /// What to do about it.
    remedy: String,
}

impl Finding {
    pub(crate) fn of(finding: &containerd::Finding) -> Self {
        Self {
            id: finding.id.as_str(),
            severity: finding.severity.as_str(),
            place: finding.place.as_ref().map(LocationDocument::of),
            what: redact::free_text(&finding.what),
            effect: redact::free_text(&finding.effect),
            remedy: redact::free_text(&finding.remedy),
        }
    }
}
