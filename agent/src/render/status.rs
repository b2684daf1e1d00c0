//! The text of `status`: the configuration, modified files, the change in progress, and history.

use crate::render::{
    BAD, DIM, TITLE, WARNING, count, escape_control_chars, paint, push_line, source_files, wrap, wrap_styled,
};
use crate::results::status::{Author, MirrorConfiguration, StatusResult};
use crate::wording::{modification_text, phase_name, utc_time};
use mirrorshift_node::Change;
use mirrorshift_plan::change::Phase;

/// Returns the text of `status`.
pub(crate) fn text(status: &StatusResult, is_live: bool, quiet: bool, verbose: bool, width: usize) -> String {
    let mut out = configuration(status, width);
    out.push_str(&change_state(status, width));
    if quiet {
        return out;
    }
    for drift in &status.drifted {
        out.push_str(&wrap_styled(WARNING, "  drifted  ", &modification_text(drift), width));
    }
    out.push_str(&source_files::text(&status.sources, None, is_live, verbose, width));
    let journal = &status.journal;
    if let Some(change) = journal.unfinished.as_ref().or(journal.in_force()) {
        let label = if journal.unfinished.is_some() {
            "unfinished change"
        } else {
            "last change"
        };
        push_line(&mut out, format_args!("\n{}\n", paint(TITLE, label)));
        out.push_str(&wrap("  ", &summary(change), width));
        out.push_str(&files(change, width));
    }
    let earlier: Vec<_> = journal.history.iter().rev().collect();
    if !earlier.is_empty() {
        push_line(&mut out, format_args!("\n{}\n", paint(TITLE, "history, newest first")));
        for change in earlier {
            out.push_str(&history(change, width));
        }
    }
    out
}

/// The first line: legacy, migrated, both or neither.
fn configuration(status: &StatusResult, width: usize) -> String {
    let name = status.mirrors.name();
    let path = status
        .config_path
        .as_deref()
        .map(escape_control_chars)
        .unwrap_or_default();
    let text = match &status.mirrors {
        MirrorConfiguration::Legacy => {
            "the registry mirrors are in `registry.mirrors`, which containerd will drop. `mirrorshift plan` shows the migration"
                .to_owned()
        }
        MirrorConfiguration::Migrated => {
            let author = match status.author {
                Some(Author::Mirrorshift) => ", written by mirrorshift",
                Some(Author::Other) => ", not written by mirrorshift",
                None => "",
            };
            format!("the registry mirrors are in hosts.toml files under {path}{author}")
        }
        MirrorConfiguration::Both => format!(
            "`registry.mirrors` and `config_path` ({path}) are set, which containerd rejects: CRI does not load. `mirrorshift \
             check` has the details"
        ),
        MirrorConfiguration::Neither => "no registry mirror is configured".to_owned(),
        MirrorConfiguration::Unknown(reason) => format!("the configuration was not read: {}", escape_control_chars(reason)),
    };
    let style = match status.mirrors {
        MirrorConfiguration::Both => BAD,
        MirrorConfiguration::Legacy | MirrorConfiguration::Unknown(_) => WARNING,
        MirrorConfiguration::Migrated | MirrorConfiguration::Neither => TITLE,
    };
    wrap("", &format!("{name}: {text}."), width).replacen(&format!("{name}:"), &paint(style, format!("{name}:")), 1)
}

/// The phase of the last change. A settled phase is stated only for files whose contents were compared with the journal.
fn change_state(status: &StatusResult, width: usize) -> String {
    let phase = status.journal.phase();
    let mut out = String::new();
    match phase {
        Phase::Idle if status.journal.history.is_empty() => {
            out.push_str(&wrap("", "No change of mirrorshift is recorded.", width));
        }
        Phase::Idle => out.push_str(&wrap("", "Every recorded change was undone or rolled back.", width)),
        Phase::Settled if !status.drifted.is_empty() => {
            let text = format!(
                "drifted: another program has modified {} since the last change",
                count(status.drifted.len(), "file")
            );
            out.push_str(&wrap("", &text, width).replacen("drifted:", &paint(WARNING, "drifted:"), 1));
        }
        _ => {
            let name = format!("{}:", phase_name(phase));
            let style = if phase == Phase::Stuck { BAD } else { TITLE };
            out.push_str(&wrap("", &format!("{name} {}", phase.meaning()), width).replacen(
                &name,
                &paint(style, &name),
                1,
            ));
        }
    }
    if status.under_way {
        out.push_str(&wrap(
            "",
            "A change is in progress: `mirrorshift status --follow` follows it.",
            width,
        ));
    } else if status.journal.unfinished.is_some() {
        out.push_str(&wrap(
            "",
            "`mirrorshift rollback` undoes the unfinished change. `mirrorshift migrate` undoes it and then plans again.",
            width,
        ));
    }
    out
}

fn history(change: &Change, width: usize) -> String {
    let mut out = wrap(&format!("  {:<11} ", phase_name(change.phase)), &summary(change), width);
    let indent = " ".repeat(14);
    if let Some(reverted) = &change.undoes {
        out.push_str(&wrap(
            &indent,
            &format!("rolls back {}", escape_control_chars(reverted)),
            width,
        ));
    }
    if change.is_repair {
        out.push_str(&wrap(
            &indent,
            "repairs hosts.toml files that another program had modified",
            width,
        ));
    }
    if let Some(note) = &change.note {
        out.push_str(&wrap(&indent, &escape_control_chars(note), width));
    }
    out
}

fn summary(change: &Change) -> String {
    format!(
        "{}, {}, for containerd {}, {}",
        change.id,
        utc_time(change.ended.unwrap_or(change.began)),
        change.containerd,
        count(change.steps.len(), "file")
    )
}

fn files(change: &Change, width: usize) -> String {
    let mut out = String::new();
    for step in &change.steps {
        push_line(&mut out, format_args!("    {}\n", escape_control_chars(&step.path)));
        for line in wrap("      ", &escape_control_chars(&step.why), width).lines() {
            push_line(&mut out, format_args!("{}\n", paint(DIM, line)));
        }
    }
    out
}
