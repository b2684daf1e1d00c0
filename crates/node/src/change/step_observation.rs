//! Observes the files of a change for the next decision.

use crate::error::NodeError;
use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, join, split};
use crate::files::snapshot::{PathStat, stat_path};
use crate::journal::record::{Change, StepRecord};
use crate::journal::state_dir::StateDir;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::{PathState, SiblingState, StepFacts, StepKind};
use rustix::io::Errno;

/// The state of a step, and a description of its file if another program modified it.
#[derive(Debug)]
pub(crate) struct StepObservation {
    pub(crate) facts: StepFacts,
    pub(crate) found: Option<String>,
}

/// Observes step `at` of `change`: its file, the copy next to it, and its backup.
pub(crate) fn observe_step(
    root: &Root,
    state: &StateDir,
    change: &Change,
    at: usize,
) -> Result<StepObservation, NodeError> {
    let step = change.steps.get(at).ok_or(NodeError::NoSuchStep(at))?;
    let stat = stat_of(root, &step.target)?;
    let found = match redirection(root, step) {
        Some(elsewhere) => Some(elsewhere),
        None => foreign(step, &stat),
    };
    let there = match &found {
        Some(_) => PathState::Foreign,
        None if is_after(step, &stat) => PathState::After,
        None => PathState::Before,
    };
    let beside = match stat_of(root, &step.beside)? {
        PathStat::Nothing => SiblingState::Nothing,
        PathStat::File(now) if step.before.as_ref().is_some_and(|before| now.record.is_same_as(before)) => {
            SiblingState::Before
        }
        PathStat::File(now) if step.after == Some(now.record.digest) => SiblingState::After,
        PathStat::File(_) | PathStat::Other(_) => SiblingState::Foreign,
    };
    let backup = match &step.before {
        Some(before) => state
            .read_backup(&change.id, at)?
            .is_some_and(|bytes| Digest::of(&bytes) == before.digest),
        None => true,
    };
    Ok(StepObservation {
        facts: StepFacts {
            kind: step.kind(),
            mark: step.mark,
            at_path: there,
            sibling: beside,
            backup,
        },
        found,
    })
}

/// Reads a path without links. A path in a missing folder is [`PathStat::Nothing`].
fn stat_of(root: &Root, path: &str) -> Result<PathStat, NodeError> {
    let (folder, name) = split(path);
    match root.folder(folder) {
        Ok(folder) => stat_path(&folder, name, path),
        Err(Errno::NOENT) => Ok(PathStat::Nothing),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(PathStat::Other("is under a path that is not a folder".to_owned())),
        Err(error) => Err(NodeError::io("open", folder)(error)),
    }
}

/// Describes where the plan's path leads now, if it no longer leads to the file of the change.
fn redirection(root: &Root, step: &StepRecord) -> Option<String> {
    match resolve(root, &step.path) {
        Ok(ResolvedPath::Found(real)) if real != step.target => Some(format!("it leads to `{real}` now")),
        Ok(ResolvedPath::Missing {
            anchor,
            names,
            dangling,
        }) => {
            let real = names.iter().fold(anchor, |path, name| join(&path, name));
            (dangling.is_some() || real != step.target).then(|| "it is a link to nothing now".to_owned())
        }
        Err(error) => Some(format!("it {} now", error.fragment(&step.path))),
        Ok(ResolvedPath::Found(_)) => None,
    }
}

/// Describes a file that is neither the original nor the new one.
fn foreign(step: &StepRecord, stat: &PathStat) -> Option<String> {
    let found = match (stat, step.kind()) {
        (PathStat::Nothing, StepKind::Create | StepKind::Remove) => return None,
        (PathStat::Nothing, StepKind::Replace) => "it was removed".to_owned(),
        (PathStat::Other(what), _) => format!("it {what} now"),
        (PathStat::File(now), _) if step.after == Some(now.record.digest) => return None,
        (PathStat::File(now), kind) => match &step.before {
            Some(before) if now.record.is_same_as(before) => return None,
            Some(before) if now.record.digest == before.digest => {
                "its mode, owner or attributes were changed".to_owned()
            }
            None if kind == StepKind::Create => "the file exists now".to_owned(),
            _ => "its contents were changed".to_owned(),
        },
    };
    Some(found)
}

fn is_after(step: &StepRecord, stat: &PathStat) -> bool {
    match stat {
        PathStat::Nothing => step.kind() == StepKind::Remove,
        PathStat::File(now) => step.after == Some(now.record.digest),
        PathStat::Other(_) => false,
    }
}
