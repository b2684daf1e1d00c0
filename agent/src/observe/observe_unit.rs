//! The observing unit: reads the node, plans for it, checks whether a change may begin, and rehearses the change if
//! requested.
//!
//! It changes no file of the node. It only keeps copies of the migrated files in Mirrorshift's own folder, so that they
//! can be repaired.

use crate::change_id::{ChangeId, unix_now};
use crate::change_run::carry_out::{plan_without_routes, rollback_needs_restart};
use crate::change_run::failure_summary::FailureSummary;
use crate::change_run::preflight::{
    describe_work, preflight_refusal, {self},
};
use crate::change_run::rehearse::rehearse;
use crate::change_run::request::ChangeTimeouts;
use crate::change_run::{follow, run_dir};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::{LoadedNode, NodeSource, PolicySource};
use crate::observe::observation::{
    ChangeSummary, DriftedFile, MirrorSource, NodeObservation, PlanOutcome, PlannedChange, ReportedFinding,
    RouteDifference,
};
use crate::output::CommandOutput;
use crate::wording::{host_url, registry_name};
use mirrorshift_containerd::redact::free_text;
use mirrorshift_containerd::{Config, Route};
use mirrorshift_node::{Change, Facts, ObserveOptions, Root, Session, Status, drifted, retain_copies, status};
use mirrorshift_plan::Plan;
use mirrorshift_plan::preflight::PreflightResult;
use serde::{Deserialize, Serialize};

/// The file of the request.
const REQUEST: &str = "request.json";
/// The file of the result.
const OBSERVATION: &str = "observation.json";

/// A request to observe the node. No `Debug`: a policy may hold passwords.
#[derive(Serialize, Deserialize)]
pub(crate) struct ObservationRequest {
    /// The identifier of the run.
    pub(crate) id: String,
    pub(crate) goal: ObservationGoal,
    /// The path of containerd's root configuration file.
    pub(crate) config: String,
    /// Rehearse the change in a sandbox.
    pub(crate) rehearse: bool,
}

/// The change that an observation plans.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum ObservationGoal {
    /// A change that makes the node match a policy.
    Migrate(PolicySource),
    /// A change that restores the original files.
    Rollback,
}

impl ObservationRequest {
    /// Writes the request to the folder of its run.
    pub(crate) fn write(&self) -> Result<(), CommandError> {
        run_dir::make(&self.id)?;
        let text = serde_json::to_vec(self).unwrap_or_default();
        run_dir::replace(&run_dir::path(&self.id, REQUEST), &text).map_err(|error| run_dir::failed("write to", &error))
    }

    /// Reads the observation after the unit has ended, and removes the folder of the run.
    ///
    /// # Errors
    ///
    /// The failure of the unit, or that there is no observation.
    pub(crate) fn take_observation(&self) -> Result<NodeObservation, FailureSummary> {
        let no_result = |cause: String| FailureSummary {
            exit: Exit::Unexpected,
            reason: "look".to_owned(),
            message: format!("the observation of the node ended without a result: {cause}"),
            hint: Some("read `journalctl -u mirrorshift-facts` on the node".to_owned()),
        };
        let read = std::fs::read(run_dir::path(&self.id, OBSERVATION));
        run_dir::remove(&self.id);
        let text = read.map_err(|error| no_result(error.to_string()))?;
        let observation: Result<NodeObservation, FailureSummary> =
            serde_json::from_slice(&text).map_err(|error| no_result(error.to_string()))?;
        observation
    }
}

