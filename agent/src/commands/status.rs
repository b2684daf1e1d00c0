//! What is in force, and history. Needs no version: it reads the journal alone.

use super::Report;
use crate::cli::Common;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{json, live, render};
use mirrorshift_node::{Root, status};
use mirrorshift_plan::change::Phase;

pub(super) fn run(common: &Common, follow: bool) -> Result<Report, Failure> {
    if let (true, Some(run)) = (follow, live::last()) {
        return live::follow::follow(&run, common);
    }
    let root = Root::open(&common.root)?;
    let status = status(&root)?;
    let exit = match status.phase() {
        Phase::Stuck => Exit::Stuck,
        _ => Exit::Done,
    };
    // What the journal says of it is a moment's truth.
    let under_way = root.is_live() && live::last().is_some() && live::follow::runs() == Some(true);
    let text = || render::status::text(&status, under_way);
    let document = || json::status::document(&status, under_way);
    Ok(Report::either(common, exit, text, document))
}
