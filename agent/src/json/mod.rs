//! Documents for programs: one for each command, with `schemaVersion` and `kind`, described by `docs/schemas`.
//!
//! Keys are only ever added within a schema version. The schemas are made from these types, and a test fails when the
//! published files are not them.

/// What a change came to.
pub(crate) mod change;
/// What was found.
pub(crate) mod check;
/// The route of one image.
pub(crate) mod explain;
/// What would change.
pub(crate) mod plan;
/// Routes, findings and places, which several documents hold.
pub(crate) mod shared;
/// What is in force, and history.
pub(crate) mod status;

#[cfg(test)]
pub(crate) mod schemas;

use crate::error::{CommandError, Location};
use crate::json::shared::RouteChange;
use crate::output::CommandOutput;
use mirrorshift_containerd::redact::free_text;
use serde::Serialize;

/// The version of every schema.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// A document as text.
pub(crate) fn print(document: &impl Serialize) -> String {
    // These types hold nothing that JSON cannot say: no maps with other keys than text, no numbers that are none.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

/// Why a command did not do what it was asked.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Error")))]
    kind: &'static str,
    /// The exit code of the program.
    exit_code: u8,
    error: ErrorBody,
}

/// What is wrong, where, what it means and what to do about it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    /// A stable name.
    reason: &'static str,
    /// What is wrong.
    message: String,
    /// The file.
    file: Option<String>,
    /// The line in it, from 1.
    line: Option<usize>,
    /// The column in that line, from 1.
    column: Option<usize>,
    /// The line itself, secrets masked.
    excerpt: Option<String>,
    /// What containerd does with it.
    effect: Option<String>,
    /// What to do about it.
    hint: Option<String>,
    /// Routes that would have differed although nobody asked for it.
    routes: Vec<RouteChange>,
}

/// A failure as a document on standard output.
pub(crate) fn failure(failure: &CommandError) -> CommandOutput {
    let (file, line, column, excerpt) = match failure.place.as_deref() {
        None => (None, None, None, None),
        Some(Location {
            file,
            line,
            column,
            excerpt,
        }) => {
            let excerpt = excerpt.as_ref().map(|excerpt| free_text(&excerpt.text));
            (Some(file.clone()), *line, *column, excerpt)
        }
    };
    let document = ErrorDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Error",
        exit_code: failure.exit.code(),
        error: ErrorBody {
            reason: failure.reason,
            message: free_text(&failure.message),
            file,
            line,
            column,
            excerpt,
            effect: failure.effect.as_deref().map(free_text),
            hint: failure.hint.as_deref().map(free_text),
            routes: failure.routes.iter().map(RouteChange::of).collect(),
        },
    };
    CommandOutput::text(failure.exit, print(&document))
}
