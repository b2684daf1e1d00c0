//! The rehearsal of a change: compares the behaviour of the node's own containerd with the plan, before the change starts.
//!
//! `crates/node` starts that containerd in a sandbox, once for each set of files that a crash could leave behind, and
//! records its behaviour in a [`SandboxReport`](crate::rehearsal::SandboxReport). [`compare`](crate::rehearsal::compare()) compares the reports with the plan. Three results must agree
//! with it: the plugins that load, the merged configuration, and the hosts that containerd tries for each registry.
//! Starting a sandbox does not belong here.

/// The comparison.
mod compare;
/// The disagreements between a rehearsal and the plan.
mod disagreement;
/// A merged configuration, with the digest of each value.
mod effective;
/// The images to pull in a rehearsal.
mod probe;
/// The report of containerd's behaviour with one set of files.
mod report;
/// The requests that a route leads to.
mod route;

pub use crate::rehearsal::compare::{Expected, compare};
pub use crate::rehearsal::disagreement::Disagreement;
pub use crate::rehearsal::effective::{Difference, Effective, Unreadable};
pub use crate::rehearsal::probe::{PROBED, Probe, ReferenceKind, probes};
pub use crate::rehearsal::report::{ObservedRequest, PluginState, Pull, SandboxReport, Transport, Variant};
pub use crate::rehearsal::route::{expected_requests, port_of};

#[cfg(test)]
mod tests;
