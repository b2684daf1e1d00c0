//! Looks at a change's files, for the next decision.

use crate::error::NodeError;
use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, join, split};
use crate::files::snapshot::{PathStat, stat_path};
use crate::journal::file::{Change, StepRecord};
use crate::journal::state_dir::StateDir;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::{PathState, SiblingState, StepFacts, StepKind};
use rustix::io::Errno;

/// A step as it is, and, when somebody edited its file, what was found.
#[derive(Debug)]
pub(crate) struct StepObservation {
    pub(crate) facts: StepFacts,
    pub(crate) found: Option<String>,
}

/// Looks at step `at` of `change`: its file, the copy beside it and its backup.
pub(crate) fn observe(root: &Root, state: &StateDir, change: &Change, at: usize) -> Result<StepObservation, NodeError> {
    let step = change.steps.get(at).ok_or(NodeError::DidNotConverge)?;
    let seen = seen(root, &step.target)?;
    let found = match moved(root, step) {
        Some(elsewhere) => Some(elsewhere),
        None => foreign(step, &seen),
    };
    let there = match &found {
        Some(_) => PathState::Foreign,
        None if is_after(step, &seen) => PathState::After,
        None => PathState::Before,
    };
    let beside = match crate::change::step_observation::seen(root, &step.beside)? {
        PathStat::Nothing => SiblingState::Nothing,
        PathStat::File(now) if step.before.as_ref().is_some_and(|then| now.record.same(then)) => SiblingState::Before,
        PathStat::File(now) if step.after == Some(now.record.digest) => SiblingState::After,
        PathStat::File(_) | PathStat::Other(_) => SiblingState::Foreign,
    };
    let backup = match &step.before {
        Some(then) => state
            .read_backup(&change.id, at)?
            .is_some_and(|bytes| Digest::of(&bytes) == then.digest),
        None => true,
    };
    Ok(StepObservation {
        facts: StepFacts {
            kind: step.kind(),
            mark: step.mark,
            there,
            beside,
            backup,
        },
        found,
    })
}

/// What stands at a path without links. Below a folder that is not there stands nothing.
fn seen(root: &Root, path: &str) -> Result<PathStat, NodeError> {
    let (folder, name) = split(path);
    match root.folder(folder) {
        Ok(folder) => stat_path(&folder, name, path),
        Err(Errno::NOENT) => Ok(PathStat::Nothing),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(PathStat::Other("is below something that is no folder".to_owned())),
        Err(error) => Err(NodeError::io("open", folder)(error)),
    }
}

/// Where the plan's path leads now, when that is no longer the file that the change is about.
fn moved(root: &Root, step: &StepRecord) -> Option<String> {
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
        Err(lost) => Some(format!("it {} now", lost.fragment(&step.path))),
        Ok(ResolvedPath::Found(_)) => None,
    }
}

/// Why what was seen is neither what stood there before nor what the change puts there.
fn foreign(step: &StepRecord, seen: &PathStat) -> Option<String> {
    let found = match (seen, step.kind()) {
        (PathStat::Nothing, StepKind::Create | StepKind::Remove) => return None,
        (PathStat::Nothing, StepKind::Replace) => "it is gone".to_owned(),
        (PathStat::Other(what), _) => format!("it {what} now"),
        (PathStat::File(now), _) if step.after == Some(now.record.digest) => return None,
        (PathStat::File(now), kind) => match &step.before {
            Some(then) if now.record.same(then) => return None,
            Some(then) if now.record.digest == then.digest => "its mode, owner or attributes are others".to_owned(),
            None if kind == StepKind::Create => "something stands there".to_owned(),
            _ => "it holds other bytes".to_owned(),
        },
    };
    Some(found)
}

fn is_after(step: &StepRecord, seen: &PathStat) -> bool {
    match seen {
        PathStat::Nothing => step.kind() == StepKind::Remove,
        PathStat::File(now) => step.after == Some(now.record.digest),
        PathStat::Other(_) => false,
    }
}
