//! Rehearses a plan: runs the node's own containerd in a sandbox with the original and the new files, before anything
//! changes.

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

/// The subcommand that runs inside the sandbox.
const INSIDE: &str = "rehearse-inside";

/// The result of a rehearsal.
#[derive(Debug)]
pub(crate) struct RehearsalResult {
    probes: Vec<Probe>,
    reports: Vec<SandboxReport>,
    disagreements: Vec<Disagreement>,
}

/// The requests that containerd sent for one image.
#[derive(Debug)]
pub(crate) struct RouteComparison<'r> {
    /// The probe, which names the registry and the image.
    pub(crate) probe: &'r Probe,
    /// Requests with the original files.
    pub(crate) before: &'r [ObservedRequest],
    /// Requests with the new files.
    pub(crate) after: &'r [ObservedRequest],
}

/// Rehearses `plan` on the node of `facts`. The program must be installed.
pub(crate) fn rehearse(
    root: &Root,
    node: &LoadedNode,
    plan: &Plan,
    facts: &Facts,
) -> Result<RehearsalResult, CommandError> {
    let loaded = Baseline::of(facts).map(|baseline| baseline.plugins).ok_or_else(|| {
        CommandError::new(Exit::Refused, "unknown", "containerd does not list its plugins")
            .hint("check that containerd answers: `ctr version`")
    })?;
    let probes = probes(plan);
    let command = [PROGRAM, INSIDE].map(str::to_owned);
    let times = SandboxTimeouts::default();
    let rehearsal = Rehearsal::new(root, facts, &node.files(), plan, &probes, &command, times)?;
    let reports = rehearsal.run(&Bus::connect(CALL)?)?;
    let expected = Expected {
        plan,
        probes: &probes,
        loaded: &loaded,
    };
    let disagreements = compare(&expected, &reports);
    Ok(RehearsalResult {
        probes,
        reports,
        disagreements,
    })
}

/// Does this program's part inside the sandbox.
pub(crate) fn in_sandbox(folder: &Path) -> Result<(), CommandError> {
    inside(folder).map_err(|error| CommandError::new(Exit::Unexpected, "sandbox", error.to_string()))
}

impl RehearsalResult {
    /// Refuses the plan if the node's own containerd behaved differently from it.
    pub(crate) fn agreed(&self) -> Result<(), CommandError> {
        let Some(first) = self.disagreements.first() else {
            return Ok(());
        };
        let all: Vec<String> = self.disagreements.iter().map(ToString::to_string).collect();
        Err(CommandError::new(Exit::Refused, "rehearsal", all.join("\n")).hint(first.hint()))
    }

    /// The requests before and after, one row per image.
    pub(crate) fn rows(&self) -> Vec<RouteComparison<'_>> {
        let requests = |variant, image: &str| {
            let report = self.reports.iter().find(|report| report.variant == variant);
            let pull = report.and_then(|report| report.pulls.iter().find(|pull| pull.image == image));
            pull.map_or(&[][..], |pull| &pull.asked)
        };
        let row = |probe| RouteComparison {
            probe,
            before: requests(Variant::Before, &probe.image),
            after: requests(Variant::After, &probe.image),
        };
        self.probes.iter().map(row).collect()
    }

    /// Describes the rehearsal in one line.
    pub(crate) fn summary(&self) -> String {
        let took: u64 = self.reports.iter().map(|report| report.took_ms).sum();
        format!(
            "containerd started {} times in {}.{:02} s and requested {} images as planned",
            self.reports.len(),
            took / 1000,
            took % 1000 / 10,
            self.probes.len()
        )
    }
}
