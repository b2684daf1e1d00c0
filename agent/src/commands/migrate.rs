//! `migrate`: applies the plan.
//!
//! The command reads and plans without the lock first, so that with nothing to do it writes nothing, not even the directory
//! of the journal. Under the lock it finishes an interrupted change, reads everything again and plans again, because the
//! plan must match the files at that moment. On a running node a transient unit does this.

use crate::change_id::ChangeId;
use crate::change_run::carry_out::undone_before;
use crate::change_run::request::{ChangeKind, ChangeRequest, ChangeTimeouts};
use crate::change_run::{follow, preflight, start};
use crate::commands::confirm::{self, RestartFacts};
use crate::commands::load::{
    Loaded, load_node, open_session, plan_node, policy_source, reject_live_flags, require_own_configuration,
};
use crate::commands::plan::{layout, output, readiness};
use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::{LoadedNode, PolicySource, change_plan};
use crate::options::{ChangeArgs, CommonArgs, PolicyArgs};
use crate::output::CommandOutput;
use crate::results::migrate::{MigrateResult, describe_recovery};
use crate::results::plan::Readiness;
use crate::{json, render};
use mirrorshift_node::{Facts, ObserveOptions, Outcome, Root, boot_guard_exists, observe};
use mirrorshift_plan::policy::Restart;
use mirrorshift_plan::{Digest, Plan};
use std::time::Duration;

pub(super) fn run(
    common: &CommonArgs,
    policy_args: &PolicyArgs,
    again: bool,
    args: &ChangeArgs,
) -> Result<CommandOutput, CommandError> {
    let wanted = policy_source(policy_args)?;
    let policy = wanted.policy()?;
    let mut loaded = load_node(common)?;
    reject_live_flags(&loaded.root, args)?;
    if args.dry_run {
        let plan = plan_node(&mut loaded, &policy)?;
        let readiness = readiness(&loaded, &plan, args.accept_restart_of_containers);
        return Ok(output(
            common,
            Exit::Done,
            &loaded,
            &plan,
            &wanted,
            readiness,
            None,
            layout(common),
        ));
    }
    let mut shown = None;
    if loaded.node.status.unfinished.is_none() {
        let plan = plan_node(&mut loaded, &policy)?;
        if plan.is_empty() && !(loaded.root.is_live() && boot_guard_exists(&loaded.root)) {
            return Ok(report(common, &loaded, &nothing_to_do(&plan)));
        }
        shown = Some(plan);
    }
    let (root, node) = (&loaded.root, &loaded.node);
    if root.is_live() && !args.no_restart {
        if let Some(plan) = &shown {
            undone_before(node, plan, again)?;
        }
        let digest = confirm_plan(common, &wanted, args, &loaded, shown.as_ref())?;
        let kind = ChangeKind::Migrate {
            wanted,
            expects: digest,
        };
        return start_change(root, loaded.facts.as_ref(), common, args, again, kind);
    }
    require_own_configuration(&loaded)?;
    confirm::require_no_live_change(root, &node.status)?;
    let mut session = open_session(root)?;
    let recovered = describe_recovery(&session.recover()?);
    let mut node = LoadedNode::read(root, &loaded.source)?;
    if let Some(facts) = &loaded.facts {
        node.compare_images(&facts.cri.images);
    }
    let plan = node.plan(&policy)?;
    let done = if plan.is_empty() {
        None
    } else {
        match session.apply(&change_plan(&node, &plan))? {
            Outcome::Settled(report) => Some((report, plan.clone())),
            // Another process made the same change between the plan and the lock.
            Outcome::Nothing | Outcome::Undone(_) | Outcome::RolledBack(_) => None,
        }
    };
    let result = MigrateResult {
        recovered,
        done,
        ..nothing_to_do(&plan)
    };
    Ok(report(common, &loaded, &result))
}

fn nothing_to_do(plan: &Plan) -> MigrateResult {
    MigrateResult {
        recovered: None,
        done: None,
        config_path: plan.config_path.clone(),
        live: None,
    }
}

