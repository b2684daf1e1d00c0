//! `purge`: deletes mirrorshift's own files. A migrated configuration stays, and can no longer be rolled back.

use crate::commands::confirm;
use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use crate::{json, render};
use mirrorshift_node::{Purged, RUN_DIR, Root, STATE_DIR, purge};
use std::path::Path;

const QUESTION: &str =
    "Delete mirrorshift's own files? A migrated configuration stays, and can no longer be rolled back.";

pub(super) fn run(common: &CommonArgs, dry_run: bool, yes: bool) -> Result<CommandOutput, CommandError> {
    let root = Root::open(&common.root)?;
    if dry_run {
        let preview = Purged {
            gone: present_paths(&common.root),
            left: Vec::new(),
        };
        let text = || render::change::purge_preview(&preview.gone, common.width);
        return Ok(text_or_json(common, Exit::Done, text, || {
            json::change::purged(&preview, true)
        }));
    }
    if root.is_live() {
        confirm::require_root("purge")?;
    }
    if !yes {
        let text = render::change::purge_preview(&present_paths(&common.root), common.width);
        confirm::ask(common, "purge", &text, QUESTION)?;
    }
    let purged = purge(&root)?;
    let text = || render::change::purged(&purged);
    Ok(text_or_json(common, Exit::Done, text, || {
        json::change::purged(&purged, false)
    }))
}

/// Returns the directories of mirrorshift that exist and what is directly in them.
fn present_paths(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for directory in [STATE_DIR, RUN_DIR] {
        let Ok(entries) = std::fs::read_dir(root.join(directory.trim_start_matches('/'))) else {
            continue;
        };
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| format!("{directory}/{}", entry.file_name().to_string_lossy()))
            .collect();
        names.sort();
        paths.push(directory.to_owned());
        paths.extend(names);
    }
    paths
}
