//! The images to pull in a rehearsal: one for each registry of a plan.

use crate::plan::Plan;
use crate::route_change::{RegistryScope, UNNAMED};
use mirrorshift_containerd::RegistryHost;
use std::fmt::Write as _;

/// The repository of every probe. No registry has such an image.
pub const PROBED: &str = "mirrorshift/rehearsal";

/// An image that a rehearsal pulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The registry whose route it tests.
    pub registry: RegistryScope,
    /// The image reference.
    pub image: String,
    /// The kind of reference, which decides the hosts that containerd may try.
    pub reference: ReferenceKind,
}

/// The kind of an image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceKind {
    /// A tag: containerd tries the hosts that resolve tags.
    Tag,
    /// A digest: containerd tries all hosts that serve content.
    Digest,
}

/// Returns the probes of a plan: one by tag for each registry, and one by digest when a host of the registry either does not
/// resolve tags or does not serve content.
pub fn probes(plan: &Plan) -> Vec<Probe> {
    let mut probes = Vec::new();
    for change in &plan.routes {
        let registry = match &change.registry {
            RegistryScope::Registry(name) => name.as_str(),
            RegistryScope::Unnamed => UNNAMED,
        };
        let probe = |named, suffix: &str| Probe {
            registry: change.registry.clone(),
            image: format!("{registry}/{PROBED}{suffix}"),
            reference: named,
        };
        probes.push(probe(ReferenceKind::Tag, ":probe"));
        let has_one_purpose = |host: &RegistryHost| host.resolves != host.pulls;
        if change
            .before
            .hosts()
            .iter()
            .chain(change.after.hosts())
            .any(has_one_purpose)
        {
            probes.push(probe(ReferenceKind::Digest, &digest()));
        }
    }
    probes
}

/// Returns a digest of no existing content.
fn digest() -> String {
    let mut text = "@sha256:".to_owned();
    for byte in 0..32_u8 {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}
