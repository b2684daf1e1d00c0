//! The route of one image.

use crate::json::SCHEMA_VERSION;
use crate::json::shared::Route;
use crate::results::explain::ExplainResult;
use crate::wording::first_request;
use serde::Serialize;

/// The document of `explain`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Explain")))]
    kind: &'static str,
    containerd_version: String,
    /// The image, normalised as containerd does.
    image: String,
    registry: String,
    route: Route,
    /// The first request that each host of the route gets, in their order; null for a host that gets none before a tag
    /// is resolved elsewhere.
    requests: Vec<Option<String>>,
}

/// The document of an image's route.
pub(crate) fn document(explained: &ExplainResult) -> ExplainDocument {
    let asks = explained.route.asks().iter();
    ExplainDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Explain",
        containerd_version: explained.version.to_string(),
        image: explained.image.to_string(),
        registry: explained.image.registry.clone(),
        route: Route::of(&explained.route),
        requests: asks.map(|ask| first_request(ask, &explained.image)).collect(),
    }
}
