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
    let text = || render::status::text(&status);
    Ok(Report::either(common, exit, text, || json::status::document(&status)))
}