/// Returns the deadline for a restart: `requested`, but at least 3 times the last start of containerd's unit. A last start that
/// cannot be observed does not extend it.
fn serve_deadline(root: &Root, facts: Option<&Facts>, requested: Duration) -> Duration {
    let last_start = match facts {
        Some(facts) => facts.last_start_duration(),
        None => observe(root, &ObserveOptions::default())
            .ok()
            .and_then(|facts| facts.last_start_duration()),
    };
    let restart = Restart {
        deadline: requested,
        ..Restart::default()
    };
    restart.deadline_for(last_start)
}

/// Starts a change of the running node, and follows it. Without `facts` the node is observed.
pub(super) fn start_change(
    root: &Root,
    facts: Option<&Facts>,
    common: &CommonArgs,
    args: &ChangeArgs,
    again: bool,
    kind: ChangeKind,
) -> Result<CommandOutput, CommandError> {
    let defaults = ChangeTimeouts::default();
    let source = common.node_source();
    let request = ChangeRequest {
        id: ChangeId::generate().name,
        task: kind,
        config: source.config().to_owned(),
        containerd_version: source.containerd_version,
        again,
        containers_may_restart: args.accept_restart_of_containers,
        verify_image: args.verify_image.clone(),
        limits: ChangeTimeouts {
            serve: serve_deadline(root, facts, args.serve_within.unwrap_or(defaults.serve)),
            quiet: args.wait.unwrap_or(defaults.quiet),
            ..defaults
        },
    };
    start::start(root, &request)?;
    follow::follow(&request.id, common.output)
}

/// Asks the operator to confirm the plan, and returns its digest.
fn confirm_plan(
    common: &CommonArgs,
    wanted: &PolicySource,
    args: &ChangeArgs,
    loaded: &Loaded,
    plan: Option<&Plan>,
) -> Result<Option<Digest>, CommandError> {
    confirm::require_root("migrate")?;
    if !args.yes {
        let text = match plan {
            Some(plan) => {
                output(
                    common,
                    Exit::Done,
                    loaded,
                    plan,
                    wanted,
                    // The transient unit runs the preflight and waits for the node to be idle.
                    Readiness::NotApplicable,
                    None,
                    layout(common),
                )
                .out
            }
            None => {
                "An earlier change is unfinished. It is undone first, and then the node is planned again.\n".to_owned()
            }
        };
        let restart = if plan.is_none_or(|plan| plan.restart) {
            restart_sentence(loaded, plan)
        } else {
            "containerd is not restarted.".to_owned()
        };
        confirm::ask(common, "migrate", &text, &format!("{restart}\nChange this node?"))?;
    }
    Ok(plan.map(Plan::digest))
}

/// Returns the sentences about the restart, from the facts of the node.
pub(super) fn restart_sentence(loaded: &Loaded, plan: Option<&Plan>) -> String {
    if let Some(facts) = &loaded.facts {
        return RestartFacts::of(facts).sentence();
    }
    let steps = plan.map(|plan| plan.steps.as_slice()).unwrap_or_default();
    match preflight::observe_files(&loaded.root, &loaded.node, steps) {
        Ok(facts) => RestartFacts::of(&facts).sentence(),
        Err(error) => format!(
            "containerd restarts. It is unknown whether containers keep running: {}.",
            error.message
        ),
    }
}

fn report(common: &CommonArgs, loaded: &Loaded, result: &MigrateResult) -> CommandOutput {
    let text = || {
        let (live, version) = (loaded.root.is_live(), Some(&loaded.node.version));
        let read = render::source_files::text(&loaded.sources, version, live, common.verbose, common.width);
        let text = render::change::migrated(&loaded.source, result, common.width);
        if result.done.is_some() {
            read + &text
        } else {
            text + &read
        }
    };
    text_or_json(common, Exit::Done, text, || {
        json::change::migrated(result, Some(&loaded.sources))
    })
}
