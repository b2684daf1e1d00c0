//! The document of `plan`.

use crate::json::SCHEMA_VERSION;
use crate::json::shared::{FindingDocument, LocationDocument, RouteChangeDocument, SourceDocument};
use crate::json::status::ChangeDocument;
use crate::results::plan::{Blocker, PlanView, Readiness};
use crate::results::rehearsal::RouteComparison;
use crate::unified_diff::step_diff;
use crate::wildcard_advice::WildcardAdvice;
use crate::wording::{IMAGES_UNKNOWN, images_unknown_text, name_unnamed_host, note_id, note_text, registry_key};
use mirrorshift_containerd::redact;
use mirrorshift_containerd::{SourceLocation, Tree};
use mirrorshift_plan::rehearsal::ObservedRequest;
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
    /// The containerd version that the plan is for.
    containerd_version: String,
    sources: Vec<SourceDocument>,
    /// True if there is something to do.
    has_changes: bool,
    /// The digest of the plan: the same files with the same original and new contents have the same digest.
    digest: String,
    /// True if containerd must be restarted to apply the plan.
    restart: bool,
    /// The directory that `config_path` names after the plan.
    config_path: Option<String>,
    /// The answer to "would `migrate` begin now?".
    readiness: ReadinessDocument,
    /// The files in the order in which they are put in place.
    files: Vec<FileDocument>,
    routes: Vec<RouteChangeDocument>,
    findings: Vec<FindingDocument>,
    notes: Vec<NoteDocument>,
    /// Comments that are removed with their tables, secrets masked.
    removed_comments: Vec<TextDocument>,
    /// Keys that containerd never read and that the plan keeps as comments, secrets masked.
    kept_as_comments: Vec<TextDocument>,
    /// A change of an earlier run that is unfinished.
    unfinished: Option<ChangeDocument>,
    /// With `--rehearse`: the hosts that the node's own containerd contacted in a sandbox. Otherwise null.
    rehearsed: Option<Vec<RehearsedRoute>>,
}

/// The answer to "would `migrate` begin now?".
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ReadinessDocument {
    /// `ready`, `busy` (pulls or jobs must end first), `blocked`, `unknown`, or `not-applicable` (nothing to migrate).
    state: &'static str,
    /// The work that must end first, or the reason why the state is unknown.
    message: Option<String>,
    obstacles: Vec<ObstacleDocument>,
}

/// A reason why `migrate` would refuse.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ObstacleDocument {
    /// The `error.reason` of the refusal.
    reason: &'static str,
    message: String,
    /// An action that you can take now.
    hint: String,
}

/// The hosts that containerd contacted for one image of a registry, in order.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct RehearsedRoute {
    /// The registry. `*` stands for any other registry.
    registry: String,
    /// The image that was pulled: by tag or by digest.
    image: String,
    /// The hosts with the original files.
    before: Vec<String>,
    /// The hosts with the new files.
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
    /// The reason for the file.
    why: String,
    /// SHA-256 of the original file; null if there is none.
    before: Option<String>,
    /// SHA-256 of the new file; null if the file is removed.
    after: Option<String>,
    /// Unified diff, secrets masked.
    diff: String,
}

/// A remark about the plan.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct NoteDocument {
    /// A stable name.
    id: &'static str,
    text: String,
    location: Option<LocationDocument>,
}

/// A piece of a file.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct TextDocument {
    location: LocationDocument,
    text: String,
}

pub(crate) fn document(view: &PlanView<'_>) -> PlanDocument {
    let (node, plan) = (view.node, view.plan);
    let advice = WildcardAdvice::of(plan).map(|advice| NoteDocument {
        id: "wildcard-single-upstream",
        text: redact::free_text(&advice.text(view.findings)),
        location: advice.place.as_ref().map(LocationDocument::of),
    });
    let images = node.images_unknown().map(|why| NoteDocument {
        id: IMAGES_UNKNOWN,
        text: redact::free_text(&images_unknown_text(why)),
        location: None,
    });
    PlanDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Plan",
        containerd_version: node.version.to_string(),
        sources: SourceDocument::all(view.sources),
        has_changes: !plan.is_empty(),
        digest: plan.digest().to_string(),
        restart: plan.restart,
        config_path: plan.config_path.clone(),
        readiness: readiness(&view.readiness),
        files: plan.steps.iter().map(|step| file(step, &node.tree)).collect(),
        routes: plan.routes.iter().map(RouteChangeDocument::of).collect(),
        findings: view.findings.iter().map(FindingDocument::of).collect(),
        notes: plan.notes.iter().map(note).chain(images).chain(advice).collect(),
        removed_comments: plan.comments.iter().map(text).collect(),
        kept_as_comments: plan.kept.iter().map(text).collect(),
        unfinished: node.status.unfinished.as_ref().map(ChangeDocument::of),
        rehearsed: view
            .rehearsed
            .map(|rehearsed| rehearsed.rows().iter().map(rehearsed_route).collect()),
    }
}

fn readiness(readiness: &Readiness) -> ReadinessDocument {
    let (state, message, blockers): (_, _, &[Blocker]) = match readiness {
        Readiness::NotApplicable => ("not-applicable", None, &[]),
        Readiness::Ready => ("ready", None, &[]),
        Readiness::Busy(work) => ("busy", Some(redact::free_text(work)), &[]),
        Readiness::Unknown(reason) => ("unknown", Some(redact::free_text(reason)), &[]),
        Readiness::Blocked(blockers) => ("blocked", None, blockers),
    };
    let obstacle = |blocker: &Blocker| ObstacleDocument {
        reason: blocker.reason,
        message: redact::free_text(&blocker.message),
        hint: redact::free_text(&blocker.hint),
    };
    ReadinessDocument {
        state,
        message,
        obstacles: blockers.iter().map(obstacle).collect(),
    }
}

fn rehearsed_route(row: &RouteComparison<'_>) -> RehearsedRoute {
    let hosts = |requests: &[ObservedRequest]| {
        let host = |request: &ObservedRequest| redact::free_text(&name_unnamed_host(&request.to_string()));
        requests.iter().map(host).collect()
    };
    RehearsedRoute {
        registry: registry_key(&row.probe.registry),
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

fn note(note: &Note) -> NoteDocument {
    let location = match note {
        Note::LeavesCertsD { stale: place } | Note::NeverMatched { place, .. } => Some(place),
        Note::RepairsCri(_) | Note::TransferService | Note::NewerThanKnown => None,
    };
    NoteDocument {
        id: note_id(note),
        text: redact::free_text(&note_text(note)),
        location: location.map(LocationDocument::of),
    }
}

fn text((path, removed): &(String, RemovedText)) -> TextDocument {
    TextDocument {
        location: LocationDocument::of(&SourceLocation {
            path: path.clone(),
            line: Some(removed.line),
        }),
        text: redact::fragment(&removed.text, &removed.table),
    }
}
