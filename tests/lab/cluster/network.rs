//! The addresses of a cluster's network: a bridge in its own network namespace, which has no route to the outside.

use std::net::Ipv4Addr;

pub(super) const BRIDGE: &str = "lab0";
/// The bridge's address, where the control plane listens.
pub(super) const PLANE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The prefix length of the network.
pub(super) const LENGTH: u8 = 24;
/// The address of the service `kubernetes`, where pods reach the API server.
pub(super) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The addresses of all services. Only [`SERVICE`] answers.
pub(super) const SERVICES: &str = "10.96.0.0/16";
pub(super) const API_PORT: u16 = 6443;

/// The API server's URL, for all clients except pods.
pub(super) fn api_server() -> String {
    format!("https://{PLANE}:{API_PORT}")
}

/// The address of registry `i`; the first has index 0.
pub(super) fn registry(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 101 + i)
}

/// The address of node `i`; the first has index 0.
pub(super) fn node(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 11 + i)
}

/// The addresses of the pods of node `i`.
pub(super) fn pods(i: u8) -> String {
    format!("10.244.{}.0/24", 1 + i)
}
