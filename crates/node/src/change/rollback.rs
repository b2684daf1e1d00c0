//! Rolls back a settled change with another change, on a node whose containerd must serve with the restored files.

use crate::change::change_plan::ChangePlan;
use crate::change::preconditions::{
    CheckedPlan, {self},
};
use crate::change::step_observation::observe_step;
use crate::error::NodeError;
use crate::files::root::Root;
use crate::journal::file::Journal;
use crate::journal::record::Change;
use crate::journal::state_dir::StateDir;
use mirrorshift_plan::change::PathState;
use mirrorshift_plan::{Digest, Expect, Step};

/// Returns the change that rolls back `reverted`: its steps in reverse order, with the contents of its backups.
///
/// # Errors
/// A file that was modified since, a damaged backup, or an error of [`preconditions::check`]. Nothing was written.
pub(crate) fn check(
    root: &Root,
    state: &StateDir,
    journal: &Journal,
    reverted: &Change,
    id: &str,
    now: u64,
) -> Result<CheckedPlan, NodeError> {
    let plan = plan(root, state, reverted)?;
    let mut checked = preconditions::check(root, state, journal, &plan, id, now)?;
    checked.change.undoes = Some(reverted.id.clone());
    checked.change.leaves.clone_from(&reverted.folders);
    for step in &mut checked.change.steps {
        let original = reverted.steps.iter().find(|original| original.path == step.path);
        step.restores = original.and_then(|original| original.before.clone());
    }
    Ok(checked)
}

/// Returns the rollback of `reverted` as a plan.
pub(crate) fn plan(root: &Root, state: &StateDir, reverted: &Change) -> Result<ChangePlan, NodeError> {
    let mut steps = Vec::new();
    for at in (0..reverted.steps.len()).rev() {
        steps.push(step(root, state, reverted, at)?);
    }
    Ok(ChangePlan {
        // The digest names the reverted change, so that no plan of the planner has it.
        digest: Digest::of(format!("rollback of {} {}", reverted.id, reverted.plan).as_bytes()),
        containerd: reverted.containerd.clone(),
        new_file_mode: reverted.new_file_mode,
        steps,
    })
}

fn step(root: &Root, state: &StateDir, reverted: &Change, at: usize) -> Result<Step, NodeError> {
    let observed = observe_step(root, state, reverted, at)?;
    let record = reverted.steps.get(at).ok_or(NodeError::NoSuchStep(at))?;
    if observed.facts.at_path != PathState::After {
        return Err(NodeError::ModifiedExternally {
            path: record.path.clone(),
            found: observed
                .found
                .unwrap_or_else(|| "it is the original file again".to_owned()),
        });
    }
    let content = match &record.before {
        None => None,
        Some(before) => Some(
            state
                .read_backup(&reverted.id, at)?
                .filter(|bytes| Digest::of(bytes) == before.digest)
                .ok_or_else(|| NodeError::damaged(reverted, record, at))?,
        ),
    };
    Ok(Step {
        path: record.path.clone(),
        expect: record.after.map_or(Expect::Absent, Expect::File),
        content,
        why: format!("restore the file as it was before the change `{}`", reverted.id),
    })
}
