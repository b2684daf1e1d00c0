//! What a route of the model looks like from where it leads: who would be asked, and how.

use crate::rehearsal::probe::ReferenceKind;
use crate::rehearsal::report::{ObservedRequest, Transport};
use mirrorshift_containerd::{RegistryHost, Route, Scheme};
use std::net::Ipv6Addr;

/// Who is asked for an image by a route, in order, each once: a digest is looked for at all hosts twice, among manifests and
/// among blobs, and where plain HTTP was fallen back to, TLS is not tried again.
pub fn asked(route: &Route, named: ReferenceKind) -> Vec<ObservedRequest> {
    let asks = route.asks().iter().filter(|ask| match named {
        ReferenceKind::Tag => ask.resolves,
        ReferenceKind::Digest => ask.pulls,
    });
    each_once(asks.flat_map(seen))
}

/// Without those that were asked before, in the order in which they were asked first.
pub(super) fn each_once(all: impl IntoIterator<Item = ObservedRequest>) -> Vec<ObservedRequest> {
    let mut once: Vec<ObservedRequest> = Vec::new();
    for asked in all {
        if !once.contains(&asked) {
            once.push(asked);
        }
    }
    once
}

fn seen(ask: &RegistryHost) -> Vec<ObservedRequest> {
    let wires: &[Transport] = match ask.scheme {
        Scheme::Http => &[Transport::Http],
        Scheme::Https => &[Transport::Tls],
        Scheme::HttpsThenHttp => &[Transport::Tls, Transport::Http],
    };
    // Where both are tried, the port of the first is kept, unless none is written.
    let asked = |wire: &Transport| {
        let usual = match wire {
            Transport::Http => 80,
            Transport::Tls => 443,
        };
        let (host, port) = port_of(&ask.host, usual);
        let plain = *wire == Transport::Http;
        ObservedRequest {
            wire: *wire,
            host,
            port,
            path: plain.then(|| ask.path.clone()),
            namespace: plain.then(|| ask.namespace.clone()).flatten(),
        }
    };
    wires.iter().map(asked).collect()
}

/// The host and port of `host:port`, `host`, `[v6]:port` or `[v6]`, as [`Asked`] has them.
pub fn port_of(authority: &str, usual: u16) -> (String, u16) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(usual)),
        _ => (authority, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = match host.parse::<Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
    };
    (host, port)
}
