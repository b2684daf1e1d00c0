//! The document of `version`.

use crate::json::SCHEMA_VERSION;
use serde::Serialize;

/// The document of `version`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(rename_all = "camelCase")]
pub(crate) struct VersionDocument {
    schema_version: u32,
    #[cfg_attr(test, schemars(extend("const" = "Version")))]
    kind: &'static str,
    /// The version of mirrorshift.
    version: String,
    /// Architecture, operating system and libc.
    target: String,
    /// The containerd releases whose rules were checked.
    containerd: SupportedReleases,
}

/// A range of containerd releases.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct SupportedReleases {
    /// The oldest supported release.
    oldest: &'static str,
    /// The newest line of releases.
    newest: &'static str,
}

pub(crate) fn document(version: &str, target: &str, (oldest, newest): (&'static str, &'static str)) -> VersionDocument {
    VersionDocument {
        schema_version: SCHEMA_VERSION,
        kind: "Version",
        version: version.to_owned(),
        target: target.to_owned(),
        containerd: SupportedReleases { oldest, newest },
    }
}
