//! What would change.

use crate::json::SCHEMA_VERSION;
use crate::json::shared::{Finding, LocationDocument, RouteChange};
use crate::json::status::Change;
use crate::results::plan::PlanView;
use crate::results::rehearsal::RouteComparison;
use crate::unified_diff::step_diff;
use crate::wildcard_advice::WildcardAdvice;
use crate::wording::{note_id, note_text};
use mirrorshift_containerd::redact;
use mirrorshift_containerd::{
    Tree, {self as containerd},
};
use mirrorshift_plan::{Digest, Expect, Note, RemovedText, Step};
use serde::Serialize;

/// The document of `plan`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Plan")))]
    kind: &'static str,
    /// The version of containerd that the plan is for.
    containerd_version: String,
    /// Whether there is anything to do.
    changes: bool,
    /// Names the plan: the same files with the same old and new content have the same digest.
    digest: String,
    /// Whether containerd must be restarted for it to count.
    restart: bool,
    /// The folder that `config_path` names once the plan is made.
    config_path: Option<String>,
    /// The files in the order in which they are put in place.
    files: Vec<FileDocument>,
    routes: Vec<RouteChange>,
    findings: Vec<Finding>,
    notes: Vec<NoteItem>,
    /// Comments that leave with their tables, secrets masked.
    comments: Vec<Text>,
    /// Keys that containerd never read and that stay as comments, secrets masked.
    kept: Vec<Text>,
    /// A change that an earlier run left unfinished.
    unfinished: Option<Change>,
    /// With `--rehearse`: who the node's own containerd asked in a sandbox; null otherwise.
    rehearsed: Option<Vec<Asked>>,
}

/// Who was asked for one image of a registry, in order.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Asked {
    registry: String,
    /// The image that was asked for: by tag or by digest.
    image: String,
    /// With the files as they are.
    before: Vec<String>,
    /// With the new files.
    after: Vec<String>,
}

/// One file of a plan.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct FileDocument {
    /// Absolute path as the node sees it.
    path: String,
    /// `create`, `replace` or `remove`.
    action: &'static str,
    why: String,
    /// SHA-256 of the bytes that must stand there; null when nothing must.
    before: Option<String>,
    /// SHA-256 of the bytes that come; null when the file goes.
    after: Option<String>,
    /// Unified diff, secrets masked.
    diff: String,
}

/// Something that a plan's reader should know.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct NoteItem {
    /// A stable name.
    id: &'static str,
    text: String,
    place: Option<LocationDocument>,
}

/// A piece of a file.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Text {
    place: LocationDocument,
    text: String,
}

/// The document of a plan.
pub(crate) fn document(shown: &PlanView<'_>) -> PlanDocument {
    let (node, plan) = (shown.node, shown.plan);
    let advice = WildcardAdvice::of(plan).map(|advice| NoteItem {
        id: "wildcard-single-upstream",
        text: redact::free_text(&advice.text(shown.findings)),
        place: advice.place.as_ref().map(LocationDocument::of),
    });
    PlanDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Plan",
        containerd_version: node.version.to_string(),
        changes: !plan.is_empty(),
        digest: plan.digest().to_string(),
        restart: plan.restart,
        config_path: plan.config_path.clone(),
        files: plan.steps.iter().map(|step| file(step, &node.tree)).collect(),
        routes: plan.routes.iter().map(RouteChange::of).collect(),
        findings: shown.findings.iter().map(Finding::of).collect(),
        notes: plan.notes.iter().map(note).chain(advice).collect(),
        comments: plan.comments.iter().map(text).collect(),
        kept: plan.kept.iter().map(text).collect(),
        unfinished: node.status.unfinished.as_ref().map(Change::of),
        rehearsed: shown
            .rehearsed
            .map(|rehearsed| rehearsed.rows().iter().map(asked).collect()),
    }
}

fn asked(row: &RouteComparison<'_>) -> Asked {
    let hosts = |asked: &[mirrorshift_plan::rehearsal::ObservedRequest]| {
        asked.iter().map(|one| redact::free_text(&one.to_string())).collect()
    };
    Asked {
        registry: row.probe.registry.to_string(),
        image: row.probe.image.clone(),
        before: hosts(row.before),
        after: hosts(row.after),
    }
}

fn file(step: &Step, tree: &Tree) -> FileDocument {
    let before = match step.expect {
        Expect::Absent => None,
        Expect::File(digest) => Some(digest.to_string()),
    };
    let after = step.content.as_deref().map(|content| Digest::of(content).to_string());
    FileDocument {
        path: step.path.clone(),
        action: match (&before, &after) {
            (_, None) => "remove",
            (None, Some(_)) => "create",
            (Some(_), Some(_)) => "replace",
        },
        why: redact::free_text(&step.why),
        before,
        after,
        diff: step_diff(step, tree),
    }
}

fn note(note: &Note) -> NoteItem {
    let place = match note {
        Note::LeavesCertsD { stale: place } | Note::NeverMatched { place, .. } => Some(place),
        Note::Heals(_) | Note::TransferService | Note::NewerThanKnown => None,
    };
    NoteItem {
        id: note_id(note),
        text: redact::free_text(&note_text(note)),
        place: place.map(LocationDocument::of),
    }
}

fn text((path, gone): &(String, RemovedText)) -> Text {
    Text {
        place: LocationDocument::of(&containerd::SourceLocation {
            path: path.clone(),
            line: Some(gone.line),
        }),
        text: redact::fragment(&gone.text, &gone.table),
    }
}
