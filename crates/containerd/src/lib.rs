//! What containerd means by its files.
//!
//! For a containerd version and the files of a node: which registry table is live, who is asked for an image in which
//! order, and what that version would refuse, ignore or stop supporting.
//!
//! This crate never opens a file, reads a clock or an environment, and never changes anything: a caller hands it a
//! [`Tree`] of what was read.

/// TOML as containerd's releases take it.
pub mod toml;

mod hosts;
mod route;
mod rules;
mod tree;
mod version;

pub use hosts::{HostsFault, HostsFaultKind, hosts_asks, hosts_faults, hosts_route, hosts_wanted, is_localhost};
pub use route::{Ask, Failure, Headers, Origin, Place, Route, Scheme, Tls, Why};
pub use rules::Rule;
pub use tree::{Entry, Tree};
pub use version::{Version, VersionError};
