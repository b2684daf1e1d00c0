//! The cluster's API: what the agent tells there of its node, and the slot that it asks for before it changes it.
//!
//! At rest an agent has one watch, of its own object, and asks nothing. It lists neither nodes nor pods, writes only what differs,
//! and goes slower when the API server says so or does not answer, so that thousands of agents are no burden to it.
//!
//! This part never reads or writes a file of the host, never decides whether a node is changed, and never takes a slot
//! that is not free, whatever the time.

/// How long to wait before something is tried again.
pub mod backoff;
/// The connection to the API server, and how it is called.
pub mod client;
/// Conditions, whose time moves only with their status.
pub mod conditions;
/// What can go wrong with a call.
pub mod error;
/// Events on the Node.
pub mod events;
/// Whose agent this is.
pub mod node_identity;
/// The type of that object.
pub mod node_mirror;
/// The node's own object in the cluster.
pub mod node_mirror_writer;
/// How many nodes may be changed at one time.
pub mod slots;
/// How often a server that fails is asked.
pub(crate) mod throttle;
/// One watch that goes on.
pub(crate) mod watch;

#[cfg(test)]
pub(crate) mod tests;
