//! The requests that a registry sees when containerd uses a route of the model.

use crate::rehearsal::probe::ReferenceKind;
use crate::rehearsal::report::{ObservedRequest, Transport};
use mirrorshift_containerd::{RegistryHost, Route, Scheme};
use std::net::Ipv6Addr;

/// Returns the requests that containerd sends for an image, in order, each once.
///
/// containerd requests a digest from all hosts twice, as a manifest and as a blob. After a fallback to plain HTTP it does not
/// try TLS again.
pub fn expected_requests(route: &Route, named: ReferenceKind) -> Vec<ObservedRequest> {
    let hosts = route.hosts().iter().filter(|host| match named {
        ReferenceKind::Tag => host.resolves,
        ReferenceKind::Digest => host.pulls,
    });
    each_once(hosts.flat_map(requests))
}

/// Returns the requests without repetitions, in the order of their first occurrence.
pub(super) fn each_once(all: impl IntoIterator<Item = ObservedRequest>) -> Vec<ObservedRequest> {
    let mut once: Vec<ObservedRequest> = Vec::new();
    for request in all {
        if !once.contains(&request) {
            once.push(request);
        }
    }
    once
}

fn requests(registry_host: &RegistryHost) -> Vec<ObservedRequest> {
    let transports: &[Transport] = match registry_host.scheme {
        Scheme::Http => &[Transport::Http],
        Scheme::Https => &[Transport::Tls],
        Scheme::HttpsThenHttp => &[Transport::Tls, Transport::Http],
    };
    // When containerd tries both, it keeps the port of the first, unless the URL has none.
    let request = |transport: &Transport| {
        let default_port = match transport {
            Transport::Http => 80,
            Transport::Tls => 443,
        };
        let (host, port) = port_of(&registry_host.host, default_port);
        let is_plain = *transport == Transport::Http;
        ObservedRequest {
            wire: *transport,
            host,
            port,
            path: is_plain.then(|| registry_host.path.clone()),
            namespace: is_plain.then(|| registry_host.namespace.clone()).flatten(),
        }
    };
    transports.iter().map(request).collect()
}

/// Splits `host:port`, `host`, `[v6]:port` or `[v6]` into the host and the port of an [`ObservedRequest`].
pub fn port_of(authority: &str, default_port: u16) -> (String, u16) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(default_port)),
        _ => (authority, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = match host.parse::<Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
    };
    (host, port)
}
