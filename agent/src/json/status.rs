//! The document of `status`.

use crate::json::SCHEMA_VERSION;
use crate::json::shared::SourceDocument;
use crate::results::status::{Author, MirrorConfiguration, StatusResult};
use crate::wording::{phase_name, utc_time};
use mirrorshift_containerd::redact::free_text;
use mirrorshift_node as node;
use mirrorshift_plan::change::Phase;
use serde::Serialize;

/// The document of `status`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Status")))]
    kind: &'static str,
    sources: Vec<SourceDocument>,
    /// `legacy` (`registry.mirrors`), `migrated` (`config_path`), `both`, `neither`, or `unknown` if the configuration was not
    /// read.
    mirrors: &'static str,
    /// The reason why the configuration was not read.
    mirrors_unknown: Option<String>,
    /// The directories that `config_path` names.
    config_path: Option<String>,
    /// The author of the hosts.toml files, if there are any: `mirrorshift` or `other`.
    author: Option<&'static str>,
    /// The phase of the unfinished change, or else of the last change that settled and was not rolled back.
    phase: String,
    /// The state of the files in that phase, by the journal. Files in `drifted` were modified since.
    meaning: &'static str,
    /// True if a unit of this program changes the node at this moment.
    under_way: bool,
    /// The files that mirrorshift wrote and that another program has modified since.
    drifted: Vec<DriftDocument>,
    /// The change that is unfinished.
    unfinished: Option<ChangeDocument>,
    /// The last change that settled and was not rolled back.
    in_force: Option<ChangeDocument>,
    /// The changes that are over, oldest first; five at most.
    history: Vec<ChangeDocument>,
}

/// A file that another program has modified.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
struct DriftDocument {
    /// Absolute path as the node sees it.
    path: String,
    /// False if the file does not exist any more.
    exists: bool,
    /// RFC 3339, UTC.
    modified: Option<String>,
    /// The numeric user that owns the file now.
    uid: Option<u32>,
}

/// One change of the node's files.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeDocument {
    id: String,
    /// The digest of the plan.
    plan: String,
    /// The containerd version that the plan was made for.
    containerd_version: String,
    phase: String,
    /// RFC 3339, UTC.
    began: String,
    /// RFC 3339, UTC.
    ended: Option<String>,
    /// The reason why it was undone or is stuck.
    note: Option<String>,
    /// The change that this one rolled back.
    rolls_back: Option<String>,
    /// True if it repaired hosts.toml files that another program had modified. `rollback` skips a repair.
    is_repair: bool,
    files: Vec<ChangedFileDocument>,
}

/// One file of a change.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ChangedFileDocument {
    /// Absolute path as the node sees it.
    path: String,
    /// The reason for the file.
    why: String,
    /// SHA-256 of the original file; null if there was none.
    before: Option<String>,
    /// SHA-256 of the new file; null if the file was removed.
    after: Option<String>,
}

impl ChangeDocument {
    pub(crate) fn of(change: &node::Change) -> Self {
        let file = |step: &node::StepRecord| ChangedFileDocument {
            path: step.path.clone(),
            why: free_text(&step.why),
            before: step.before.as_ref().map(|file| file.digest.to_string()),
            after: step.after.map(|digest| digest.to_string()),
        };
        Self {
            id: change.id.clone(),
            plan: change.plan.to_string(),
            containerd_version: change.containerd.clone(),
            phase: phase_key(change.phase),
            began: utc_time(change.began),
            ended: change.ended.map(utc_time),
            note: change.note.as_deref().map(free_text),
            rolls_back: change.undoes.clone(),
            is_repair: change.is_repair,
            files: change.steps.iter().map(file).collect(),
        }
    }
}

fn phase_key(phase: Phase) -> String {
    phase_name(phase).replace(' ', "-")
}

pub(crate) fn document(status: &StatusResult) -> StatusDocument {
    let drift = |drift: &node::Drift| DriftDocument {
        path: drift.path.clone(),
        exists: drift.now.is_some(),
        modified: drift.now.and_then(|(_, time)| u64::try_from(time).ok()).map(utc_time),
        uid: drift.now.map(|(user, _)| user),
    };
    let journal = &status.journal;
    StatusDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Status",
        sources: SourceDocument::all(&status.sources),
        mirrors: status.mirrors.name(),
        mirrors_unknown: match &status.mirrors {
            MirrorConfiguration::Unknown(reason) => Some(free_text(reason)),
            _ => None,
        },
        config_path: status.config_path.clone(),
        author: status.author.map(|author| match author {
            Author::Mirrorshift => "mirrorshift",
            Author::Other => "other",
        }),
        phase: phase_key(journal.phase()),
        meaning: journal.phase().meaning(),
        under_way: status.under_way,
        drifted: status.drifted.iter().map(drift).collect(),
        unfinished: journal.unfinished.as_ref().map(ChangeDocument::of),
        in_force: journal.in_force().map(ChangeDocument::of),
        history: journal.history.iter().map(ChangeDocument::of).collect(),
    }
}
