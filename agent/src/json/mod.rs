//! Documents for programs: one per command, with `schemaVersion` and `kind`, described by `docs/schemas` and docs/json.md.
//!
//! Within a schema version keys are only added. The schemas are made from these types, and a test fails if the published
//! files differ.

/// The documents of `migrate`, `rollback` and `purge`.
pub(crate) mod change;
/// The document of `check`.
pub(crate) mod check;
/// The documents of `explain`.
pub(crate) mod explain;
/// The document of `plan`.
pub(crate) mod plan;
/// Routes, findings, locations and sources, which several documents contain.
pub(crate) mod shared;
/// The document of `status`.
pub(crate) mod status;
/// The document of `version`.
pub(crate) mod version;

#[cfg(test)]
pub(crate) mod schemas;

use crate::error::{CommandError, Location};
use crate::json::shared::RouteChangeDocument;
use crate::output::CommandOutput;
use mirrorshift_containerd::redact::free_text;
use serde::Serialize;

/// The version of every schema.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Returns a document as text.
pub(crate) fn print(document: &impl Serialize) -> String {
    // Serialization cannot fail: the types have no maps with other keys than text, and no number that JSON lacks.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

/// The document of an error.
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

/// The error, its location, its effect and a hint.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    /// A stable name. docs/refusals.md explains each.
    reason: &'static str,
    message: String,
    location: Option<ErrorLocation>,
    /// The consequence for containerd or the node.
    effect: Option<String>,
    /// An action that you can take now.
    hint: Option<String>,
    /// Routes that would have changed without a request.
    routes: Vec<RouteChangeDocument>,
}

/// The location of an error.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ErrorLocation {
    /// The file: a path as the node sees it, or the policy as it was typed.
    path: String,
    /// The first line is 1.
    line: Option<usize>,
    /// The first column is 1.
    column: Option<usize>,
    /// The line itself, with secrets masked.
    excerpt: Option<String>,
}

/// Returns an error as a document for standard output.
pub(crate) fn failure(error: &CommandError) -> CommandOutput {
    let location = |location: &Location| ErrorLocation {
        path: location.file.clone(),
        line: location.line,
        column: location.column,
        excerpt: location.excerpt.as_ref().map(|excerpt| free_text(&excerpt.text)),
    };
    let document = ErrorDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Error",
        exit_code: error.exit.code(),
        error: ErrorBody {
            reason: error.reason,
            message: free_text(&error.message),
            location: error.place.as_deref().map(location),
            effect: error.effect.as_deref().map(free_text),
            hint: error.hint.as_deref().map(free_text),
            routes: error.routes.iter().map(RouteChangeDocument::of).collect(),
        },
    };
    CommandOutput::text(error.exit, print(&document))
}
