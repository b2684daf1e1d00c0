//! The result of a rehearsal.

use crate::error::CommandError;
use crate::exit::Exit;
use mirrorshift_plan::rehearsal::{Disagreement, ObservedRequest, Probe, SandboxReport, Variant};

/// The requests that the node's own containerd sent in a sandbox, with the old and the new files.
#[derive(Debug)]
pub(crate) struct RehearsalResult {
    pub(crate) probes: Vec<Probe>,
    pub(crate) reports: Vec<SandboxReport>,
    pub(crate) disagreements: Vec<Disagreement>,
}

/// The hosts that containerd contacted for one image.
#[derive(Debug)]
pub(crate) struct RouteComparison<'r> {
    pub(crate) probe: &'r Probe,
    /// With the original files.
    pub(crate) before: &'r [ObservedRequest],
    /// With the new files.
    pub(crate) after: &'r [ObservedRequest],
}

impl RehearsalResult {
    /// Refuses a plan whose rehearsal differs from the prediction.
    pub(crate) fn require_agreement(&self) -> Result<(), CommandError> {
        let Some(first) = self.disagreements.first() else {
            return Ok(());
        };
        let all: Vec<String> = self.disagreements.iter().map(ToString::to_string).collect();
        Err(CommandError::new(Exit::Refused, "rehearsal", all.join("\n")).hint(first.hint()))
    }

    /// Returns one row per probe.
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

    /// Returns one fragment for the progress of a change.
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
