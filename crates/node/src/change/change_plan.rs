//! The plan of a change, as this crate carries it out.

use mirrorshift_plan::{Digest, Step};

/// A plan as this crate carries it out.
#[derive(Clone, Debug)]
pub struct ChangePlan {
    /// The digest of the plan: equal plans have equal digests.
    pub digest: Digest,
    /// The version of containerd that the plan was made for, as text for the history.
    pub containerd: String,
    /// The mode of files that the change creates, such as 0o644, or 0o600 if one of them holds a secret. Replaced files keep
    /// their mode. Created folders have 0o755.
    pub new_file_mode: u32,
    /// The files to put in place, in this order.
    pub steps: Vec<Step>,
}
