//! Tries a plan in a sandbox with the node's own containerd, before anything is touched.

use crate::change_run::start::CALL;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use mirrorshift_node::{Baseline, Bus, Facts, PROGRAM, Rehearsal, Root, SandboxTimeouts, inside};
use mirrorshift_plan::Plan;
use mirrorshift_plan::rehearsal::{
    Disagreement, Expected, ObservedRequest, Probe, SandboxReport, Variant, compare, probes,
};
use std::path::Path;

/// The word after which this program does its part in the sandbox.
const INSIDE: &str = "rehearse-inside";

/// What came of a rehearsal.
#[derive(Debug)]
pub(crate) struct RehearsalResult {
    probes: Vec<Probe>,
    heard: Vec<SandboxReport>,
    disagreements: Vec<Disagreement>,
}

/// Who was asked for one image, by containerd itself.
#[derive(Debug)]
pub(crate) struct RouteComparison<'r> {
    /// The probe, which names the registry.
    pub(crate) probe: &'r Probe,
    /// With the files as they are.
    pub(crate) before: &'r [ObservedRequest],
    /// With the new ones.
    pub(crate) after: &'r [ObservedRequest],
}

/// Rehearses `plan` on the node of `facts`. The program must be in its place.
pub(crate) fn rehearse(
    root: &Root,
    node: &LoadedNode,
    plan: &Plan,
    facts: &Facts,
) -> Result<RehearsalResult, CommandError> {
    let loaded = Baseline::of(facts).map(|baseline| baseline.plugins).ok_or_else(|| {
        CommandError::new(Exit::Refused, "unknown", "containerd cannot be asked for its plugins")
            .hint("look whether it answers: `ctr version`")
    })?;
    let probes = probes(plan);
    let command = [PROGRAM, INSIDE].map(str::to_owned);
    let times = SandboxTimeouts::default();
    let rehearsal = Rehearsal::new(root, facts, &node.files(), plan, &probes, &command, times)?;
    let heard = rehearsal.run(&Bus::connect(CALL)?)?;
    let expected = Expected {
        plan,
        probes: &probes,
        loaded: &loaded,
    };
    let disagreements = compare(&expected, &heard);
    Ok(RehearsalResult {
        probes,
        heard,
        disagreements,
    })
}

/// What this program does in the sandbox.
pub(crate) fn in_sandbox(folder: &Path) -> Result<(), CommandError> {
    inside(folder).map_err(|error| CommandError::new(Exit::Unexpected, "sandbox", error.to_string()))
}

impl RehearsalResult {
    /// Refuses what the node's own containerd does not agree with.
    pub(crate) fn agreed(&self) -> Result<(), CommandError> {
        let Some(first) = self.disagreements.first() else {
            return Ok(());
        };
        let all: Vec<String> = self.disagreements.iter().map(ToString::to_string).collect();
        Err(CommandError::new(Exit::Refused, "rehearsal", all.join("\n")).hint(first.hint()))
    }

    /// Who was asked, an image a registry.
    pub(crate) fn rows(&self) -> Vec<RouteComparison<'_>> {
        let asked = |variant, image: &str| {
            let heard = self.heard.iter().find(|heard| heard.variant == variant);
            let pull = heard.and_then(|heard| heard.pulls.iter().find(|pull| pull.image == image));
            pull.map_or(&[][..], |pull| &pull.asked)
        };
        let row = |probe| RouteComparison {
            probe,
            before: asked(Variant::Before, &probe.image),
            after: asked(Variant::After, &probe.image),
        };
        self.probes.iter().map(row).collect()
    }

    /// In a few words.
    pub(crate) fn summary(&self) -> String {
        let took: u64 = self.heard.iter().map(|heard| heard.took_ms).sum();
        format!(
            "containerd came up {} times in {}.{:02} s and asked for {} images as planned",
            self.heard.len(),
            took / 1000,
            took % 1000 / 10,
            self.probes.len()
        )
    }
}
