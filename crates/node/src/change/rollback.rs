//! Takes a settled change back by another one, where a containerd runs that must serve with the old bytes before they count.

use crate::change::preconditions::{
    CheckedPlan, {self},
};
use crate::change::session::ChangePlan;
use crate::change::step_observation::observe;
use crate::error::NodeError;
use crate::files::root::Root;
use crate::journal::file::{Change, Journal};
use crate::journal::state_dir::StateDir;
use mirrorshift_plan::change::PathState;
use mirrorshift_plan::{Digest, Expect, Step};

/// The change that takes `taken` back: its steps the other way round, last one first, with what its backups hold.
///
/// # Errors
/// A file that was edited since, a backup that is damaged, or whatever [`preconditions::survey`] refuses; nothing was written.
pub(crate) fn survey(
    root: &Root,
    state: &StateDir,
    journal: &Journal,
    taken: &Change,
    id: &str,
    now: u64,
) -> Result<CheckedPlan, NodeError> {
    let plan = plan(root, state, taken)?;
    let mut survey = preconditions::survey(root, state, journal, &plan, id, now)?;
    survey.change.undoes = Some(taken.id.clone());
    survey.change.leaves.clone_from(&taken.folders);
    for step in &mut survey.change.steps {
        let then = taken.steps.iter().find(|one| one.path == step.path);
        step.restores = then.and_then(|one| one.before.clone());
    }
    Ok(survey)
}

/// The same as a plan.
pub(crate) fn plan(root: &Root, state: &StateDir, taken: &Change) -> Result<ChangePlan, NodeError> {
    let mut steps = Vec::new();
    for at in (0..taken.steps.len()).rev() {
        steps.push(step(root, state, taken, at)?);
    }
    Ok(ChangePlan {
        // Of no plan that anybody makes: it is this one change that is taken back.
        digest: Digest::of(format!("rollback of {} {}", taken.id, taken.plan).as_bytes()),
        containerd: taken.containerd.clone(),
        new_file_mode: taken.new_file_mode,
        steps,
    })
}

fn step(root: &Root, state: &StateDir, taken: &Change, at: usize) -> Result<Step, NodeError> {
    let seen = observe(root, state, taken, at)?;
    let record = taken.steps.get(at).ok_or(NodeError::DidNotConverge)?;
    if seen.facts.there != PathState::After {
        return Err(NodeError::ModifiedExternally {
            path: record.path.clone(),
            found: seen
                .found
                .unwrap_or_else(|| "it holds what it held before the change".to_owned()),
        });
    }
    let content = match &record.before {
        None => None,
        Some(before) => Some(
            state
                .read_backup(&taken.id, at)?
                .filter(|bytes| Digest::of(bytes) == before.digest)
                .ok_or_else(|| NodeError::damaged(taken, record, at))?,
        ),
    };
    Ok(Step {
        path: record.path.clone(),
        expect: record.after.map_or(Expect::Absent, Expect::File),
        content,
        why: format!("back to what stood there before `{}`", taken.id),
    })
}
