//! Take every trace of the program away. What was migrated stays, and can no longer be rolled back.

use crate::commands::confirm;
use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use crate::{json, render};
use mirrorshift_node::{Root, purge};

pub(super) fn run(common: &CommonArgs, yes: bool) -> Result<CommandOutput, CommandError> {
    let root = Root::open(&common.root)?;
    if root.is_live() {
        confirm::require_root("purge")?;
    }
    if !yes {
        let what =
            "The journal, the backups and the program's copy go; what was migrated stays and cannot be rolled back.";
        confirm::ask(common, "purge", what, "Take all of it away?")?;
    }
    let purged = purge(&root)?;
    let text = || render::change::purged(&purged);
    Ok(text_or_json(common, Exit::Done, text, || json::change::purged(&purged)))
}
