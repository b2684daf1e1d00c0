//! `plan`: the changes that `migrate` would make.

use crate::change_run::preflight;
use crate::change_run::{rehearse, start};
use crate::cli::PlanArgs;
use crate::commands::confirm;
use crate::commands::load::{Loaded, distribution_obstacle, load_node, plan_node, policy_source};
use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::PolicySource;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use crate::render::plan::PlanLayout;
use crate::results::plan::{Blocker, PlanView, Readiness};
use crate::results::rehearsal::RehearsalResult;
use crate::{json, render};
use mirrorshift_node::Facts;
use mirrorshift_plan::Plan;
use mirrorshift_plan::preflight::{Obstacle, PreflightResult};

pub(super) fn run(common: &CommonArgs, args: &PlanArgs) -> Result<CommandOutput, CommandError> {
    let wanted = policy_source(&args.policy)?;
    let policy = wanted.policy()?;
    let mut loaded = load_node(common)?;
    let plan = plan_node(&mut loaded, &policy)?;
    let rehearsed = if args.rehearse && !plan.is_empty() {
        Some(rehearse_plan(&loaded, &plan)?)
    } else {
        None
    };
    let exit = if args.exit_code && !plan.is_empty() {
        Exit::Found
    } else {
        Exit::Done
    };
    let layout = PlanLayout {
        diff: args.diff || common.verbose,
        routes: args.routes || common.verbose,
        ..layout(common)
    };
    let readiness = readiness(&loaded, &plan, false);
    Ok(output(
        common,
        exit,
        &loaded,
        &plan,
        &wanted,
        readiness,
        rehearsed.as_ref(),
        layout,
    ))
}

/// Returns the layout of a plan without its flags.
pub(super) fn layout(common: &CommonArgs) -> PlanLayout {
    PlanLayout {
        width: common.width,
        diff: common.verbose,
        routes: common.verbose,
        quiet: common.quiet,
        verbose: common.verbose,
    }
}

/// Returns the plan as text or JSON.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one part of the document, and there are two callers"
)]
pub(super) fn output(
    common: &CommonArgs,
    exit: Exit,
    loaded: &Loaded,
    plan: &Plan,
    wanted: &PolicySource,
    readiness: Readiness,
    rehearsed: Option<&RehearsalResult>,
    layout: PlanLayout,
) -> CommandOutput {
    let node = &loaded.node;
    let view = PlanView {
        node,
        plan,
        findings: &mirrorshift_containerd::findings(&node.outcome, &node.tree, &node.version),
        source: &loaded.source,
        sources: &loaded.sources,
        policy: wanted,
        live: loaded.root.is_live(),
        readiness,
        rehearsed,
    };
    text_or_json(
        common,
        exit,
        || render::plan::text(&view, layout),
        || json::plan::document(&view),
    )
}

/// Returns whether `migrate` would begin now: the preflight of a running node, or the check of the distribution of an image.
pub(super) fn readiness(loaded: &Loaded, plan: &Plan, containers_may_restart: bool) -> Readiness {
    if plan.is_empty() {
        return Readiness::NotApplicable;
    }
    let distribution = distribution_obstacle(loaded);
    if !loaded.root.is_live() {
        return match distribution {
            Some(obstacle) => blocked(&[obstacle]),
            None => Readiness::Ready,
        };
    }
    let checked = facts_of_plan(loaded, plan)
        .and_then(|facts| preflight::verdict(&facts, &loaded.node, &plan.steps, containers_may_restart));
    match checked {
        Ok(PreflightResult::Go) => Readiness::Ready,
        Ok(PreflightResult::Wait(work)) => Readiness::Busy(preflight::describe_work(&work)),
        // Without root most facts are unavailable. Obstacles that follow from this would mislead.
        Ok(PreflightResult::Refuse(_)) if !rustix::process::geteuid().is_root() => Readiness::Unknown(
            "run the command with sudo, because the preflight reads sockets that only root can open".to_owned(),
        ),
        Ok(PreflightResult::Refuse(obstacles)) => blocked(&obstacles),
        Err(error) => Readiness::Blocked(vec![Blocker {
            reason: error.reason,
            message: error.message,
            hint: error.hint.map(String::from).unwrap_or_default(),
        }]),
    }
}

/// Returns the facts of the running node and of the plan's files. The observation that was made for the plan is reused.
fn facts_of_plan(loaded: &Loaded, plan: &Plan) -> Result<Facts, CommandError> {
    let (root, node) = (&loaded.root, &loaded.node);
    let Some(facts) = &loaded.facts else {
        return preflight::observe_files(root, node, &plan.steps);
    };
    let mut facts = facts.clone();
    preflight::add_files(&mut facts, root, node, &plan.steps);
    Ok(facts)
}

fn blocked(obstacles: &[Obstacle]) -> Readiness {
    let blocker = |obstacle: &Obstacle| Blocker {
        reason: obstacle.id(),
        message: obstacle.to_string(),
        hint: obstacle.hint(),
    };
    Readiness::Blocked(obstacles.iter().map(blocker).collect())
}

/// Runs the plan in a sandbox with the node's own containerd. Writes only the copy of this program on the node.
fn rehearse_plan(loaded: &Loaded, plan: &Plan) -> Result<RehearsalResult, CommandError> {
    let root = &loaded.root;
    if !root.is_live() {
        return Err(CommandError::usage(
            "rehearse",
            "--rehearse has no effect with --root: no containerd runs there",
        )
        .hint("remove --rehearse, or run the command on the node without --root"));
    }
    confirm::require_root("plan --rehearse")?;
    start::install(root)?;
    let facts = facts_of_plan(loaded, plan)?;
    let rehearsed = rehearse::rehearse(root, &loaded.node, plan, &facts)?;
    rehearsed.require_agreement()?;
    Ok(rehearsed)
}
