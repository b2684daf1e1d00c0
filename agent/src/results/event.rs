//! A step of a running change.

use serde::{Deserialize, Serialize};

/// A step that a change has begun. The unit of the change appends each to a file, and `status --follow` reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgressEvent {
    /// Milliseconds since boot.
    pub(crate) at_ms: u64,
    /// A word, such as `verifying`.
    pub(crate) step: String,
    /// A fragment for people, without secrets.
    pub(crate) text: String,
}
