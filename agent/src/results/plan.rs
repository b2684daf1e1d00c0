//! The result of `plan`.

use crate::node::{LoadedNode, NodeSource, PolicySource};
use crate::results::rehearsal::RehearsalResult;
use crate::results::source_files::SourceFiles;
use mirrorshift_containerd::Finding;
use mirrorshift_plan::Plan;

/// A plan, with everything that is printed next to it.
pub(crate) struct PlanView<'s> {
    pub(crate) node: &'s LoadedNode,
    pub(crate) plan: &'s Plan,
    pub(crate) findings: &'s [Finding],
    pub(crate) source: &'s NodeSource,
    pub(crate) sources: &'s SourceFiles,
    pub(crate) policy: &'s PolicySource,
    /// True for the running machine's own root.
    pub(crate) live: bool,
    pub(crate) readiness: Readiness,
    pub(crate) rehearsed: Option<&'s RehearsalResult>,
}

/// The answer to "would `migrate` begin now?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// There is nothing to migrate, or `migrate` only writes files here.
    NotApplicable,
    Ready,
    /// `migrate` would wait for these pulls and jobs to end.
    Busy(String),
    /// `migrate` would refuse.
    Blocked(Vec<Blocker>),
    /// The preflight could not run, for this reason.
    Unknown(String),
}

/// A reason why `migrate` would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocker {
    /// The `error.reason` of the refusal.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// An action that the reader can take now.
    pub(crate) hint: String,
}
