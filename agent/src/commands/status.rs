//! What is in force, and history. Needs no version: it reads the journal alone.

use super::CommandOutput;
use crate::cli::CommonArgs;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::{json, live, render};
use mirrorshift_node::{Root, status};
use mirrorshift_plan::change::Phase;

pub(super) fn run(common: &CommonArgs, follow: bool) -> Result<CommandOutput, CommandError> {
    if let (true, Some(run)) = (follow, live::latest_run()) {
        return live::follow::follow(&run, common);
    }
    let root = Root::open(&common.root)?;
    let status = status(&root)?;
    let exit = match status.phase() {
        Phase::Stuck => Exit::Stuck,
        _ => Exit::Done,
    };
    // What the journal says of it is a moment's truth.
    let under_way = root.is_live() && live::latest_run().is_some() && live::follow::runs() == Some(true);
    let text = || render::status::text(&status, under_way);
    let document = || json::status::document(&status, under_way);
    Ok(CommandOutput::text_or_json(common, exit, text, document))
}
