//! Take every trace of the program away. What was migrated stays, and can no longer be rolled back.

use super::{Report, consent};
use crate::cli::Common;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{json, render};
use mirrorshift_node::{Root, purge};

pub(super) fn run(common: &Common, yes: bool) -> Result<Report, Failure> {
    let root = Root::open(&common.root)?;
    if root.is_live() {
        consent::root("purge")?;
    }
    if !yes {
        let what =
            "The journal, the backups and the program's copy go; what was migrated stays and cannot be rolled back.";
        consent::ask(common, "purge", what, "Take all of it away?")?;
    }
    let purged = purge(&root)?;
    let text = || render::change::purged(&purged);
    Ok(Report::either(common, Exit::Done, text, || {
        json::change::purged(&purged)
    }))
}
