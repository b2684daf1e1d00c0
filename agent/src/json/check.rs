//! What was found.

use crate::json::SCHEMA_VERSION;
use crate::json::shared::Finding;
use crate::results::check::CheckResult;
use serde::Serialize;

/// The document of `check`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Check")))]
    kind: &'static str,
    /// The node's containerd.
    containerd_version: String,
    /// What it makes of the files, worst first.
    findings: Vec<Finding>,
    /// What an upgrade would lead to, where it was asked for.
    target: Option<TargetDocument>,
}

/// Another containerd with the same files.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
struct TargetDocument {
    containerd_version: String,
    /// What the upgrade would break or change, worst first.
    changes: Vec<Finding>,
    /// What that release makes of the files, worst first.
    findings: Vec<Finding>,
}

/// The document of what was found.
pub(crate) fn document(checked: &CheckResult) -> CheckDocument {
    CheckDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Check",
        containerd_version: checked.version.to_string(),
        findings: checked.findings.iter().map(Finding::of).collect(),
        target: checked.target.as_ref().map(|target| TargetDocument {
            containerd_version: target.version.to_string(),
            changes: target.changes.iter().map(Finding::of).collect(),
            findings: target.findings.iter().map(Finding::of).collect(),
        }),
    }
}
