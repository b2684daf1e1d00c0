//! What would change.

use crate::change_run::rehearse;
use crate::change_run::start;
use crate::commands::print::text_or_json;
use crate::commands::{confirm, policy_source};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use crate::options::{CommonArgs, PolicyArgs};
use crate::output::CommandOutput;
use crate::results::plan::PlanView;
use crate::results::rehearsal::RehearsalResult;
use crate::{json, render};
use mirrorshift_node::{ObserveOptions, Root, observe};
use mirrorshift_plan::Plan;

pub(super) fn run(
    common: &CommonArgs,
    wishes: &PolicyArgs,
    exit_code: bool,
    rehearse: bool,
) -> Result<CommandOutput, CommandError> {
    let wanted = policy_source(wishes)?;
    let policy = wanted.policy()?;
    let source = common.node_source();
    let root = Root::open(&common.root)?;
    let node = LoadedNode::read(&root, &common.node_source())?;
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
    let shown = PlanView {
        node: &node,
        plan: &plan,
        findings: &found,
        source: &source,
        policy: &wanted,
        live: root.is_live(),
        rehearsed: rehearsed.as_ref(),
    };
    Ok(text_or_json(
        common,
        exit,
        || render::plan::text(&shown),
        || json::plan::document(&shown),
    ))
}

/// What this node's own containerd makes of the plan. Writes nothing of the node but the program's own copy.
fn rehearsal(root: &Root, node: &LoadedNode, plan: &Plan) -> Result<RehearsalResult, CommandError> {
    if !root.is_live() {
        return Err(
            CommandError::usage("rehearse", "only the running machine's own `/` can be rehearsed on")
                .hint("leave `--root` or `--rehearse` out"),
        );
    }
    confirm::require_root("plan --rehearse")?;
    start::install(root)?;
    let facts = observe(root, &ObserveOptions::default())
        .map_err(|error| CommandError::new(Exit::Refused, "not-live", error.to_string()))?;
    let rehearsed = rehearse::rehearse(root, node, plan, &facts)?;
    rehearsed.require_agreement()?;
    Ok(rehearsed)
}
