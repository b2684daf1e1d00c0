//! Back to the bytes before the last change.

use super::{Report, consent, migrate, session};
use crate::cli::{Common, Consent};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::live::order::Task;
use crate::{json, render};
use mirrorshift_node::live::guard_is_left;
use mirrorshift_node::{Outcome, Root, status};

pub(super) fn run(common: &Common, consent: &Consent) -> Result<Report, Failure> {
    let root = Root::open(&common.root)?;
    let status = status(&root)?;
    let left = root.is_live() && guard_is_left(&root);
    let outcome = if status.unfinished.is_none() && status.in_force().is_none() && !left {
        Outcome::Nothing
    } else if root.is_live() && !consent.no_restart {
        consent::root("rollback")?;
        if !consent.yes {
            let question = "Go back to the bytes of before? containerd is restarted; containers keep running.";
            consent::ask(common, "rollback", &render::status::text(&status, false), question)?;
        }
        return migrate::order(&root, common, consent, false, Task::Rollback);
    } else {
        consent::files_alone(&root, &status)?;
        session(&root)?.rollback()?
    };
    let text = || render::change::rolled_back(&outcome, false);
    Ok(Report::either(common, Exit::Done, text, || {
        json::change::rolled_back(&outcome)
    }))
}
