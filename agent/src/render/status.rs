//! What is in force, and history.

use crate::render::{DIM, TITLE, WIDTH, count, escape_control_chars, paint, push_line, wrap};
use crate::wording::{phase_name, utc_time};
use mirrorshift_node::{Change, Status};

/// The text of `status`.
pub(crate) fn text(status: &Status, under_way: bool) -> String {
    let phase = status.phase();
    let mut out = format!("{}: {}\n", paint(TITLE, phase_name(phase)), phase.meaning());
    if let Some(change) = &status.unfinished {
        out.push_str(&wrap("  unfinished  ", &summary(change), WIDTH));
        if !under_way {
            out.push_str("  `mirrorshift migrate` brings it to its end, `mirrorshift rollback` undoes it\n");
        }
        out.push_str(&files(change));
    }
    if under_way {
        out.push_str("  a change is under way: `mirrorshift status --follow` shows it to its end\n");
    }
    if let Some(change) = status.in_force() {
        out.push_str(&wrap("  in force    ", &summary(change), WIDTH));
        if status.unfinished.is_none() {
            out.push_str(&files(change));
        }
    }
    let earlier: Vec<_> = status.history.iter().rev().collect();
    if !earlier.is_empty() {
        push_line(&mut out, format_args!("\n{}\n", paint(TITLE, "history, newest first")));
        for change in earlier {
            out.push_str(&wrap(
                &format!("  {:<11} ", phase_name(change.phase)),
                &summary(change),
                WIDTH,
            ));
            if let Some(taken) = &change.undoes {
                push_line(
                    &mut out,
                    format_args!("              takes back {}\n", escape_control_chars(taken)),
                );
            }
            if change.is_repair {
                out.push_str("              puts back what somebody wrote over\n");
            }
            if let Some(note) = &change.note {
                out.push_str(&wrap("              ", &escape_control_chars(note), WIDTH));
            }
        }
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

fn files(change: &Change) -> String {
    let line = |path: &str, why: &str| format!("    {path}  {}\n", paint(DIM, escape_control_chars(why)));
    change
        .steps
        .iter()
        .map(|step| line(&escape_control_chars(&step.path), &step.why))
        .collect()
}
