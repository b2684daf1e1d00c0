//! `rollback`: restores the original files of the last change.

use crate::change_run::request::ChangeKind;
use crate::commands::confirm;
use crate::commands::load::{load_node, open_session, reject_live_flags};
use crate::commands::migrate::{restart_sentence, start_change};
use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::{ChangeArgs, CommonArgs};
use crate::output::CommandOutput;
use crate::wording::modification_text;
use crate::{json, render};
use mirrorshift_node::{Drift, Outcome, Root, STATE_DIR, Status, boot_guard_exists, drifted, status};

pub(super) fn run(common: &CommonArgs, args: &ChangeArgs) -> Result<CommandOutput, CommandError> {
    let root = Root::open(&common.root)?;
    reject_live_flags(&root, args)?;
    let status = status(&root)?;
    if args.dry_run {
        let change = status.unfinished.as_ref().or(status.in_force());
        let modified = modified_files(&root, &status);
        let text = || render::change::rollback_preview(change, &modified, common.width);
        return Ok(text_or_json(common, Exit::Done, text, || {
            json::change::rollback_preview(change)
        }));
    }
    require_unmodified_files(&root, &status)?;
    let is_guard_left = root.is_live() && boot_guard_exists(&root);
    let outcome = if status.unfinished.is_none() && status.in_force().is_none() && !is_guard_left {
        Outcome::Nothing
    } else if root.is_live() && !args.no_restart {
        confirm::require_root("rollback")?;
        if !args.yes {
            confirm_rollback(common, &status)?;
        }
        return start_change(&root, None, common, args, false, ChangeKind::Rollback);
    } else {
        confirm::require_no_live_change(&root, &status)?;
        open_session(&root)?.rollback()?
    };
    let text = || render::change::rolled_back(&outcome, false, common.width);
    Ok(text_or_json(common, Exit::Done, text, || {
        json::change::rolled_back(&outcome)
    }))
}

/// Returns the files of the last change that another program has modified since.
fn modified_files(root: &Root, status: &Status) -> Vec<Drift> {
    let Some(change) = status.in_force().filter(|_| status.unfinished.is_none()) else {
        return Vec::new();
    };
    let is_in_change = |drift: &Drift| change.steps.iter().any(|step| step.path == drift.path);
    drifted(root, status).into_iter().filter(is_in_change).collect()
}

/// Refuses a rollback that would overwrite the modifications of another program.
fn require_unmodified_files(root: &Root, status: &Status) -> Result<(), CommandError> {
    let modified = modified_files(root, status);
    let Some(change) = status.in_force().filter(|_| !modified.is_empty()) else {
        return Ok(());
    };
    let mut message = format!(
        "{} of {} files were modified after the migration; nothing was changed",
        modified.len(),
        change.steps.len()
    );
    for drift in &modified {
        message.push('\n');
        message.push_str(&modification_text(drift));
    }
    Err(
        CommandError::new(Exit::Refused, "edited-by-others", message).hint(format!(
            "undo the modification, then run the command again; or restore the original files by hand from {STATE_DIR}/changes/{}",
            change.id
        )),
    )
}

fn confirm_rollback(common: &CommonArgs, status: &Status) -> Result<(), CommandError> {
    let change = status.unfinished.as_ref().or(status.in_force());
    let text = render::change::rollback_preview(change, &[], common.width);
    let is_restart_needed = change
        .and_then(|change| change.service.as_ref())
        .is_none_or(|service| service.restart);
    let restart = if is_restart_needed {
        match load_node(common) {
            Ok(loaded) => restart_sentence(&loaded, None),
            Err(error) => format!(
                "containerd restarts. It is unknown whether containers keep running: {}.",
                error.message
            ),
        }
    } else {
        "containerd is not restarted.".to_owned()
    };
    confirm::ask(
        common,
        "rollback",
        &text,
        &format!("{restart}\nRestore the original files?"),
    )
}
