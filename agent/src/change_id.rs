//! The name of a change.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// A name for a change, made of the time and the process: `1764547200-4711`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangeId {
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) name: String,
}

impl ChangeId {
    /// Returns a name that no earlier change of this node has, unless the clock was set back.
    pub(crate) fn generate() -> Self {
        let created = unix_now();
        Self {
            created,
            name: format!("{created}-{}", std::process::id()),
        }
    }
}
