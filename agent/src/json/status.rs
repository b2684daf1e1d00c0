//! What is in force, and history.

use crate::json::SCHEMA_VERSION;
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
    /// How far the node is.
    phase: String,
    /// What that means for its files.
    meaning: &'static str,
    /// Whether a unit of this program is changing the node at this moment.
    under_way: bool,
    /// The change that is not over.
    unfinished: Option<Change>,
    /// The change whose bytes are in force.
    in_force: Option<Change>,
    /// The changes that are over, oldest first; five at most.
    history: Vec<Change>,
}

/// One change of the node's files.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    id: String,
    /// The digest of the plan that it carried out.
    plan: String,
    /// The version of containerd that it was made for.
    containerd_version: String,
    phase: String,
    /// RFC 3339, UTC.
    began: String,
    /// RFC 3339, UTC.
    ended: Option<String>,
    /// Why it was undone, or is stuck.
    note: Option<String>,
    /// The change that this one takes back, when it is a rollback of a running node.
    undoes: Option<String>,
    /// It puts back what earlier changes wrote and somebody wrote over: no step of the way back.
    mends: bool,
    files: Vec<StatusFile>,
}

/// One file of a change.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct StatusFile {
    /// Absolute path as the node sees it.
    path: String,
    why: String,
    /// SHA-256 of what stood there.
    before: Option<String>,
    /// SHA-256 of what was put there.
    after: Option<String>,
}

impl Change {
    pub(crate) fn of(change: &node::Change) -> Self {
        let file = |step: &node::StepRecord| StatusFile {
            path: step.path.clone(),
            why: free_text(&step.why),
            before: step.before.as_ref().map(|file| file.digest.to_string()),
            after: step.after.map(|digest| digest.to_string()),
        };
        Self {
            id: change.id.clone(),
            plan: change.plan.to_string(),
            containerd_version: change.containerd.clone(),
            phase: phase(change.phase),
            began: utc_time(change.began),
            ended: change.ended.map(utc_time),
            note: change.note.as_deref().map(free_text),
            undoes: change.undoes.clone(),
            mends: change.is_repair,
            files: change.steps.iter().map(file).collect(),
        }
    }
}

fn phase(phase: Phase) -> String {
    phase_name(phase).replace(' ', "-")
}

/// The document of a journal.
pub(crate) fn document(status: &node::Status, under_way: bool) -> StatusDocument {
    StatusDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Status",
        phase: phase(status.phase()),
        meaning: status.phase().meaning(),
        under_way,
        unfinished: status.unfinished.as_ref().map(Change::of),
        in_force: status.in_force().map(Change::of),
        history: status.history.iter().map(Change::of).collect(),
    }
}