/// Makes the observation that the request of a run describes.
pub(crate) fn run(id: &str) -> Result<CommandOutput, CommandError> {
    let unreadable = |cause: String| {
        CommandError::usage(
            "question",
            format!("cannot read the request of the run `{id}`: {cause}"),
        )
    };
    let text = std::fs::read(run_dir::path(id, REQUEST)).map_err(|error| unreadable(error.to_string()))?;
    let request: ObservationRequest = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    let observation = observe_node(&request).map_err(|error| FailureSummary::from(&error));
    let text = serde_json::to_vec(&observation).unwrap_or_default();
    run_dir::replace(&run_dir::path(id, OBSERVATION), &text).map_err(|error| run_dir::failed("write to", &error))?;
    Ok(CommandOutput::text(Exit::Done, String::new()))
}

fn observe_node(request: &ObservationRequest) -> Result<NodeObservation, CommandError> {
    let root = Root::open("/")?;
    let options = ObserveOptions {
        images: matches!(request.goal, ObservationGoal::Migrate(_)),
        ..ObserveOptions::default()
    };
    let facts = preflight::observe_node(&root, &options)?;
    let source = NodeSource::live(request.config.clone(), None);
    // Best effort: a file whose copy could not be retained is reported as not repairable.
    retain_copies(&root).ok();
    let journal = status(&root)?;
    let mut observation = NodeObservation {
        containerd: facts.containerd.version.value().cloned(),
        unit: facts.unit.value().map(|unit| unit.id.clone()),
        last_start: facts.last_start_duration(),
        invocation: facts.unit.value().and_then(|unit| unit.invocation_id.clone()),
        serves: facts.cri.status.value().is_some_and(|status| status.runtime.ready),
        under_way: follow::runs() == Some(true),
        unfinished: journal.unfinished.as_ref().map(ChangeSummary::of),
        in_force: journal.in_force().map(ChangeSummary::of),
        last: journal.history.last().map(ChangeSummary::of),
        drifted: drifted(&root, &journal).into_iter().map(DriftedFile::from).collect(),
        repaired_ago: repaired_ago(&journal),
        // The rest needs a readable configuration.
        mirrors: None,
        findings: Vec::new(),
        plan: PlanOutcome::Planned(PlannedChange::default()),
    };
    let mut node = match LoadedNode::read(&root, &source) {
        Ok(node) => node,
        Err(error) => {
            observation.plan = PlanOutcome::Refused(FailureSummary::from(&error));
            return Ok(observation);
        }
    };
    observation.containerd = Some(node.version.to_string());
    observation.mirrors = node.outcome.as_ref().ok().map(mirror_source);
    let findings = mirrorshift_containerd::findings(&node.outcome, &node.tree, &node.version);
    observation.findings = findings.iter().map(ReportedFinding::of).collect();
    node.compare_images(&facts.cri.images);
    observation.plan = match planned_change(&root, &node, request) {
        Ok(planned) => PlanOutcome::Planned(planned),
        Err(error) => PlanOutcome::Refused(FailureSummary::from(&error)),
    };
    Ok(observation)
}

fn planned_change(root: &Root, node: &LoadedNode, request: &ObservationRequest) -> Result<PlannedChange, CommandError> {
    let Some(plan) = plan(root, node, request)? else {
        return Ok(PlannedChange::default());
    };
    let mut planned = PlannedChange {
        routes: plan.routes.iter().map(RouteDifference::of).collect(),
        ..PlannedChange::default()
    };
    if plan.is_empty() {
        return Ok(planned);
    }
    planned.digest = Some(plan.digest());
    planned.restart = plan.restart;
    planned.files = plan.steps.iter().map(|step| step.path.clone()).collect();
    let before = node.status.undone_before(plan.digest(), &node.version.to_string());
    planned.undone_before = before.map(|change| {
        let cause = change.note.as_deref();
        free_text(cause.unwrap_or("containerd did not serve with it"))
    });
    // A plan that was undone before is not attempted again, so it needs no rehearsal. An unfinished change is undone
    // first, and the node is different then.
    if planned.undone_before.is_some() || node.status.unfinished.is_some() {
        return Ok(planned);
    }
    let facts = check_preflight(root, node, &plan, &mut planned)?;
    if request.rehearse {
        let rehearsal = rehearse(root, node, &plan, &facts)?;
        rehearsal.require_agreement()?;
        planned.rehearsed = Some(rehearsal.summary());
    }
    Ok(planned)
}

