//! What the unit does: plan again, see whether the node is fit for it, and carry the change out.

use crate::change_id::unix_now;
use crate::change_run::preflight::wait_for_preflight;
use crate::change_run::progress::{Progress, RunResult};
use crate::change_run::rehearse::rehearse;
use crate::change_run::reporting_runtime::ReportingRuntime;
use crate::change_run::request::{ChangeKind, ChangeRequest};
use crate::change_run::undo::{commands, times, undo};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::{LoadedNode, change_plan};
use crate::output::{CommandOutput, PLAIN_WIDTH};
use crate::results::migrate::{MigrateResult, describe_recovery};
use crate::{json, render};
use mirrorshift_node::{Expectations, Facts, Outcome, Root, Session, Status, SystemdRuntime, guard_is_left, status};
use mirrorshift_plan::{Plan, Step};

/// Carries out the order of a run. What is printed goes to the journal; how it ended is told to whoever follows.
pub(crate) fn run(id: &str) -> CommandOutput {
    let mut progress = Progress::of(id);
    let end = ChangeRequest::read(id)
        .and_then(|order| carry_out(&order, &mut progress))
        .unwrap_or_else(|failure| RunResult::failed(&failure));
    progress.end(&end);
    CommandOutput::text(end.exit, String::new())
}

fn carry_out(order: &ChangeRequest, progress: &mut Progress) -> Result<RunResult, CommandError> {
    let root = Root::open("/")?;
    progress.tell("looking", "reading the node's files");
    // To end somebody's change may take a restart, and what mends holds no slot.
    if matches!(order.task, ChangeKind::Mend) && status(&root)?.unfinished.is_some() {
        return Err(changed_since_planned());
    }
    let left = finish_interrupted_change(&root, order, progress)?;
    match &order.task {
        ChangeKind::Migrate { wanted, expects } => {
            let node = LoadedNode::read(&root, &order.node_source())?;
            let plan = node.plan(&wanted.policy()?)?;
            if expects.is_some_and(|expected| expected != plan.digest()) {
                return Err(changed_since_planned());
            }
            migrate(&root, order, &node, plan, describe_recovery(&left), progress)
        }
        ChangeKind::Rollback => rollback(&root, order, left, progress),
        ChangeKind::Mend => mend(&root, order, describe_recovery(&left), progress),
    }
}

/// Undoes what an earlier run has left unsettled, and takes away what it has left of one that settled.
fn finish_interrupted_change(
    root: &Root,
    order: &ChangeRequest,
    progress: &mut Progress,
) -> Result<Outcome, CommandError> {
    if status(root)?.unfinished.is_none() && !guard_is_left(root) {
        return Ok(Outcome::Nothing);
    }
    progress.tell("recovering", "an earlier run left a change unfinished");
    undo(root, order.limits, progress)
}

fn migrate(
    root: &Root,
    order: &ChangeRequest,
    node: &LoadedNode,
    plan: Plan,
    recovered: Option<String>,
    progress: &mut Progress,
) -> Result<RunResult, CommandError> {
    let mut migrated = MigrateResult {
        recovered,
        done: None,
        config_path: plan.config_path.clone(),
        live: Some(Vec::new()),
    };
    if !plan.is_empty() {
        undone_before(node, &plan, order.again)?;
        let facts = wait_for_preflight(root, node, &plan.steps, order, progress)?;
        rehearsed(root, node, &plan, &facts, order, progress)?;
        migrated.done = apply(root, order, node, &plan, &facts, progress)?.map(|report| (report, plan));
    }
    migrated.live = Some(progress.told().to_vec());
    Ok(RunResult::done(
        &render::change::migrated(&order.node_source(), &migrated, PLAIN_WIDTH),
        &json::change::migrated(&migrated, None),
    ))
}

fn apply(
    root: &Root,
    order: &ChangeRequest,
    node: &LoadedNode,
    plan: &Plan,
    facts: &Facts,
    progress: &mut Progress,
) -> Result<Option<mirrorshift_node::Report>, CommandError> {
    let expect = Expectations {
        deprecation_gone: plan.restart,
        image: order.verify_image.clone(),
    };
    let live = SystemdRuntime::new(root, &unit(facts)?, plan.restart, commands(), times(order.limits));
    let mut told = ReportingRuntime {
        runtime: live.expecting(expect),
        progress,
        containers_may_restart: order.containers_may_restart,
    };
    let mut session = Session::open(root, unix_now(), &order.id)?.with_runtime(&mut told);
    match session.apply(&change_plan(node, plan))? {
        Outcome::Settled(report) => Ok(Some(report)),
        // The files came to hold what was planned between the plan and the change.
        Outcome::Nothing | Outcome::Undone(_) | Outcome::RolledBack(_) => Ok(None),
    }
}

