//! The text of `migrate`, `rollback` and `purge`.

use crate::node::NodeSource;
use crate::render::next_command::next_command;
use crate::render::{GOOD, TITLE, WARNING, count, escape_control_chars, paint, push_line, wrap};
use crate::results::migrate::MigrateResult;
use crate::wording::modification_text;
use mirrorshift_node::{Change, Drift, Outcome, Purged, STATE_DIR};
use mirrorshift_plan::Expect;

/// Returns the text of `migrate`.
pub(crate) fn migrated(source: &NodeSource, migrated: &MigrateResult, width: usize) -> String {
    let mut out = String::new();
    if let Some(recovered) = &migrated.recovered {
        out.push_str(&wrap("", recovered, width));
    }
    let Some((report, plan)) = &migrated.done else {
        let reason = match &migrated.config_path {
            Some(path) => format!("the node uses `config_path` ({})", escape_control_chars(path)),
            None => "no registry settings take effect".to_owned(),
        };
        let written = if migrated.recovered.is_some() {
            "no other file was changed"
        } else {
            "nothing was changed"
        };
        let label = "nothing to do";
        out.push_str(&wrap("", &format!("{label}: {reason}; {written}"), width).replacen(
            label,
            &paint(TITLE, label),
            1,
        ));
        return out;
    };
    let done = format!("wrote {}", count(report.files.len(), "file"));
    push_line(
        &mut out,
        format_args!("{} (change {})\n", paint(GOOD, done), report.change),
    );
    for step in plan.steps.iter().filter(|step| report.files.contains(&step.path)) {
        let action = match (&step.expect, &step.content) {
            (_, None) => "removed",
            (Expect::Absent, Some(_)) => "new",
            (Expect::File(_), Some(_)) => "modified",
        };
        push_line(
            &mut out,
            format_args!("  {action:<8} {}\n", escape_control_chars(&step.path)),
        );
    }
    out.push_str(&wrap(
        "",
        &format!(
            "The original files are in {STATE_DIR}/changes/{} (only root can read them).",
            report.change
        ),
        width,
    ));
    out.push('\n');
    out.push_str(&wrap(
        "",
        if migrated.live.is_some() && plan.restart {
            "containerd was restarted and verified: its plugins, CRI, and the processes of every container are as before."
        } else if plan.restart {
            "Restart containerd to apply this change: `systemctl restart containerd`."
        } else {
            "The change takes effect at the next pull. No restart is needed, because containerd reads hosts.toml at every pull."
        },
        width,
    ));
    push_line(
        &mut out,
        format_args!("To roll back: {}\n", next_command(source, "rollback", None)),
    );
    out
}

/// Returns the text of `rollback`.
pub(crate) fn rolled_back(outcome: &Outcome, live: bool, width: usize) -> String {
    let (done, report) = match outcome {
        Outcome::Nothing => {
            return format!(
                "{}: there is no change to roll back; nothing was changed\n",
                paint(TITLE, "nothing to do")
            );
        }
        Outcome::RolledBack(report) => ("rolled back", report),
        Outcome::Undone(report) => ("undone", report),
        Outcome::Settled(report) => ("kept", report),
    };
    let state = if matches!(outcome, Outcome::Settled(_)) {
        "every new file is in place"
    } else {
        "every file is the original"
    };
    let mut out = format!("{} the change {}: {state}\n", paint(GOOD, done), report.change);
    for path in &report.files {
        push_line(&mut out, format_args!("  {}\n", escape_control_chars(path)));
    }
    out.push('\n');
    let is_only_hosts = report.files.iter().all(|path| path.ends_with("/hosts.toml"));
    out.push_str(&wrap(
        "",
        if live {
            "containerd serves as before."
        } else if is_only_hosts {
            "The original hosts.toml files take effect at the next pull, without a restart."
        } else {
            "If containerd was restarted with the new files, restart it again: `systemctl restart containerd`."
        },
        width,
    ));
    out
}

/// Returns the preview of `rollback`: the files that would be restored.
pub(crate) fn rollback_preview(change: Option<&Change>, modified: &[Drift], width: usize) -> String {
    let Some(change) = change else {
        return format!("{}: there is no change to roll back\n", paint(TITLE, "nothing to do"));
    };
    let mut out = format!(
        "{}\n",
        paint(TITLE, format!("Rolling back the change {} would:", change.id))
    );
    for step in &change.steps {
        let action = match (&step.before, step.after) {
            (None, _) => "remove",
            (Some(_), None) => "restore",
            (Some(_), Some(_)) => "replace",
        };
        push_line(
            &mut out,
            format_args!("  {action:<8} {}\n", escape_control_chars(&step.path)),
        );
    }
    let refusal =
        "A file that another program has modified since the change is not overwritten: the rollback then refuses.";
    if modified.is_empty() {
        out.push_str(&wrap("", refusal, width));
        return out;
    }
    push_line(
        &mut out,
        format_args!("{}\n", paint(WARNING, "The rollback would refuse:")),
    );
    for drift in modified {
        out.push_str(&wrap("  ", &modification_text(drift), width));
    }
    out
}

/// Returns the text of `purge`.
pub(crate) fn purged(purged: &Purged) -> String {
    if purged.gone.is_empty() && purged.left.is_empty() {
        return format!("{}: there are no files of mirrorshift\n", paint(TITLE, "nothing to do"));
    }
    let mut out = format!("{} {}\n", paint(GOOD, "deleted"), count(purged.gone.len(), "path"));
    for path in &purged.gone {
        push_line(&mut out, format_args!("  {}\n", escape_control_chars(path)));
    }
    if !purged.left.is_empty() {
        out.push_str("not deleted, because mirrorshift did not make them:\n");
    }
    for path in &purged.left {
        push_line(&mut out, format_args!("  {}\n", escape_control_chars(path)));
    }
    out
}

/// Returns the preview of `purge`.
pub(crate) fn purge_preview(paths: &[String], width: usize) -> String {
    if paths.is_empty() {
        return format!("{}: there are no files of mirrorshift\n", paint(TITLE, "nothing to do"));
    }
    let mut out = format!("{}\n", paint(TITLE, "purge deletes mirrorshift's own files in:"));
    for path in paths {
        push_line(&mut out, format_args!("  {}\n", escape_control_chars(path)));
    }
    out.push_str(&wrap(
        "",
        "It also deletes the units of the boot guard, if an earlier run left them. A file there that mirrorshift did not make \
         stays.",
        width,
    ));
    out
}
