//! The result of `check`.

use mirrorshift_containerd::{Finding, Version};

/// The findings in a node's files, for its own containerd and for the target of an upgrade.
#[derive(Debug)]
pub(crate) struct CheckResult {
    /// The version of the node's containerd.
    pub(crate) version: Version,
    /// The findings for that version, worst first.
    pub(crate) findings: Vec<Finding>,
    pub(crate) target: Option<UpgradeTarget>,
}

/// The findings for another release.
#[derive(Debug)]
pub(crate) struct UpgradeTarget {
    pub(crate) version: Version,
    /// The settings that the upgrade breaks or changes.
    pub(crate) changes: Vec<Finding>,
    /// The findings for that release by itself.
    pub(crate) findings: Vec<Finding>,
}
