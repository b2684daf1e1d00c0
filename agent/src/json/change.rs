//! The documents of `migrate`, `rollback` and `purge`.

use crate::json::SCHEMA_VERSION;
use crate::json::shared::SourceDocument;
use crate::results::event::ProgressEvent;
use crate::results::migrate::MigrateResult;
use crate::results::source_files::SourceFiles;
use mirrorshift_node::{Change, Outcome, Purged, STATE_DIR};
use serde::Serialize;

/// The document of `migrate`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct MigrationDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Migration")))]
    kind: &'static str,
    /// The files that the command read. Empty for a change of a running node, whose unit reads them.
    sources: Vec<SourceDocument>,
    /// `nothing` or `settled`.
    outcome: &'static str,
    /// A sentence about the interrupted change of an earlier run, when there was one.
    recovered: Option<String>,
    /// The id of the change.
    change: Option<String>,
    /// The files that were written, in their order.
    files: Vec<String>,
    /// The directory of the original files.
    backups: Option<String>,
    /// True if containerd must be restarted to apply the change.
    restart: bool,
    /// The directory that `config_path` names.
    config_path: Option<String>,
    /// The steps of a change of a running node, in their order.
    steps: Vec<ChangeStepDocument>,
}

/// A step of a change of a running node.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
struct ChangeStepDocument {
    /// The begin of the step in milliseconds since boot.
    at_ms: u64,
    /// A word, such as `verifying`.
    name: String,
    text: String,
}

impl ChangeStepDocument {
    fn of(event: &ProgressEvent) -> Self {
        Self {
            at_ms: event.at_ms,
            name: event.step.clone(),
            text: event.text.clone(),
        }
    }
}

/// The document of `rollback`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RollbackDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Rollback")))]
    kind: &'static str,
    /// `nothing`; `rolled-back` for a settled change; `undone` for an unsettled change; `dry-run`.
    outcome: &'static str,
    /// The id of the change.
    change: Option<String>,
    /// The files whose originals were restored, or would be.
    files: Vec<String>,
}

/// The document of `purge`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct PurgeDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Purge")))]
    kind: &'static str,
    /// True if nothing was deleted, because of `--dry-run`.
    dry_run: bool,
    /// The paths that were deleted, or would be.
    deleted: Vec<String>,
    /// The paths in the same directories that mirrorshift did not make.
    kept: Vec<String>,
}

pub(crate) fn purged(purged: &Purged, dry_run: bool) -> PurgeDocument {
    PurgeDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Purge",
        dry_run,
        deleted: purged.gone.clone(),
        kept: purged.left.clone(),
    }
}

pub(crate) fn migrated(migrated: &MigrateResult, sources: Option<&SourceFiles>) -> MigrationDocument {
    let done = migrated.done.as_ref();
    MigrationDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Migration",
        sources: sources.map(SourceDocument::all).unwrap_or_default(),
        outcome: if done.is_some() { "settled" } else { "nothing" },
        recovered: migrated.recovered.clone(),
        change: done.map(|(report, _)| report.change.clone()),
        files: done.map(|(report, _)| report.files.clone()).unwrap_or_default(),
        backups: done.map(|(report, _)| format!("{STATE_DIR}/changes/{}", report.change)),
        restart: migrated.live.is_none() && done.is_some_and(|(_, plan)| plan.restart),
        steps: migrated.live.iter().flatten().map(ChangeStepDocument::of).collect(),
        config_path: migrated.config_path.clone(),
    }
}

pub(crate) fn rolled_back(outcome: &Outcome) -> RollbackDocument {
    let (outcome, report) = match outcome {
        Outcome::Nothing => ("nothing", None),
        Outcome::Settled(report) => ("settled", Some(report)),
        Outcome::Undone(report) => ("undone", Some(report)),
        Outcome::RolledBack(report) => ("rolled-back", Some(report)),
    };
    RollbackDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Rollback",
        outcome,
        change: report.map(|report| report.change.clone()),
        files: report.map(|report| report.files.clone()).unwrap_or_default(),
    }
}

pub(crate) fn rollback_preview(change: Option<&Change>) -> RollbackDocument {
    RollbackDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Rollback",
        outcome: if change.is_some() { "dry-run" } else { "nothing" },
        change: change.map(|change| change.id.clone()),
        files: change
            .map(|change| change.steps.iter().map(|step| step.path.clone()).collect())
            .unwrap_or_default(),
    }
}
