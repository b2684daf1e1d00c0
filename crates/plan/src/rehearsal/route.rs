//! What a route of the model looks like from where it leads: who would be asked, and how.

use super::heard::{Asked, Wire};
use super::probe::Named;
use mirrorshift_containerd::{Ask, Route, Scheme};
use std::net::Ipv6Addr;

/// Who is asked for an image by a route, in order, each once: a digest is looked for at all hosts twice, among manifests and
/// among blobs, and where plain HTTP was fallen back to, TLS is not tried again.
pub fn asked(route: &Route, named: Named) -> Vec<Asked> {
    let asks = route.asks().iter().filter(|ask| match named {
        Named::Tag => ask.resolves,
        Named::Digest => ask.pulls,
    });
    each_once(asks.flat_map(seen))
}

/// Without those that were asked before, in the order in which they were asked first.
pub(super) fn each_once(all: impl IntoIterator<Item = Asked>) -> Vec<Asked> {
    let mut once: Vec<Asked> = Vec::new();
    for asked in all {
        if !once.contains(&asked) {
            once.push(asked);
        }
    }
    once
}

fn seen(ask: &Ask) -> Vec<Asked> {
    let wires: &[Wire] = match ask.scheme {
        Scheme::Http => &[Wire::Http],
        Scheme::Https => &[Wire::Tls],
        Scheme::HttpsThenHttp => &[Wire::Tls, Wire::Http],
    };
    // Where both are tried, the port of the first is kept, unless none is written.
    let asked = |wire: &Wire| {
        let usual = match wire {
            Wire::Http => 80,
            Wire::Tls => 443,
        };
        let (host, port) = port_of(&ask.host, usual);
        let plain = *wire == Wire::Http;
        Asked {
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
