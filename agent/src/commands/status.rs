//! What is in force, and history. Needs no version: it reads the journal alone.

use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use crate::{json, render};
use mirrorshift_node::{Root, status};
use mirrorshift_plan::change::Phase;

pub(super) fn run(common: &CommonArgs, follow: bool) -> Result<CommandOutput, CommandError> {
    if let (true, Some(run)) = (follow, crate::change_run::run_dir::latest_run()) {
        return crate::change_run::follow::follow(&run, common.output);
    }
    let root = Root::open(&common.root)?;
    let status = status(&root)?;
    let exit = match status.phase() {
        Phase::Stuck => Exit::Stuck,
        _ => Exit::Done,
    };
    // What the journal says of it is a moment's truth.
    let under_way = root.is_live()
        && crate::change_run::run_dir::latest_run().is_some()
        && crate::change_run::follow::runs() == Some(true);
    let text = || render::status::text(&status, under_way);
    let document = || json::status::document(&status, under_way);
    Ok(text_or_json(common, exit, text, document))
}