/// Checks that a change may begin now, or after the ongoing work has ended.
fn check_preflight(
    root: &Root,
    node: &LoadedNode,
    plan: &Plan,
    planned: &mut PlannedChange,
) -> Result<Facts, CommandError> {
    let facts = preflight::observe_files(root, node, &plan.steps)?;
    match preflight::verdict(&facts, node, &plan.steps, false)? {
        PreflightResult::Go => {}
        PreflightResult::Wait(busy) => planned.busy = Some(describe_work(&busy)),
        PreflightResult::Refuse(obstacles) => return Err(preflight_refusal(&obstacles)),
    }
    Ok(facts)
}

fn plan(root: &Root, node: &LoadedNode, request: &ObservationRequest) -> Result<Option<Plan>, CommandError> {
    match &request.goal {
        ObservationGoal::Migrate(policy) => Ok(Some(node.plan(&policy.policy()?)?)),
        ObservationGoal::Rollback => {
            let id = ChangeId::generate();
            let session = Session::open_with_timeout(root, id.created, &id.name, ChangeTimeouts::default().serve)?;
            let rollback = session.rollback_plan()?;
            Ok(rollback.map(|rollback| plan_without_routes(rollback.steps, rollback_needs_restart(&node.status))))
        }
    }
}

fn mirror_source(config: &Config) -> MirrorSource {
    let path = config.registry.config_path.as_ref();
    let has_config_path = path.is_some_and(|path| !path.value.is_empty() && path.place.is_some());
    match (!config.registry.mirrors.is_empty(), has_config_path) {
        (true, true) => MirrorSource::Both,
        (true, false) => MirrorSource::Legacy,
        (false, true) => MirrorSource::ConfigPath,
        (false, false) => MirrorSource::None,
    }
}

/// The seconds since the last repair ended. A repair that ended in the future, because the clock was set back since, is
/// ignored. This costs one more repair; the next repair is an hour later.
fn repaired_ago(journal: &Status) -> Option<u64> {
    let last = journal.history.iter().rfind(|change| change.is_repair)?;
    unix_now().checked_sub(last.ended?)
}

impl From<mirrorshift_node::Drift> for DriftedFile {
    fn from(drift: mirrorshift_node::Drift) -> Self {
        Self {
            path: drift.path,
            now: drift.now,
            repairable: drift.repairable,
        }
    }
}

impl ChangeSummary {
    fn of(change: &Change) -> Self {
        Self {
            id: change.id.clone(),
            phase: change.phase,
            ended: change.ended,
            note: change.note.as_deref().map(free_text),
        }
    }
}

impl RouteDifference {
    fn of(change: &mirrorshift_plan::RouteChange) -> Self {
        let hosts = |route: &Route| match route {
            Route::Hosts(hosts) => hosts.iter().map(host_url).collect(),
            Route::Fails(failure) => vec![format!("none: {}", free_text(&failure.reason))],
        };
        Self {
            registry: free_text(&registry_name(&change.registry).unwrap_or_else(|| "*".to_owned())),
            before: hosts(&change.before),
            after: hosts(&change.after),
            differs: change.differs(),
        }
    }
}

impl ReportedFinding {
    fn of(finding: &mirrorshift_containerd::Finding) -> Self {
        let location = finding.place.as_ref().map(|place| match place.line {
            Some(line) => format!("{}:{line}: ", place.path),
            None => format!("{}: ", place.path),
        });
        let location = location.unwrap_or_default();
        Self {
            id: finding.id.as_str().to_owned(),
            severity: finding.severity.as_str().to_owned(),
            message: free_text(&format!("{location}{} {}", finding.what, finding.remedy)),
        }
    }
}
