//! What would change.

use super::Report;
use crate::cli::{Common, Wishes};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::read::{Node, Wanted};
use crate::{json, render};
use mirrorshift_node::Root;

pub(super) fn run(common: &Common, wishes: &Wishes, exit_code: bool) -> Result<Report, Failure> {
    let policy = Wanted::of(wishes)?.policy()?;
    let root = Root::open(&common.root)?;
    let node = Node::read(&root, common)?;
    let plan = node.plan(&policy)?;
    let found = mirrorshift_containerd::findings(&node.outcome, &node.tree, &node.version);
    let exit = if exit_code && !plan.is_empty() {
        Exit::Found
    } else {
        Exit::Done
    };
    let shown = render::plan::Shown {
        node: &node,
        plan: &plan,
        findings: &found,
        common,
        wishes,
        live: root.is_live(),
    };
    Ok(Report::either(
        common,
        exit,
        || render::plan::text(&shown),
        || json::plan::document(&shown),
    ))
}
