//! What a change came to.

use crate::node::NodeSource;
use crate::render::{GOOD, TITLE, count, escape_control_chars, paint, plan, push_line};
use crate::results::migrate::MigrateResult;
use mirrorshift_node::{Outcome, Purged, STATE_DIR};
use mirrorshift_plan::Expect;

/// The text of `migrate`.
pub(crate) fn migrated(source: &NodeSource, migrated: &MigrateResult) -> String {
    let mut out = String::new();
    if let Some(recovered) = &migrated.recovered {
        push_line(&mut out, format_args!("{recovered}\n"));
    }
    let Some((report, plan)) = &migrated.done else {
        let why = match &migrated.config_path {
            Some(path) => format!("the node is on `config_path` ({}) already", escape_control_chars(path)),
            None => "no registry settings are in force".to_owned(),
        };
        let also = if migrated.recovered.is_some() {
            "nothing else was written"
        } else {
            "nothing was written"
        };
        push_line(
            &mut out,
            format_args!("{}: {why}; {also}\n", paint(TITLE, "nothing to do")),
        );
        return out;
    };
    let done = format!("wrote {}", count(report.files.len(), "file"));
    push_line(
        &mut out,
        format_args!("{} as the change {}\n", paint(GOOD, done), report.change),
    );
    for step in plan.steps.iter().filter(|step| report.files.contains(&step.path)) {
        let action = match (&step.expect, &step.content) {
            (_, None) => "removed",
            (Expect::Absent, Some(_)) => "new",
            (Expect::File(_), Some(_)) => "changed",
        };
        push_line(
            &mut out,
            format_args!("  {action:<8} {}\n", escape_control_chars(&step.path)),
        );
    }
    push_line(
        &mut out,
        format_args!(
            "backups are in {STATE_DIR}/changes/{}, for root alone\n\n",
            report.change
        ),
    );
    out.push_str(if migrated.live.is_some() && plan.restart {
        "containerd was restarted and serves as before: its plugins, CRI, and the processes of every container\n"
    } else if plan.restart {
        "containerd reads its configuration at the start: restart it for this to count (`systemctl restart containerd`)\n"
    } else {
        "containerd reads hosts.toml at every pull: this counts from now on, without a restart\n"
    });
    push_line(
        &mut out,
        format_args!("to go back: {}\n", plan::command(source, "rollback", None, false)),
    );
    out
}

/// The text of `rollback`.
pub(crate) fn rolled_back(outcome: &Outcome, live: bool) -> String {
    let (done, report) = match outcome {
        Outcome::Nothing => {
            return format!(
                "{}: no change is in force; nothing was written\n",
                paint(TITLE, "nothing to do")
            );
        }
        Outcome::RolledBack(report) => ("rolled back", report),
        Outcome::Undone(report) => ("undone", report),
        Outcome::Settled(report) => ("kept", report),
    };
    let mut out = format!(
        "{} the change {}: every file holds its old bytes\n",
        paint(GOOD, done),
        report.change
    );
    for path in &report.files {
        push_line(&mut out, format_args!("  {}\n", escape_control_chars(path)));
    }
    out.push_str(if live {
        "\ncontainerd serves as before\n"
    } else {
        "\nif containerd was restarted since, restart it again for this to count\n"
    });
    out
}

/// The text of `purge`.
pub(crate) fn purged(purged: &Purged) -> String {
    if purged.gone.is_empty() && purged.left.is_empty() {
        return format!("{}: nothing of this program is here\n", paint(TITLE, "nothing to do"));
    }
    let mut out = format!("{} {}\n", paint(GOOD, "took away"), count(purged.gone.len(), "path"));
    for path in &purged.gone {
        push_line(&mut out, format_args!("  {}\n", escape_control_chars(path)));
    }
    if !purged.left.is_empty() {
        out.push_str("left, as this program did not make it:\n");
    }
    for path in &purged.left {
        push_line(&mut out, format_args!("  {}\n", escape_control_chars(path)));
    }
    out
}
