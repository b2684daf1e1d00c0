//! Routes, findings, locations and sources, which several documents contain.

use crate::results::source_files::{SourceFile, SourceFiles};
use crate::wording::{name_unnamed_host, registry_key};
use mirrorshift_containerd as containerd;
use mirrorshift_containerd::Origin;
use mirrorshift_containerd::redact;
use serde::Serialize;

/// A line of a file.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct LocationDocument {
    /// Absolute path as the node sees it.
    pub(crate) path: String,
    /// The first line is 1.
    pub(crate) line: Option<usize>,
}

impl LocationDocument {
    pub(crate) fn of(place: &containerd::SourceLocation) -> Self {
        Self {
            path: place.path.clone(),
            line: place.line,
        }
    }
}

/// The routes of one registry before and after.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteChangeDocument {
    /// The registry. `*` stands for any other registry: every registry that no setting names.
    registry: String,
    before: RouteDocument,
    after: RouteDocument,
    /// True if containerd tries other hosts, or sends them other requests.
    differs: bool,
    /// The keys of the policy that request a difference.
    requested_by: Vec<String>,
}

impl RouteChangeDocument {
    pub(crate) fn of(change: &mirrorshift_plan::RouteChange) -> Self {
        Self {
            registry: registry_key(&change.registry),
            before: RouteDocument::of(&change.before),
            after: RouteDocument::of(&change.after),
            differs: change.differs(),
            requested_by: change.policy_keys.clone(),
        }
    }
}

/// The hosts that containerd tries.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteDocument {
    /// The hosts in the order in which containerd tries them; empty if the pull fails before the first request.
    hosts: Vec<HostDocument>,
    /// The reason why the pull fails before the first request.
    error: Option<RouteErrorDocument>,
}

/// The reason why a pull fails before the first request.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct RouteErrorDocument {
    message: String,
    location: Option<LocationDocument>,
}

impl RouteDocument {
    pub(crate) fn of(route: &containerd::Route) -> Self {
        let error = match route {
            containerd::Route::Hosts(_) => None,
            containerd::Route::Fails(failure) => Some(RouteErrorDocument {
                message: redact::free_text(&failure.reason),
                location: failure.place.as_ref().map(LocationDocument::of),
            }),
        };
        Self {
            hosts: route.hosts().iter().map(HostDocument::of).collect(),
            error,
        }
    }
}

/// A host that containerd tries.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostDocument {
    /// The scheme, the host and the root of the API.
    url: String,
    /// `http`, `https`, or `https-then-http`.
    scheme: &'static str,
    /// The host and port. `<registry>` stands for the host of any other registry.
    host: String,
    /// The root of the API.
    path: String,
    /// `pull` (layers), `resolve` (tags).
    capabilities: Vec<&'static str>,
    tls: TlsDocument,
    /// The names of extra request headers. Values are never printed.
    headers: Vec<String>,
    /// The key under `registry.configs` whose `auth` is used if the kubelet sends no credentials.
    credentials: Option<String>,
    /// The `ns` query parameter.
    namespace: Option<String>,
    /// The timeout of a connection in seconds.
    dial_timeout_seconds: Option<f64>,
    /// The rule that added the host: `mirror`, `wildcard`, `hosts-toml`, `default-directory`, `upstream`.
    rule: &'static str,
    /// The location of the rule.
    location: Option<LocationDocument>,
}

/// The TLS settings of a host.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
struct TlsDocument {
    /// True if the certificate is not verified.
    skip_verify: bool,
    /// Files of certificates that are trusted in addition to those of the system.
    ca: Vec<String>,
    client: Vec<ClientCertificateDocument>,
}

/// A client certificate.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ClientCertificateDocument {
    certificate: String,
    /// The file of the key, if it is not the same file.
    key: Option<String>,
}

impl HostDocument {
    fn of(host: &containerd::RegistryHost) -> Self {
        let client = |(certificate, key): &(String, Option<String>)| ClientCertificateDocument {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let capabilities = [("pull", host.pulls), ("resolve", host.resolves)];
        Self {
            url: redact::free_text(&name_unnamed_host(&host.url())),
            scheme: match host.scheme {
                containerd::Scheme::Http => "http",
                containerd::Scheme::Https => "https",
                containerd::Scheme::HttpsThenHttp => "https-then-http",
            },
            host: redact::free_text(&name_unnamed_host(&host.host)),
            path: host.path.clone(),
            capabilities: capabilities
                .iter()
                .filter(|(_, has)| *has)
                .map(|(name, _)| *name)
                .collect(),
            tls: TlsDocument {
                skip_verify: host.tls.skip_verify,
                ca: host.tls.ca.clone(),
                client: host.tls.client.iter().map(client).collect(),
            },
            headers: host.headers.names().map(str::to_owned).collect(),
            credentials: host.credentials.as_deref().map(redact::free_text),
            namespace: host.namespace.clone(),
            dial_timeout_seconds: host.dial_timeout.map(|timeout| timeout.as_secs_f64()),
            rule: match host.provenance.rule {
                Origin::Mirror => "mirror",
                Origin::Wildcard => "wildcard",
                Origin::HostsToml => "hosts-toml",
                Origin::DefaultDirectory => "default-directory",
                Origin::Upstream => "upstream",
            },
            location: host.provenance.place.as_ref().map(LocationDocument::of),
        }
    }
}

/// A setting that containerd rejects, ignores or will drop.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct FindingDocument {
    /// The stable name. `mirrorshift explain ID` explains it.
    id: &'static str,
    /// `refuses`, `breaks`, `ignored`, `deprecated`, `advice`: worst first.
    severity: &'static str,
    location: Option<LocationDocument>,
    /// The setting, in a sentence.
    summary: String,
    /// The consequence: containerd's behavior.
    effect: String,
    remedy: String,
}

impl FindingDocument {
    pub(crate) fn of(finding: &containerd::Finding) -> Self {
        Self {
            id: finding.id.as_str(),
            severity: finding.severity.as_str(),
            location: finding.place.as_ref().map(LocationDocument::of),
            summary: redact::free_text(&finding.what),
            effect: redact::free_text(&finding.effect),
            remedy: redact::free_text(&finding.remedy),
        }
    }
}

/// A file that the command tried to read.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct SourceDocument {
    /// Absolute path as the node sees it.
    path: String,
    /// False if there is no such file.
    found: bool,
}

impl SourceDocument {
    pub(crate) fn all(sources: &SourceFiles) -> Vec<Self> {
        let document = |file: &SourceFile| Self {
            path: file.path.clone(),
            found: file.found,
        };
        sources.files.iter().map(document).collect()
    }
}
