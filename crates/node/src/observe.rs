//! Looks at a change's files, for the next decision.

use crate::journal::{Change, StepRecord};
use crate::resolve::{Landing, resolve};
use crate::root::{Root, join, split};
use crate::snapshot::{Seen, look};
use crate::state::State;
use crate::trouble::Trouble;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::{Beside, Kind, StepFacts, There};
use rustix::io::Errno;

/// A step as it is, and, when somebody edited its file, what was found.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) facts: StepFacts,
    pub(crate) found: Option<String>,
}

/// Looks at step `at` of `change`: its file, the copy beside it and its backup.
pub(crate) fn observe(root: &Root, state: &State, change: &Change, at: usize) -> Result<Observed, Trouble> {
    let step = change.steps.get(at).ok_or(Trouble::Endless)?;
    let seen = seen(root, &step.target)?;
    let found = match moved(root, step) {
        Some(elsewhere) => Some(elsewhere),
        None => foreign(step, &seen),
    };
    let there = match &found {
        Some(_) => There::Foreign,
        None if is_after(step, &seen) => There::After,
        None => There::Before,
    };
    let beside = match self::seen(root, &step.beside)? {
        Seen::Nothing => Beside::Nothing,
        Seen::File(now) if step.before.as_ref().is_some_and(|then| now.record.same(then)) => Beside::Before,
        Seen::File(now) if step.after == Some(now.record.digest) => Beside::After,
        Seen::File(_) | Seen::Other(_) => Beside::Foreign,
    };
    let backup = match &step.before {
        Some(then) => state
            .read_backup(&change.id, at)?
            .is_some_and(|bytes| Digest::of(&bytes) == then.digest),
        None => true,
    };
    Ok(Observed {
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
fn seen(root: &Root, path: &str) -> Result<Seen, Trouble> {
    let (folder, name) = split(path);
    match root.folder(folder) {
        Ok(folder) => look(&folder, name, path),
        Err(Errno::NOENT) => Ok(Seen::Nothing),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(Seen::Other("is below something that is no folder".to_owned())),
        Err(error) => Err(Trouble::io("open", folder)(error)),
    }
}

/// Where the plan's path leads now, when that is no longer the file that the change is about.
fn moved(root: &Root, step: &StepRecord) -> Option<String> {
    match resolve(root, &step.path) {
        Ok(Landing::Found(real)) if real != step.target => Some(format!("it leads to `{real}` now")),
        Ok(Landing::Missing {
            anchor,
            names,
            dangling,
        }) => {
            let real = names.iter().fold(anchor, |path, name| join(&path, name));
            (dangling.is_some() || real != step.target).then(|| "it is a link to nothing now".to_owned())
        }
        Err(lost) => Some(format!("it {} now", lost.fragment(&step.path))),
        Ok(Landing::Found(_)) => None,
    }
}

/// Why what was seen is neither what stood there before nor what the change puts there.
fn foreign(step: &StepRecord, seen: &Seen) -> Option<String> {
    let found = match (seen, step.kind()) {
        (Seen::Nothing, Kind::Create | Kind::Remove) => return None,
        (Seen::Nothing, Kind::Replace) => "it is gone".to_owned(),
        (Seen::Other(what), _) => format!("it {what} now"),
        (Seen::File(now), _) if step.after == Some(now.record.digest) => return None,
        (Seen::File(now), kind) => match &step.before {
            Some(then) if now.record.same(then) => return None,
            Some(then) if now.record.digest == then.digest => "its mode, owner or attributes are others".to_owned(),
            None if kind == Kind::Create => "something stands there".to_owned(),
            _ => "it holds other bytes".to_owned(),
        },
    };
    Some(found)
}

fn is_after(step: &StepRecord, seen: &Seen) -> bool {
    match seen {
        Seen::Nothing => step.kind() == Kind::Remove,
        Seen::File(now) => step.after == Some(now.record.digest),
        Seen::Other(_) => false,
    }
}
