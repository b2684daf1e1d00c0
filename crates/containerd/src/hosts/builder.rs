//! Hosts of a route, made from the settings of a hosts.toml: the defaults of the last host, the scheme, TLS and headers.

use crate::hosts::fields::Host;
use crate::hosts::file::Hosts;
use crate::hosts::url::{is_localhost, port};
use crate::route::{Origin, Provenance, RegistryHost, Scheme, SourceLocation, Tls};
use crate::rules::Rule;
use crate::version::Version;

/// Makes the hosts of a route for one registry.
pub(super) struct HostBuilder<'a> {
    pub(super) version: &'a Version,
    /// The host of the image reference, `docker.io` included.
    pub(super) registry: &'a str,
    /// The hosts.toml.
    pub(super) path: Option<&'a str>,
    pub(super) origin: Origin,
    /// Returns the key in `registry.configs` whose `auth` containerd sends to a host.
    pub(super) credentials: &'a dyn Fn(&str) -> Option<String>,
}

impl HostBuilder<'_> {
    /// Returns the hosts in order, without those that containerd skips because it cannot send a request to them.
    pub(super) fn all(&self, hosts: Hosts) -> Vec<RegistryHost> {
        let root = self.with_default(hosts.root);
        let origin = if root.line.is_some() {
            self.origin
        } else {
            Origin::Upstream
        };
        let tables = hosts.tables.into_iter().map(|host| (host, self.origin));
        let all = tables.chain([(root, origin)]);
        all.filter(|(host, _)| can_be_contacted(host))
            .map(|(host, origin)| self.route_host(host, origin))
            .collect()
    }

    /// Replaces a root without a host by the registry itself, as containerd does. It keeps the settings of TLS, headers and
    /// timeout, but not capabilities and path.
    pub(super) fn with_default(&self, root: Host) -> Host {
        if !root.authority.is_empty() {
            return root;
        }
        let registry = self.registry;
        let mut host = Host {
            path: "/v2".to_owned(),
            pulls: true,
            resolves: true,
            line: None,
            ..root
        };
        "https".clone_into(&mut host.scheme);
        registry.clone_into(&mut host.authority);
        if registry == "docker.io" {
            "registry-1.docker.io".clone_into(&mut host.authority);
        } else if is_localhost(registry) && self.version.has(Rule::LocalhostByHttp) {
            let by_port = self.version.has(Rule::LocalhostByPort);
            if !(by_port && matches!(port(registry), "" | "443")) {
                "http".clone_into(&mut host.scheme);
            }
            if !(by_port && port(registry) == "80") {
                host.skip_verify = Some(true);
            }
        }
        host
    }

    fn route_host(&self, host: Host, origin: Origin) -> RegistryHost {
        let scheme = scheme(self.version, &host);
        // A registry cannot notice these over plain HTTP.
        let tls = match scheme {
            Scheme::Http => Tls::default(),
            _ => Tls {
                skip_verify: host.skip_verify == Some(true),
                ca: host.ca.unwrap_or_default(),
                client: host.client,
            },
        };
        let own =
            host.authority == self.registry || self.registry == "docker.io" && host.authority == "registry-1.docker.io";
        let place = self.path.filter(|_| origin != Origin::Upstream);
        RegistryHost {
            scheme,
            path: host.path,
            resolves: host.resolves,
            pulls: host.pulls,
            tls,
            headers: host.headers,
            credentials: (self.credentials)(&host.authority),
            namespace: (!own).then(|| self.registry.to_owned()),
            dial_timeout: host.dial_timeout,
            provenance: Provenance {
                rule: origin,
                place: place.map(|path| SourceLocation {
                    path: path.to_owned(),
                    line: host.line,
                }),
            },
            host: host.authority,
        }
    }
}

/// Returns true if Go can send a request to the host.
pub(super) fn can_be_contacted(host: &Host) -> bool {
    matches!(host.scheme.as_str(), "http" | "https") && !host.authority.is_empty()
}

/// Returns true if the host has a TLS setting; `skip_verify = false` is one.
fn has_tls(version: &Version, host: &Host) -> bool {
    host.ca.is_some()
        || !host.client.is_empty()
        || host.skip_verify.is_some()
        || host.dial_timeout.is_some() && version.has(Rule::DialTimeoutCountsAsTls)
}

/// Returns true if containerd tries HTTPS first on this http host.
pub(super) fn https_first(version: &Version, host: &Host) -> bool {
    let by_port = match port(&host.authority) {
        "" => Rule::HttpsFirstWithoutPort,
        "80" => Rule::HttpsFirstOnPort80,
        _ => Rule::HttpsFirstWithPort,
    };
    host.scheme == "http" && has_tls(version, host) && version.has(by_port)
}

fn scheme(version: &Version, host: &Host) -> Scheme {
    match host.scheme.as_str() {
        "http" if https_first(version, host) => Scheme::HttpsThenHttp,
        "http" => Scheme::Http,
        _ => Scheme::Https,
    }
}
