//! A change before it is made: what the node's own containerd said of the old files and of the new ones, against the plan.
//!
//! Somebody else starts that containerd in a sandbox, once for each set of files that a crash could leave behind, and
//! writes down what it did ([`Heard`]). [`judge`] compares this with the plan. Three answers must agree with it: which
//! plugins load, what the merged configuration is, and who is asked for the images of each registry.

/// What was heard of one set of files.
pub(crate) mod report;
pub use crate::rehearsal::report::{ObservedRequest, PluginState, Pull, SandboxReport, Transport, Variant};
/// A merged configuration by the digest of each of its values.
pub(crate) mod effective;
pub use crate::rehearsal::effective::{Difference, Effective, Unreadable};
/// One image for each registry of a plan.
pub(crate) mod probe;
pub use crate::rehearsal::probe::{PROBED, Probe, ReferenceKind, probes};
/// What a route looks like from where it leads.
pub(crate) mod route;
pub use crate::rehearsal::route::{asked, port_of};
/// Where the rehearsal and the plan disagree.
pub(crate) mod disagreement;
pub use crate::rehearsal::disagreement::Disagreement;
pub(crate) mod compare;
pub use crate::rehearsal::compare::{Expected, compare};
#[cfg(test)]
mod tests;
