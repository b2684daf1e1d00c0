//! The cluster's network: a bridge in a network namespace of its own, which leads nowhere else.

use std::net::Ipv4Addr;

/// The bridge.
pub(super) const BRIDGE: &str = "lab0";
/// Its own address, where the control plane listens.
pub(super) const PLANE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The length of its network.
pub(super) const LENGTH: u8 = 24;
/// The service `kubernetes`: the address by which pods reach the API server.
pub(super) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The addresses of all services. Nothing but [`SERVICE`] answers there.
pub(super) const SERVICES: &str = "10.96.0.0/16";
/// Where the API server listens.
pub(super) const API_PORT: u16 = 6443;

/// The API server's URL, for everybody but pods.
pub(super) fn api_server() -> String {
    format!("https://{PLANE}:{API_PORT}")
}

/// The address of registry `i`, from 0 on.
pub(super) fn registry(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 101 + i)
}

/// The address of node `i`, from 0 on.
pub(super) fn node(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 11 + i)
}

/// The addresses of the pods of node `i`.
pub(super) fn pods(i: u8) -> String {
    format!("10.244.{}.0/24", 1 + i)
}
