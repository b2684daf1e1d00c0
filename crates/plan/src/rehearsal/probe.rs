//! One image for each registry of a plan, to see who is asked for it.

use crate::plan::Plan;
use crate::route_change::{RegistryScope, UNNAMED};
use mirrorshift_containerd::RegistryHost;
use std::fmt::Write as _;

/// The repository of every probe, whatever its registry: nobody has such an image.
pub const PROBED: &str = "mirrorshift/rehearsal";

/// An image that is asked for in a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The registry that it stands for.
    pub registry: RegistryScope,
    /// Its reference.
    pub image: String,
    /// What it is named by, which decides who may be asked.
    pub named: ReferenceKind,
}

/// What an image is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceKind {
    /// Hosts that resolve tags are asked.
    Tag,
    /// All hosts that serve content are asked.
    Digest,
}

/// The probes of a plan: by tag for every registry, and by digest too where some host of it serves no tags.
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
            named,
        };
        probes.push(probe(ReferenceKind::Tag, ":probe"));
        let tells_apart = |ask: &RegistryHost| ask.resolves != ask.pulls;
        if change.before.asks().iter().chain(change.after.asks()).any(tells_apart) {
            probes.push(probe(ReferenceKind::Digest, &digest()));
        }
    }
    probes
}

/// Of no content that anybody has.
fn digest() -> String {
    let mut text = "@sha256:".to_owned();
    for byte in 0..32_u8 {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}
