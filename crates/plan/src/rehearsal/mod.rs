//! A change before it is made: what the node's own containerd said of the old files and of the new ones, against the plan.
//!
//! Somebody else starts that containerd in a sandbox, once for each set of files that a crash could leave behind, and
//! writes down what it did ([`Heard`]). [`judge`] compares this with the plan. Three answers must agree with it: which
//! plugins load, what the merged configuration is, and who is asked for the images of each registry.

/// What was heard of one set of files.
mod heard;
pub use heard::{ObservedRequest, PluginState, Pull, SandboxReport, Transport, Variant};
/// A merged configuration by the digest of each of its values.
mod effective;
pub use effective::{Difference, Effective, Unreadable};
/// One image for each registry of a plan.
mod probe;
pub use probe::{PROBED, Probe, ReferenceKind, probes};
/// What a route looks like from where it leads.
mod route;
pub use route::{asked, port_of};
/// Where the rehearsal and the plan disagree.
mod disagreement;
pub use disagreement::Disagreement;
mod judge;
pub use judge::{Expected, compare};
#[cfg(test)]
mod tests;
