//! What would change.

use super::{Report, consent};
use crate::cli::{Common, Wishes};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::live::rehearse::{self, Rehearsed};
use crate::live::start;
use crate::read::{Node, Wanted};
use crate::{json, render};
use mirrorshift_node::Root;
use mirrorshift_node::live::{Ask, observe};
use mirrorshift_plan::Plan;

pub(super) fn run(common: &Common, wishes: &Wishes, exit_code: bool, rehearse: bool) -> Result<Report, Failure> {
    let policy = Wanted::of(wishes)?.policy()?;
    let root = Root::open(&common.root)?;
    let node = Node::read(&root, common)?;
    let plan = node.plan(&policy)?;
    let rehearsed = if rehearse && !plan.is_empty() {
        Some(rehearsal(&root, &node, &plan)?)
    } else {
        None
    };
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
        rehearsed: rehearsed.as_ref(),
    };
    Ok(Report::either(
        common,
        exit,
        || render::plan::text(&shown),
        || json::plan::document(&shown),
    ))
}

/// What this node's own containerd makes of the plan. Writes nothing of the node but the program's own copy.
fn rehearsal(root: &Root, node: &Node, plan: &Plan) -> Result<Rehearsed, Failure> {
    if !root.is_live() {
        return Err(
            Failure::usage("rehearse", "only the running machine's own `/` can be rehearsed on")
                .hint("leave `--root` or `--rehearse` out"),
        );
    }
    consent::root("plan --rehearse")?;
    start::install(root)?;
    let facts =
        observe(root, &Ask::default()).map_err(|error| Failure::new(Exit::Refused, "not-live", error.to_string()))?;
    let rehearsed = rehearse::rehearse(root, node, plan, &facts)?;
    rehearsed.agreed()?;
    Ok(rehearsed)
}
