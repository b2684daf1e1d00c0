//! The change unit: plans again, checks that the node is fit for the change, rehearses it, and carries it out.

use crate::change_id::unix_now;
use crate::change_run::preflight::{compare_images, wait_for_preflight};
use crate::change_run::progress::{Progress, RunResult};
use crate::change_run::rehearse::rehearse;
use crate::change_run::reporting_runtime::ReportingRuntime;
use crate::change_run::request::{ChangeKind, ChangeRequest};
use crate::change_run::undo::{commands, times, undo};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::{LoadedNode, PolicySource, change_plan};
use crate::output::{CommandOutput, PLAIN_WIDTH};
use crate::results::migrate::{MigrateResult, describe_recovery};
use crate::{json, render};
use mirrorshift_node::{
    Expectations, Facts, Outcome, Root, Session, Status, SystemdRuntime, boot_guard_exists, status,
};
use mirrorshift_plan::{Digest, Plan, Step};

/// Carries out the request of a run and writes its result. The printed text goes to the journal of the unit.
pub(crate) fn run(id: &str) -> CommandOutput {
    let mut progress = Progress::of(id);
    let result = carry_out(id, &mut progress).unwrap_or_else(|error| RunResult::failed(&error));
    progress.finish(&result);
    CommandOutput::text(result.exit, String::new())
}

fn carry_out(id: &str, progress: &mut Progress) -> Result<RunResult, CommandError> {
    let request = ChangeRequest::read(id)?;
    let root = Root::open("/")?;
    let mut run = ChangeRun {
        root: &root,
        request: &request,
        progress,
    };
    run.progress.report("reading", "the node's files");
    // Finishing an interrupted change may require a restart, and a repair runs without a slot, so a repair must not do
    // it.
    if matches!(request.task, ChangeKind::Repair) && status(&root)?.unfinished.is_some() {
        return Err(changed_since_planned());
    }
    let recovery = run.finish_interrupted_change()?;
    match &request.task {
        ChangeKind::Migrate { wanted, expects } => run.migrate(wanted, *expects, describe_recovery(&recovery)),
        ChangeKind::Rollback => run.roll_back(recovery),
        ChangeKind::Repair => run.repair(describe_recovery(&recovery)),
    }
}

/// A run of the change unit.
struct ChangeRun<'r> {
    root: &'r Root,
    request: &'r ChangeRequest,
    progress: &'r mut Progress,
}

