//! The result of `plan`.

use crate::node::{LoadedNode, NodeSource, PolicySource};
use crate::results::rehearsal::RehearsalResult;
use mirrorshift_containerd::Finding;
use mirrorshift_plan::Plan;

/// A plan, with everything that is printed next to it.
pub(crate) struct PlanView<'s> {
    pub(crate) node: &'s LoadedNode,
    pub(crate) plan: &'s Plan,
    pub(crate) findings: &'s [Finding],
    pub(crate) source: &'s NodeSource,
    pub(crate) policy: &'s PolicySource,
    /// True for the running machine's own root.
    pub(crate) live: bool,
    pub(crate) rehearsed: Option<&'s RehearsalResult>,
}
