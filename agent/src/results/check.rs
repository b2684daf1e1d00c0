//! The result of `check`.

use crate::results::source_files::SourceFiles;
use mirrorshift_containerd::{Finding, Severity, Version};

/// The findings in a node's files, for its own containerd and for the targets of an upgrade.
#[derive(Debug)]
pub(crate) struct CheckResult {
    /// The version of the node's containerd.
    pub(crate) version: Version,
    /// The findings for that version, worst first.
    pub(crate) findings: Vec<Finding>,
    pub(crate) targets: Vec<UpgradeTarget>,
    /// True if `migrate` has something to do on this node.
    pub(crate) is_migration_needed: bool,
    pub(crate) sources: SourceFiles,
}

/// The findings for another release.
#[derive(Debug)]
pub(crate) struct UpgradeTarget {
    /// The target as the operator wrote it: a release or a line.
    pub(crate) requested: String,
    /// The release that was checked: the requested one, or the worst of the line.
    pub(crate) version: Version,
    /// The settings that the upgrade breaks or changes.
    pub(crate) changes: Vec<Finding>,
    /// The findings for that release by itself.
    pub(crate) findings: Vec<Finding>,
}

impl UpgradeTarget {
    /// Returns the findings of the upgrade that are not findings today: the changes first, then those of the release that
    /// state another fact.
    pub(crate) fn news<'t>(&'t self, today: &'t [Finding]) -> Vec<&'t Finding> {
        let is_stated = |finding: &Finding| {
            let is_same = |other: &Finding| other.id == finding.id && other.place == finding.place;
            // A change names the setting and the release. A finding of the release about the same setting repeats it.
            let repeats = |change: &Finding| change.place.is_some() && change.place == finding.place;
            today.iter().any(is_same) || self.changes.iter().any(repeats)
        };
        let own = self.findings.iter().filter(|finding| !is_stated(finding));
        self.changes.iter().chain(own).collect()
    }

    /// True if nothing breaks and nothing is rejected after the upgrade.
    pub(crate) fn is_safe(&self) -> bool {
        !self.changes.iter().chain(&self.findings).any(is_breaking)
    }

    /// Returns a rank by which the worst release of a line is chosen: lower is worse.
    pub(crate) fn rank(&self) -> (Severity, std::cmp::Reverse<usize>) {
        let all = || self.changes.iter().chain(&self.findings);
        let worst = all().map(|finding| finding.severity).min().unwrap_or(Severity::Advice);
        (
            worst,
            std::cmp::Reverse(all().filter(|finding| finding.severity == worst).count()),
        )
    }
}

/// True for a finding that stops containerd, CRI or pulls.
pub(crate) fn is_breaking(finding: &Finding) -> bool {
    finding.severity <= Severity::Breaks
}
