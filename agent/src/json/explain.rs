//! The documents of `explain`.

use crate::json::SCHEMA_VERSION;
use crate::json::shared::{RouteDocument, SourceDocument};
use crate::results::explain::{ExplainResult, FindingHelp};
use crate::wording::first_request;
use serde::Serialize;

/// The document of `explain IMAGE`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Explain")))]
    kind: &'static str,
    containerd_version: String,
    sources: Vec<SourceDocument>,
    /// The image, normalized as containerd does.
    image: String,
    registry: String,
    route: RouteDocument,
    /// The first request that each host of the route gets, in their order; null for a host that gets none before another host
    /// resolved the tag.
    requests: Vec<Option<String>>,
}

pub(crate) fn document(explained: &ExplainResult) -> ExplainDocument {
    let hosts = explained.route.hosts().iter();
    ExplainDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Explain",
        containerd_version: explained.version.to_string(),
        sources: SourceDocument::all(&explained.sources),
        image: explained.image.to_string(),
        registry: explained.image.registry.clone(),
        route: RouteDocument::of(&explained.route),
        requests: hosts.map(|host| first_request(host, &explained.image)).collect(),
    }
}

/// The document of `explain FINDING`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct FindingHelpDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "FindingHelp")))]
    kind: &'static str,
    id: &'static str,
    /// The usual severity.
    severity: &'static str,
    /// The section of docs/findings.md, as Markdown.
    text: String,
}

pub(crate) fn finding(help: &FindingHelp) -> FindingHelpDocument {
    FindingHelpDocument {
        schema_version: SCHEMA_VERSION,
        kind: "FindingHelp",
        id: help.id.as_str(),
        severity: help.id.severity().as_str(),
        text: help.text.clone(),
    }
}
