//! Back to the bytes before the last change.

use super::{CommandOutput, consent, migrate, session};
use crate::cli::{CommonArgs, Consent};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::live::order::ChangeKind;
use crate::{json, render};
use mirrorshift_node::live::guard_is_left;
use mirrorshift_node::{Outcome, Root, status};

pub(super) fn run(common: &CommonArgs, consent: &Consent) -> Result<CommandOutput, CommandError> {
    let root = Root::open(&common.root)?;
    let status = status(&root)?;
    let left = root.is_live() && guard_is_left(&root);
    let outcome = if status.unfinished.is_none() && status.in_force().is_none() && !left {
        Outcome::Nothing
    } else if root.is_live() && !consent.no_restart {
        consent::require_root("rollback")?;
        if !consent.yes {
            let question = "Go back to the bytes of before? containerd is restarted; containers keep running.";
            consent::ask(common, "rollback", &render::status::text(&status, false), question)?;
        }
        return migrate::order(&root, common, consent, false, ChangeKind::Rollback);
    } else {
        consent::confirm_offline_change(&root, &status)?;
        session(&root)?.rollback()?
    };
    let text = || render::change::rolled_back(&outcome, false);
    Ok(CommandOutput::text_or_json(common, Exit::Done, text, || {
        json::change::rolled_back(&outcome)
    }))
}
