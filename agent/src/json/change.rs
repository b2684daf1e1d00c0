//! What a change came to.

use crate::json::SCHEMA_VERSION;
use crate::results::event::ProgressEvent;
use crate::results::migrate::MigrateResult;
use mirrorshift_node::{Outcome, Purged, STATE_DIR};
use serde::Serialize;

/// The document of `migrate`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct MigrationDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Migration")))]
    kind: &'static str,
    /// `nothing` or `settled`.
    outcome: &'static str,
    /// What became of a change that an earlier run had left, in a sentence.
    recovered: Option<String>,
    /// The name of the change.
    change: Option<String>,
    /// The files that it wrote, in their order.
    files: Vec<String>,
    /// The folder with the bytes of before.
    backups: Option<String>,
    /// Whether containerd must be restarted for it to count.
    restart: bool,
    /// The folder that `config_path` names.
    config_path: Option<String>,
    /// The steps of a change of a running node, in their order.
    steps: Vec<Step>,
}

/// A step of a change of a running node.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
struct Step {
    /// When it began, since boot: milliseconds.
    at_ms: u64,
    /// Such as `verifying`.
    name: String,
    /// What is then true, or is waited for.
    text: String,
}

impl Step {
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
    /// `nothing`; `rolled-back`, of a change that had settled; `undone`, of one that had not.
    outcome: &'static str,
    /// The name of the change.
    change: Option<String>,
    /// Its files, which hold their old bytes again.
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
    /// What was taken away.
    gone: Vec<String>,
    /// What lay among it and was not made by this program.
    left: Vec<String>,
}

/// The document of a run of `purge`.
pub(crate) fn purged(purged: &Purged) -> PurgeDocument {
    PurgeDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Purge",
        gone: purged.gone.clone(),
        left: purged.left.clone(),
    }
}

/// The document of a run of `migrate`.
pub(crate) fn migrated(migrated: &MigrateResult) -> MigrationDocument {
    let done = migrated.done.as_ref();
    MigrationDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Migration",
        outcome: if done.is_some() { "settled" } else { "nothing" },
        recovered: migrated.recovered.clone(),
        change: done.map(|(report, _)| report.change.clone()),
        files: done.map(|(report, _)| report.files.clone()).unwrap_or_default(),
        backups: done.map(|(report, _)| format!("{STATE_DIR}/changes/{}", report.change)),
        restart: migrated.live.is_none() && done.is_some_and(|(_, plan)| plan.restart),
        steps: migrated.live.iter().flatten().map(Step::of).collect(),
        config_path: migrated.config_path.clone(),
    }
}

/// The document of a run of `rollback`.
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
