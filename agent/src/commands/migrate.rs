//! Do what `plan` shows.
//!
//! The node is read and planned for without the lock first: with nothing to do, nothing is written, not even the folder
//! for the journal. Under the lock an earlier run's change is brought to its end and everything is read and planned
//! again, because the plan must be of the files as they are then.

use super::{Report, no_restart_yet, recovered, session};
use crate::cli::{Common, Consent, Wishes};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::read::{Node, policy};
use crate::{json, mask, render};
use mirrorshift_node::{ChangePlan, Outcome, Root};
use mirrorshift_plan::{Expect, Plan};

/// What a run of `migrate` came to.
pub(crate) struct Migrated {
    /// What became of a change that an earlier run had left.
    pub(crate) recovered: Option<String>,
    /// What was done, and what it needs; nothing when there was nothing to do.
    pub(crate) done: Option<(mirrorshift_node::Report, Plan)>,
    /// The folder that `config_path` names.
    pub(crate) config_path: Option<String>,
}

pub(super) fn run(common: &Common, wishes: &Wishes, consent: Consent) -> Result<Report, Failure> {
    let policy = policy(wishes)?;
    let root = Root::open(&common.root)?;
    let node = Node::read(&root, common)?;
    let left_over = node.status.unfinished.is_some();
    if !left_over {
        let plan = node.plan(&policy)?;
        if plan.is_empty() {
            return Ok(report(
                common,
                &Migrated {
                    recovered: None,
                    done: None,
                    config_path: plan.config_path,
                },
            ));
        }
    }
    if root.is_live() && !consent.no_restart {
        return Err(no_restart_yet("migrate"));
    }
    let mut session = session(&root)?;
    let recovered = recovered(&session.recover()?);
    let node = Node::read(&root, common)?;
    let plan = node.plan(&policy)?;
    let done = if plan.is_empty() {
        None
    } else {
        match session.apply(&change(&node, &plan))? {
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
        },
    ))
}

fn change(node: &Node, plan: &Plan) -> ChangePlan {
    let made = plan.steps.iter().filter(|step| step.expect == Expect::Absent);
    let secret = made
        .filter_map(|step| step.content.as_deref())
        .any(|content| mask::holds_secret(&String::from_utf8_lossy(content)));
    ChangePlan {
        digest: plan.digest(),
        containerd: node.version.to_string(),
        new_file_mode: if secret { 0o600 } else { 0o644 },
        steps: plan.steps.clone(),
    }
}

fn report(common: &Common, migrated: &Migrated) -> Report {
    let text = || render::change::migrated(common, migrated);
    Report::either(common, Exit::Done, text, || json::change::migrated(migrated))
}
