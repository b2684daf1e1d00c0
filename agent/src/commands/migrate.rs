//! Do what `plan` shows.
//!
//! The node is read and planned for without the lock first: with nothing to do, nothing is written, not even the folder
//! for the journal. Under the lock an earlier run's change is brought to its end and everything is read and planned
//! again, because the plan must be of the files as they are then. On a running node that happens in a unit of its own.

use crate::change_id::ChangeId;
use crate::change_run::carry_out::undone_before;
use crate::change_run::request::{ChangeKind, ChangeRequest, ChangeTimeouts};
use crate::change_run::{follow, start};
use crate::commands::print::text_or_json;
use crate::commands::{confirm, policy_source, session};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::{LoadedNode, PolicySource, change_plan};
use crate::options::{ChangeArgs, CommonArgs, PolicyArgs};
use crate::output::CommandOutput;
use crate::results::migrate::{MigrateResult, describe_recovery};
use crate::results::plan::PlanView;
use crate::{json, render};
use mirrorshift_containerd::redact;
use mirrorshift_node::{Outcome, Root, guard_is_left};
use mirrorshift_plan::{Digest, Plan};

pub(super) fn run(
    common: &CommonArgs,
    wishes: &PolicyArgs,
    again: bool,
    consent: &ChangeArgs,
) -> Result<CommandOutput, CommandError> {
    let wanted = policy_source(wishes)?;
    let policy = wanted.policy()?;
    let root = Root::open(&common.root)?;
    let node = LoadedNode::read(&root, &common.node_source())?;
    let mut shown = None;
    if node.status.unfinished.is_none() {
        let plan = node.plan(&policy)?;
        if plan.is_empty() && !(root.is_live() && guard_is_left(&root)) {
            return Ok(report(
                common,
                &MigrateResult {
                    recovered: None,
                    done: None,
                    config_path: plan.config_path,
                    live: None,
                },
            ));
        }
        shown = Some(plan);
    }
    if root.is_live() && !consent.no_restart {
        if let Some(plan) = &shown {
            undone_before(&node, plan, again)?;
        }
        let digest = agree(common, &wanted, consent, &node, shown.as_ref())?;
        let task = ChangeKind::Migrate {
            wanted,
            expects: digest,
        };
        return order(&root, common, consent, again, task);
    }
    confirm::confirm_offline_change(&root, &node.status)?;
    let mut session = session(&root)?;
    let recovered = describe_recovery(&session.recover()?);
    let node = LoadedNode::read(&root, &common.node_source())?;
    let plan = node.plan(&policy)?;
    let done = if plan.is_empty() {
        None
    } else {
        match session.apply(&change_plan(&node, &plan))? {
            Outcome::Settled(report) => Some((report, plan.clone())),
            // The files came to hold what was planned between the plan and the change.
            Outcome::Nothing | Outcome::Undone(_) | Outcome::RolledBack(_) => None,
        }
    };
    let config_path = plan.config_path;
    Ok(report(
        common,
        &MigrateResult {
            recovered,
            done,
            config_path,
            live: None,
        },
    ))
}

/// Has a change of the running node made, and follows it.
pub(super) fn order(
    root: &Root,
    common: &CommonArgs,
    consent: &ChangeArgs,
    again: bool,
    task: ChangeKind,
) -> Result<CommandOutput, CommandError> {
    let defaults = ChangeTimeouts::default();
    let order = ChangeRequest {
        id: ChangeId::generate().name,
        task,
        config: common.node_source().config().to_owned(),
        containerd_version: common.containerd_version.clone(),
        again,
        containers_may_restart: consent.accept_restart_of_containers,
        verify_image: consent.verify_image.clone(),
        limits: ChangeTimeouts {
            serve: consent.serve_within.unwrap_or(defaults.serve),
            quiet: consent.wait.unwrap_or(defaults.quiet),
            ..defaults
        },
    };
    start::start(root, &order)?;
    follow::follow(&order.id, common.output)
}

/// Whether the plan may be carried out, by whoever typed the command; its digest.
fn agree(
    common: &CommonArgs,
    wanted: &PolicySource,
    consent: &ChangeArgs,
    node: &LoadedNode,
    plan: Option<&Plan>,
) -> Result<Option<Digest>, CommandError> {
    confirm::require_root("migrate")?;
    if !consent.yes {
        let what = match plan {
            Some(plan) => {
                let shown = PlanView {
                    node,
                    plan,
                    findings: &mirrorshift_containerd::findings(&node.outcome, &node.tree, &node.version),
                    source: &common.node_source(),
                    policy: wanted,
                    live: true,
                    rehearsed: None,
                };
                redact::free_text(&render::plan::text(&shown))
            }
            None => "an earlier change was left unfinished: it is undone first, and then planned anew\n".to_owned(),
        };
        let restart = plan.is_none_or(|plan| plan.restart);
        let question = if restart {
            "Change this node? containerd is restarted; containers keep running."
        } else {
            "Change this node? containerd is not restarted."
        };
        confirm::ask(common, "migrate", &what, question)?;
    }
    Ok(plan.map(Plan::digest))
}

fn report(common: &CommonArgs, migrated: &MigrateResult) -> CommandOutput {
    let text = || render::change::migrated(&common.node_source(), migrated);
    text_or_json(common, Exit::Done, text, || json::change::migrated(migrated))
}
