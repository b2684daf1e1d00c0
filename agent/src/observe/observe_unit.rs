//! What the unit of a look does: reads the node, plans for it, asks whether a change may begin, and rehearses it where that
//! is wanted. Changes nothing of the node: it only keeps copies of what was migrated, so that it can be put back.

use crate::change_id::{ChangeId, unix_now};
use crate::change_run::carry_out::{plan_without_routes, rollback_needs_restart};
use crate::change_run::preflight::{
    preflight_refusal, words, {self},
};
use crate::change_run::rehearse::rehearse;
use crate::change_run::request::ChangeTimeouts;
use crate::change_run::{follow, run_dir};
use crate::error::{CommandError, Location};
use crate::exit::Exit;
use crate::node::{LoadedNode, NodeSource, PolicySource};
use crate::observe::observation::{
    ChangeSummary, Drifted, MirrorSource, NodeObservation, PlanOutcome, Planned, Refused, ReportedFinding,
    RouteDifference,
};
use crate::output::CommandOutput;
use crate::wording::{host_url, registry_name};
use mirrorshift_containerd::redact::free_text;
use mirrorshift_containerd::{Config, Route};
use mirrorshift_node::{Change, Facts, ObserveOptions, Root, Session, Status, drifted, observe, retain_copies, status};
use mirrorshift_plan::Plan;
use mirrorshift_plan::preflight::PreflightResult;
use serde::{Deserialize, Serialize};

/// The file of what is asked.
const QUESTION: &str = "question.json";
/// The file of what was seen.
const SEEN: &str = "seen.json";

/// What a look is to find out. No `Debug`: a policy may hold passwords.
#[derive(Serialize, Deserialize)]
pub(crate) struct ObservationRequest {
    /// The run.
    pub(crate) id: String,
    /// Which change is looked for.
    pub(crate) goal: ObservationGoal,
    /// Where containerd's configuration starts.
    pub(crate) config: String,
    /// Whether the change is tried in a sandbox.
    pub(crate) rehearse: bool,
}

/// Which change is looked for.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum ObservationGoal {
    /// To what a policy wants.
    Migrate(PolicySource),
    /// Back to the bytes of before.
    Rollback,
}

impl ObservationRequest {
    /// Puts it where the unit looks for it.
    pub(crate) fn write(&self) -> Result<(), CommandError> {
        run_dir::make(&self.id)?;
        let text = serde_json::to_vec(self).unwrap_or_default();
        run_dir::replace(&run_dir::path(&self.id, QUESTION), &text).map_err(|error| run_dir::failed("write to", &error))
    }

    /// What came of it, once its unit has ended. Takes question and answer away.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn answer(&self) -> Result<NodeObservation, Refused> {
        let nothing = |why: String| Refused {
            exit: Exit::Unexpected,
            reason: "look".to_owned(),
            message: format!("the look at the node ended without an answer: {why}"),
            hint: Some("`journalctl -u mirrorshift-facts` on the node says why".to_owned()),
        };
        let read = std::fs::read(run_dir::path(&self.id, SEEN));
        run_dir::take_away(&self.id);
        let bytes = read.map_err(|error| nothing(error.to_string()))?;
        let seen: Result<NodeObservation, Refused> =
            serde_json::from_slice(&bytes).map_err(|error| nothing(error.to_string()))?;
        seen
    }
}

/// Answers the question of a run.
pub(crate) fn run(id: &str) -> Result<CommandOutput, CommandError> {
    let unreadable = |why: String| CommandError::usage("question", format!("the run `{id}` asks nothing: {why}"));
    let bytes = std::fs::read(run_dir::path(id, QUESTION)).map_err(|error| unreadable(error.to_string()))?;
    let question: ObservationRequest = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let seen = look(&question).map_err(|failure| Refused::of(&failure));
    let text = serde_json::to_vec(&seen).unwrap_or_default();
    run_dir::replace(&run_dir::path(id, SEEN), &text).map_err(|error| run_dir::failed("write to", &error))?;
    Ok(CommandOutput::text(Exit::Done, String::new()))
}

fn look(question: &ObservationRequest) -> Result<NodeObservation, CommandError> {
    let root = Root::open("/")?;
    let facts = observe(&root, &ObserveOptions::default())
        .map_err(|error| CommandError::new(Exit::Refused, "not-live", error.to_string()))?;
    let source = NodeSource::live(question.config.clone(), None);
    // What is not kept cannot be put back, and that is told.
    retain_copies(&root).ok();
    let journal = status(&root)?;
    let mut seen = NodeObservation {
        containerd: facts.containerd.version.known().cloned(),
        unit: facts.unit.known().map(|unit| unit.id.clone()),
        invocation: facts.unit.known().and_then(|unit| unit.invocation_id.clone()),
        serves: facts.cri.status.known().is_some_and(|status| status.runtime.ready),
        under_way: follow::runs() == Some(true),
        unfinished: journal.unfinished.as_ref().map(ChangeSummary::of),
        in_force: journal.in_force().map(ChangeSummary::of),
        last: journal.history.last().map(ChangeSummary::of),
        drifted: drifted(&root, &journal).into_iter().map(Drifted::from).collect(),
        mended_ago: mended_ago(&journal),
        // What follows is for what can be read.
        mirrors: None,
        findings: Vec::new(),
        answer: PlanOutcome::Planned(Planned::default()),
    };
    let node = match LoadedNode::read(&root, &source) {
        Ok(node) => node,
        Err(failure) => {
            seen.answer = PlanOutcome::Refused(Refused::of(&failure));
            return Ok(seen);
        }
    };
    seen.containerd = Some(node.version.to_string());
    seen.mirrors = node.outcome.as_ref().ok().map(mirrors);
    let findings = mirrorshift_containerd::findings(&node.outcome, &node.tree, &node.version);
    seen.findings = findings.iter().map(ReportedFinding::of).collect();
    seen.answer = match answer(&root, &node, question) {
        Ok(planned) => PlanOutcome::Planned(planned),
        Err(failure) => PlanOutcome::Refused(Refused::of(&failure)),
    };
    Ok(seen)
}

