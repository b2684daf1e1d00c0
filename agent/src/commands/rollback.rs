//! Back to the bytes before the last change.

use crate::change_run::request::ChangeKind;
use crate::commands::print::text_or_json;
use crate::commands::{confirm, migrate, session};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::{ChangeArgs, CommonArgs};
use crate::output::CommandOutput;
use crate::{json, render};
use mirrorshift_node::{Outcome, Root, guard_is_left, status};

pub(super) fn run(common: &CommonArgs, consent: &ChangeArgs) -> Result<CommandOutput, CommandError> {
    let root = Root::open(&common.root)?;
    let status = status(&root)?;
    let left = root.is_live() && guard_is_left(&root);
    let outcome = if status.unfinished.is_none() && status.in_force().is_none() && !left {
        Outcome::Nothing
    } else if root.is_live() && !consent.no_restart {
        confirm::require_root("rollback")?;
        if !consent.yes {
            let question = "Go back to the bytes of before? containerd is restarted; containers keep running.";
            confirm::ask(common, "rollback", &render::status::text(&status, false), question)?;
        }
        return migrate::order(&root, common, consent, false, ChangeKind::Rollback);
    } else {
        confirm::confirm_offline_change(&root, &status)?;
        session(&root)?.rollback()?
    };
    let text = || render::change::rolled_back(&outcome, false);
    Ok(text_or_json(common, Exit::Done, text, || {
        json::change::rolled_back(&outcome)
    }))
}
