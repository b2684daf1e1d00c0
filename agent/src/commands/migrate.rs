//! Do what `plan` shows.
//!
//! The node is read and planned for without the lock first: with nothing to do, nothing is written, not even the folder
//! for the journal. Under the lock an earlier run's change is brought to its end and everything is read and planned
//! again, because the plan must be of the files as they are then. On a running node that happens in a unit of its own.

use crate::change_run::carry_out::undone_before;
use crate::change_run::progress::ProgressEvent;
use crate::change_run::request::{ChangeKind, ChangeRequest, ChangeTimeouts};
use crate::change_run::{follow, start};
use crate::cli::{CommonArgs, Consent, PolicyArgs};
use crate::commands::{CommandOutput, confirm, describe_recovery, identity, session};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::{LoadedNode, PolicySource};
use crate::{json, render};
use mirrorshift_containerd::redact;
use mirrorshift_node::{ChangePlan, Outcome, Root, guard_is_left};
use mirrorshift_plan::{Digest, Expect, Plan};

/// What a run of `migrate` came to.
pub(crate) struct Migrated {
    /// What became of a change that an earlier run had left.
    pub(crate) recovered: Option<String>,
    /// What was done, and what it needs; nothing when there was nothing to do.
    pub(crate) done: Option<(mirrorshift_node::Report, Plan)>,
    /// The folder that `config_path` names.
    pub(crate) config_path: Option<String>,
    /// The steps of a change of a running node; nothing where files alone were written.
    pub(crate) live: Option<Vec<ProgressEvent>>,
}

pub(super) fn run(
    common: &CommonArgs,
    wishes: &PolicyArgs,
    again: bool,
    consent: &Consent,
) -> Result<CommandOutput, CommandError> {
    let wanted = PolicySource::of(wishes)?;
    let policy = wanted.policy()?;
    let root = Root::open(&common.root)?;
    let node = LoadedNode::read(&root, common)?;
    let mut shown = None;
    if node.status.unfinished.is_none() {
        let plan = node.plan(&policy)?;
        if plan.is_empty() && !(root.is_live() && guard_is_left(&root)) {
            return Ok(report(
                common,
                &Migrated {
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
        let digest = agree(common, wishes, consent, &node, shown.as_ref())?;
        let task = ChangeKind::Migrate {
            wanted,
            expects: digest,
        };
        return order(&root, common, consent, again, task);
    }
    confirm::confirm_offline_change(&root, &node.status)?;
    let mut session = session(&root)?;
    let recovered = describe_recovery(&session.recover()?);
    let node = LoadedNode::read(&root, common)?;
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
        &Migrated {
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
    consent: &Consent,
    again: bool,
    task: ChangeKind,
) -> Result<CommandOutput, CommandError> {
    let order = ChangeRequest {
        id: identity().1,
        task,
        config: common.config.clone(),
        containerd_version: common.containerd_version.clone(),
        again,
        containers_may_restart: consent.accept_restart_of_containers,
        verify_image: consent.verify_image.clone(),
        limits: ChangeTimeouts {
            serve: consent.serve_within,
            quiet: consent.wait,
            ..ChangeTimeouts::default()
        },
    };
    start::start(root, &order)?;
    follow::follow(&order.id, common)
}

/// Whether the plan may be carried out, by whoever typed the command; its digest.
fn agree(
    common: &CommonArgs,
    wishes: &PolicyArgs,
    consent: &Consent,
    node: &LoadedNode,
    plan: Option<&Plan>,
) -> Result<Option<Digest>, CommandError> {
    confirm::require_root("migrate")?;
    if !consent.yes {
        let what = match plan {
            Some(plan) => {
                let shown = render::plan::PlanView {
                    node,
                    plan,
                    findings: &mirrorshift_containerd::findings(&node.outcome, &node.tree, &node.version),
                    common,
                    wishes,
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

/// The plan as it is carried out.
pub(crate) fn change_plan(node: &LoadedNode, plan: &Plan) -> ChangePlan {
    let made = plan.steps.iter().filter(|step| step.expect == Expect::Absent);
    let secret = made
        .filter_map(|step| step.content.as_deref())
        .any(|content| redact::holds_secret(&String::from_utf8_lossy(content)));
    ChangePlan {
        digest: plan.digest(),
        containerd: node.version.to_string(),
        new_file_mode: if secret { 0o600 } else { 0o644 },
        steps: plan.steps.clone(),
    }
}

fn report(common: &CommonArgs, migrated: &Migrated) -> CommandOutput {
    let text = || render::change::migrated(common, migrated);
    CommandOutput::text_or_json(common, Exit::Done, text, || json::change::migrated(migrated))
}
