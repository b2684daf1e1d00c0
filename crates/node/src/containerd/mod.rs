//! containerd's socket: its own services and CRI.
//!
//! The messages are a subset of the published protocols. Every call has a deadline. Nothing here changes the node, except a pull
//! that a caller requests.

/// Waits for one asynchronous call, with a deadline.
pub(crate) mod blocking;
/// The Container Runtime Interface.
pub(crate) mod cri;
/// A containerd with scripted answers.
#[cfg(test)]
pub(crate) mod fake;
/// The messages of the protocols.
pub(crate) mod messages;
/// The process that listens at a socket.
pub(crate) mod peer;
/// containerd's own services.
pub(crate) mod services;
/// Calls over a containerd socket.
pub(crate) mod socket;
