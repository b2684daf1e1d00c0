//! Back to the bytes before the last change.

use super::{Report, no_restart_yet, session};
use crate::cli::{Common, Consent};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{json, render};
use mirrorshift_node::{Outcome, Root, status};

pub(super) fn run(common: &Common, consent: Consent) -> Result<Report, Failure> {
    let root = Root::open(&common.root)?;
    let status = status(&root)?;
    let outcome = if status.unfinished.is_none() && status.in_force().is_none() {
        Outcome::Nothing
    } else if root.is_live() && !consent.no_restart {
        return Err(no_restart_yet("rollback"));
    } else {
        session(&root)?.rollback()?
    };
    let text = || render::change::rolled_back(&outcome);
    Ok(Report::either(common, Exit::Done, text, || {
        json::change::rolled_back(&outcome)
    }))
}