fn mend(
    root: &Root,
    order: &ChangeRequest,
    recovered: Option<String>,
    progress: &mut Progress,
) -> Result<RunResult, CommandError> {
    let node = LoadedNode::read(root, &order.node_source())?;
    let containerd = node.version.to_string();
    let mending = Session::open(root, unix_now(), &order.id)?.repair_plan(&containerd)?;
    let mut migrated = MigrateResult {
        recovered,
        done: None,
        config_path: None,
        live: None,
    };
    if let Some(mending) = mending {
        let plan = plan_without_routes(mending.steps, false);
        if let Outcome::Settled(report) = carry(root, order, &node, &plan, progress)? {
            migrated.done = Some((report, plan));
        }
    }
    migrated.live = Some(progress.told().to_vec());
    Ok(RunResult::done(
        &render::change::migrated(&order.node_source(), &migrated, PLAIN_WIDTH),
        &json::change::migrated(&migrated, None),
    ))
}

fn rollback(
    root: &Root,
    order: &ChangeRequest,
    left: Outcome,
    progress: &mut Progress,
) -> Result<RunResult, CommandError> {
    let node = LoadedNode::read(root, &order.node_source())?;
    let back = Session::open(root, unix_now(), &order.id)?.rollback_plan()?;
    let outcome = match (left, back) {
        (Outcome::Nothing, None) => Outcome::Nothing,
        (Outcome::Nothing, Some(back)) => take_back(root, order, &node, back.steps, progress)?,
        // An unfinished change was what was to be taken back.
        (undone, _) => undone,
    };
    Ok(RunResult::done(
        &render::change::rolled_back(&outcome, true, PLAIN_WIDTH),
        &json::change::rolled_back(&outcome),
    ))
}

fn take_back(
    root: &Root,
    order: &ChangeRequest,
    node: &LoadedNode,
    steps: Vec<Step>,
    progress: &mut Progress,
) -> Result<Outcome, CommandError> {
    let plan = plan_without_routes(steps, rollback_needs_restart(&node.status));
    carry(root, order, node, &plan, progress)
}

/// Carries a plan of bare steps out, by the session's own way back to them.
fn carry(
    root: &Root,
    order: &ChangeRequest,
    node: &LoadedNode,
    plan: &Plan,
    progress: &mut Progress,
) -> Result<Outcome, CommandError> {
    let facts = wait_for_preflight(root, node, &plan.steps, order, progress)?;
    rehearsed(root, node, plan, &facts, order, progress)?;
    let mut told = ReportingRuntime {
        runtime: SystemdRuntime::new(root, &unit(&facts)?, plan.restart, commands(), times(order.limits)),
        progress,
        containers_may_restart: order.containers_may_restart,
    };
    let mut session = Session::open(root, unix_now(), &order.id)?.with_runtime(&mut told);
    Ok(match order.task {
        ChangeKind::Mend => session.repair(&node.version.to_string())?,
        ChangeKind::Migrate { .. } | ChangeKind::Rollback => session.rollback()?,
    })
}

/// Whether the way back takes a restart: when the way there took one, or nobody knows.
pub(crate) fn rollback_needs_restart(status: &Status) -> bool {
    let service = status.in_force().and_then(|change| change.service.as_ref());
    service.is_none_or(|service| service.restart)
}

/// Steps back to something as a plan. Of routes nothing is said: they are to be what they were, whatever that was.
pub(crate) fn plan_without_routes(steps: Vec<Step>, restart: bool) -> Plan {
    Plan {
        steps,
        routes: Vec::new(),
        config_path: None,
        restart,
        notes: Vec::new(),
        comments: Vec::new(),
        kept: Vec::new(),
    }
}

/// Tries a plan in a sandbox, and sees that nobody has changed a file until now.
fn rehearsed(
    root: &Root,
    node: &LoadedNode,
    plan: &Plan,
    facts: &Facts,
    order: &ChangeRequest,
    progress: &mut Progress,
) -> Result<(), CommandError> {
    let what = "containerd is started in a sandbox with the old files and the new ones";
    progress.tell("rehearsing", what);
    let rehearsed = rehearse(root, node, plan, facts)?;
    rehearsed.require_agreement()?;
    progress.tell("rehearsed", &rehearsed.summary());
    // What was looked at so far must still be so: a file that appears now was not planned for.
    if LoadedNode::read(root, &order.node_source())?.tree != node.tree {
        return Err(changed_since_planned());
    }
    Ok(())
}

/// A plan that was undone because containerd did not serve with it is not tried again by itself.
pub(crate) fn undone_before(node: &LoadedNode, plan: &Plan, again: bool) -> Result<(), CommandError> {
    let before = node.status.undone_before(plan.digest(), &node.version.to_string());
    let Some(change) = before.filter(|_| !again) else {
        return Ok(());
    };
    let why = change.note.as_deref().unwrap_or("containerd did not serve with it");
    let message = format!("this very plan was undone as the change {}: {why}", change.id);
    Err(CommandError::new(Exit::Refused, "undone-before", message)
        .hint("mend what was in the way; `--again` tries the plan once more as it is"))
}

fn unit(facts: &Facts) -> Result<String, CommandError> {
    let unit = facts.unit.known().map(|unit| unit.id.clone());
    unit.ok_or_else(|| CommandError::new(Exit::Refused, "unknown", "it cannot be told which unit runs containerd"))
}

fn changed_since_planned() -> CommandError {
    CommandError::new(
        Exit::Refused,
        "changed-meanwhile",
        "the node's files changed since the plan was shown",
    )
    .hint("look at the plan again: `mirrorshift plan`")
}