impl ChangeRun<'_> {
    /// Undoes the change that an earlier run left unsettled, and removes the boot guard of a settled change.
    fn finish_interrupted_change(&mut self) -> Result<Outcome, CommandError> {
        if status(self.root)?.unfinished.is_none() && !boot_guard_exists(self.root) {
            return Ok(Outcome::Nothing);
        }
        self.progress
            .report("recovering", "an earlier run left a change unfinished");
        undo(self.root, self.request.limits, self.progress)
    }

    fn migrate(
        &mut self,
        policy: &PolicySource,
        expected: Option<Digest>,
        recovered: Option<String>,
    ) -> Result<RunResult, CommandError> {
        let policy = policy.policy()?;
        let mut node = self.read_node()?;
        compare_images(self.root, &mut node)?;
        let plan = node.plan(&policy)?;
        if expected.is_some_and(|expected| expected != plan.digest()) {
            return Err(changed_since_planned());
        }
        let config_path = plan.config_path.clone();
        let mut done = None;
        if !plan.is_empty() {
            undone_before(&node, &plan, self.request.again)?;
            let facts = self.wait_and_rehearse(&node, &plan)?;
            // A pull that ended since may have brought an image of another registry, whose route must stay the same too.
            compare_images(self.root, &mut node)?;
            if node.plan(&policy)?.digest() != plan.digest() {
                return Err(changed_since_planned());
            }
            done = self.apply(&node, &plan, &facts)?.map(|report| (report, plan));
        }
        Ok(self.migration_result(MigrateResult {
            recovered,
            done,
            config_path,
            live: None,
        }))
    }

    fn repair(&mut self, recovered: Option<String>) -> Result<RunResult, CommandError> {
        let node = self.read_node()?;
        let containerd = node.version.to_string();
        let repair = open_session(self.root, self.request)?.repair_plan(&containerd)?;
        let mut done = None;
        if let Some(repair) = repair {
            let plan = plan_without_routes(repair.steps, false);
            if let Outcome::Settled(report) = self.restore(&node, &plan)? {
                done = Some((report, plan));
            }
        }
        Ok(self.migration_result(MigrateResult {
            recovered,
            done,
            config_path: None,
            live: None,
        }))
    }

    fn roll_back(&mut self, recovery: Outcome) -> Result<RunResult, CommandError> {
        let node = self.read_node()?;
        let rollback = open_session(self.root, self.request)?.rollback_plan()?;
        let outcome = match (recovery, rollback) {
            (Outcome::Nothing, None) => Outcome::Nothing,
            (Outcome::Nothing, Some(rollback)) => {
                let plan = plan_without_routes(rollback.steps, rollback_needs_restart(&node.status));
                self.restore(&node, &plan)?
            }
            // The unfinished change was the one to roll back, and it is undone already.
            (undone, _) => undone,
        };
        Ok(RunResult::done(
            &render::change::rolled_back(&outcome, true, PLAIN_WIDTH),
            &json::change::rolled_back(&outcome),
        ))
    }

    fn migration_result(&self, migrated: MigrateResult) -> RunResult {
        let migrated = MigrateResult {
            live: Some(self.progress.events().to_vec()),
            ..migrated
        };
        RunResult::done(
            &render::change::migrated(&self.request.node_source(), &migrated, PLAIN_WIDTH),
            &json::change::migrated(&migrated, None),
        )
    }

    fn apply(
        &mut self,
        node: &LoadedNode,
        plan: &Plan,
        facts: &Facts,
    ) -> Result<Option<mirrorshift_node::Report>, CommandError> {
        let expectations = Expectations {
            deprecation_gone: plan.restart,
            image: self.request.verify_image.clone(),
        };
        let (root, request) = (self.root, self.request);
        let mut runtime = self.runtime(facts, plan.restart, Some(expectations))?;
        let mut session = open_session(root, request)?.with_runtime(&mut runtime);
        match session.apply(&change_plan(node, plan))? {
            Outcome::Settled(report) => Ok(Some(report)),
            // Another program wrote the planned contents between the plan and the change.
            Outcome::Nothing | Outcome::Undone(_) | Outcome::RolledBack(_) => Ok(None),
        }
    }

    /// Carries out the steps of a rollback or of a repair. The session derives them from the journal once more.
    fn restore(&mut self, node: &LoadedNode, plan: &Plan) -> Result<Outcome, CommandError> {
        let facts = self.wait_and_rehearse(node, plan)?;
        let (root, request) = (self.root, self.request);
        let mut runtime = self.runtime(&facts, plan.restart, None)?;
        let mut session = open_session(root, request)?.with_runtime(&mut runtime);
        Ok(match request.task {
            ChangeKind::Repair => session.repair(&node.version.to_string())?,
            ChangeKind::Migrate { .. } | ChangeKind::Rollback => session.rollback()?,
        })
    }

    /// Waits until the node is fit for the plan, and rehearses it in a sandbox.
    fn wait_and_rehearse(&mut self, node: &LoadedNode, plan: &Plan) -> Result<Facts, CommandError> {
        let facts = wait_for_preflight(self.root, node, &plan.steps, self.request, self.progress)?;
        self.progress.report(
            "rehearsing",
            "containerd is started in a sandbox with the original files and the new ones",
        );
        let rehearsal = rehearse(self.root, node, plan, &facts)?;
        rehearsal.require_agreement()?;
        self.progress.report("rehearsed", &rehearsal.summary());
        // The plan does not cover a file that another program has written since.
        if self.read_node()?.tree != node.tree {
            return Err(changed_since_planned());
        }
        Ok(facts)
    }

    fn read_node(&self) -> Result<LoadedNode, CommandError> {
        LoadedNode::read(self.root, &self.request.node_source())
    }

    fn runtime(
        &mut self,
        facts: &Facts,
        restart: bool,
        expectations: Option<Expectations>,
    ) -> Result<ReportingRuntime<'_, SystemdRuntime<'_>>, CommandError> {
        let times = times(self.request.limits);
        let mut runtime = SystemdRuntime::new(self.root, &unit(facts)?, restart, commands(), times);
        if let Some(expectations) = expectations {
            runtime = runtime.expecting(expectations);
        }
        Ok(ReportingRuntime {
            runtime,
            progress: self.progress,
            containers_may_restart: self.request.containers_may_restart,
        })
    }
}

fn open_session<'s>(root: &'s Root, request: &ChangeRequest) -> Result<Session<'s>, CommandError> {
    Ok(Session::open(root, unix_now(), &request.id)?)
}

/// Returns true if the rollback needs a restart: the change needed one, or the journal does not record whether it did.
pub(crate) fn rollback_needs_restart(status: &Status) -> bool {
    let service = status.in_force().and_then(|change| change.service.as_ref());
    service.is_none_or(|service| service.restart)
}

/// Wraps the steps of a rollback or of a repair in a plan. The plan has no routes: the steps restore earlier contents,
/// so there is nothing to compare.
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

/// Refuses a plan that was undone before because containerd did not serve with it, unless `again` is set.
pub(crate) fn undone_before(node: &LoadedNode, plan: &Plan, again: bool) -> Result<(), CommandError> {
    let before = node.status.undone_before(plan.digest(), &node.version.to_string());
    let Some(change) = before.filter(|_| !again) else {
        return Ok(());
    };
    let cause = change.note.as_deref().unwrap_or("containerd did not serve with it");
    let message = format!("the same plan was undone before, as the change {}: {cause}", change.id);
    Err(CommandError::new(Exit::Refused, "undone-before", message)
        .hint("fix the cause, then run the command again with `--again`"))
}

fn unit(facts: &Facts) -> Result<String, CommandError> {
    let unit = facts.unit.value().map(|unit| unit.id.clone());
    unit.ok_or_else(|| {
        CommandError::new(
            Exit::Refused,
            "unknown",
            "cannot determine which systemd unit runs containerd",
        )
    })
}

fn changed_since_planned() -> CommandError {
    CommandError::new(
        Exit::Refused,
        "changed-meanwhile",
        "the node's files have changed since the plan was made",
    )
    .hint("read the new plan: `mirrorshift plan`")
}
