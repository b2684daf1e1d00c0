//! The agent's part of the Kubernetes API: the report of its node, Events, and the slot that a node acquires before it
//! is changed.
//!
//! At rest an agent has one watch, for the object of its node, and sends no requests. It never lists nodes or pods,
//! writes only differences, and sends fewer requests while the API server fails or asks for it. So thousands of agents
//! are a small load.
//!
//! This part never reads or writes a file of the host, never decides whether a node is changed, and never acquires a
//! slot that is not free, whatever the time.

/// Random delays before a repetition.
pub mod backoff;
/// The client of the API server.
pub mod client;
/// Conditions of the node.
pub mod conditions;
/// Errors of calls.
pub mod error;
/// Events on the Node.
pub mod events;
/// The node to which the agent belongs.
pub mod node_identity;
/// The custom resource `NodeMirror`.
pub mod node_mirror;
/// The writer of the node's object.
pub mod node_mirror_writer;
/// The limit of nodes that are changed at the same time.
pub mod slots;
/// The delays between requests to a server that fails.
pub(crate) mod throttle;
/// A watch that continues after interruptions.
pub(crate) mod watch;

#[cfg(test)]
pub(crate) mod tests;
