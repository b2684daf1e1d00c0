//! The document of `check`.

use crate::json::SCHEMA_VERSION;
use crate::json::shared::{FindingDocument, SourceDocument};
use crate::results::check::{CheckResult, UpgradeTarget};
use serde::Serialize;

/// The document of `check`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Check")))]
    kind: &'static str,
    /// The version of the node's containerd.
    containerd_version: String,
    sources: Vec<SourceDocument>,
    /// The findings for that version, worst first.
    findings: Vec<FindingDocument>,
    /// The targets of `--target`, in their order.
    targets: Vec<TargetDocument>,
}

/// An upgrade to another release.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
struct TargetDocument {
    /// The release or line as it was typed.
    requested: String,
    /// The release that was checked: the requested one, or the worst of the line.
    containerd_version: String,
    /// True if nothing breaks and nothing is rejected after the upgrade.
    safe: bool,
    /// The settings that the upgrade breaks or changes, worst first.
    upgrade_findings: Vec<FindingDocument>,
    /// The findings for that release by itself, worst first.
    findings: Vec<FindingDocument>,
}

pub(crate) fn document(result: &CheckResult) -> CheckDocument {
    let target = |target: &UpgradeTarget| TargetDocument {
        requested: target.requested.clone(),
        containerd_version: target.version.to_string(),
        safe: target.is_safe(),
        upgrade_findings: target.changes.iter().map(FindingDocument::of).collect(),
        findings: target.findings.iter().map(FindingDocument::of).collect(),
    };
    CheckDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Check",
        containerd_version: result.version.to_string(),
        sources: SourceDocument::all(&result.sources),
        findings: result.findings.iter().map(FindingDocument::of).collect(),
        targets: result.targets.iter().map(target).collect(),
    }
}