fn answer(root: &Root, node: &LoadedNode, question: &ObservationRequest) -> Result<Planned, CommandError> {
    let Some(plan) = planned(root, node, question)? else {
        return Ok(Planned::default());
    };
    let mut planned = Planned {
        routes: plan.routes.iter().map(RouteDifference::of).collect(),
        ..Planned::default()
    };
    if plan.is_empty() {
        return Ok(planned);
    }
    planned.digest = Some(plan.digest());
    planned.restart = plan.restart;
    planned.files = plan.steps.iter().map(|step| step.path.clone()).collect();
    let before = node.status.undone_before(plan.digest(), &node.version.to_string());
    planned.undone_before = before.map(|change| {
        let why = change.note.as_deref();
        free_text(why.unwrap_or("containerd did not serve with it"))
    });
    // What is not tried again by itself need not be rehearsed, and what is under way is not looked at from outside.
    if planned.undone_before.is_some() || node.status.unfinished.is_some() {
        return Ok(planned);
    }
    let facts = fit(root, node, &plan, &mut planned)?;
    if question.rehearse {
        let rehearsed = rehearse(root, node, &plan, &facts)?;
        rehearsed.require_agreement()?;
        planned.rehearsed = Some(rehearsed.summary());
    }
    Ok(planned)
}

/// Whether a change may begin, now or once the node is quiet.
fn fit(root: &Root, node: &LoadedNode, plan: &Plan, planned: &mut Planned) -> Result<Facts, CommandError> {
    let facts = preflight::look(root, node, &plan.steps)?;
    match preflight::verdict(&facts, node, &plan.steps, false)? {
        PreflightResult::Go => {}
        PreflightResult::Wait(busy) => planned.busy = Some(words(&busy)),
        PreflightResult::Refuse(obstacles) => return Err(preflight_refusal(&obstacles)),
    }
    Ok(facts)
}

fn planned(root: &Root, node: &LoadedNode, question: &ObservationRequest) -> Result<Option<Plan>, CommandError> {
    match &question.goal {
        ObservationGoal::Migrate(wanted) => Ok(Some(node.plan(&wanted.policy()?)?)),
        ObservationGoal::Rollback => {
            let id = ChangeId::generate();
            let back_to = Session::open_with_timeout(root, id.created, &id.name, ChangeTimeouts::default().serve)?
                .rollback_plan()?;
            Ok(back_to.map(|way| plan_without_routes(way.steps, rollback_needs_restart(&node.status))))
        }
    }
}

fn mirrors(config: &Config) -> MirrorSource {
    let path = config.registry.config_path.as_ref();
    let by_path = path.is_some_and(|path| !path.value.is_empty() && path.place.is_some());
    match (!config.registry.mirrors.is_empty(), by_path) {
        (true, true) => MirrorSource::Both,
        (true, false) => MirrorSource::Legacy,
        (false, true) => MirrorSource::ConfigPath,
        (false, false) => MirrorSource::None,
    }
}

/// How long ago a mending ended. One that ended in the future, by a clock that was set back since, counts for nothing: there is
/// one more repair then, and the next one is an hour later.
fn mended_ago(journal: &Status) -> Option<u64> {
    let last = journal.history.iter().rfind(|change| change.is_repair)?;
    unix_now().checked_sub(last.ended?)
}

impl From<mirrorshift_node::Drift> for Drifted {
    fn from(drift: mirrorshift_node::Drift) -> Self {
        Self {
            path: drift.path,
            now: drift.now,
            mendable: drift.mendable,
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
            Route::Hosts(asks) => asks.iter().map(host_url).collect(),
            Route::Fails(failure) => vec![format!("nobody: {}", free_text(&failure.reason))],
        };
        Self {
            registry: registry_name(&change.registry).as_deref().map(free_text),
            before: hosts(&change.before),
            after: hosts(&change.after),
            differs: change.differs(),
        }
    }
}

impl Refused {
    pub(crate) fn of(failure: &CommandError) -> Self {
        let place = failure.place.as_deref().map(|Location { file, line, .. }| match line {
            Some(line) => format!("{file}:{line}: "),
            None => format!("{file}: "),
        });
        Self {
            exit: failure.exit,
            reason: failure.reason.to_owned(),
            message: free_text(&format!("{}{}", place.unwrap_or_default(), failure.message)),
            hint: failure.hint.as_deref().map(free_text),
        }
    }
}

impl ReportedFinding {
    fn of(finding: &mirrorshift_containerd::Finding) -> Self {
        let place = finding.place.as_ref().map(|place| match place.line {
            Some(line) => format!("{}:{line}: ", place.path),
            None => format!("{}: ", place.path),
        });
        let place = place.unwrap_or_default();
        Self {
            id: finding.id.as_str().to_owned(),
            severity: finding.severity.as_str().to_owned(),
            message: free_text(&format!("{place}{} {}", finding.what, finding.remedy)),
        }
    }
}
