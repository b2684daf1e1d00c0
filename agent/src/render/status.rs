//! What is in force, and history.

use crate::render::{DIM, TITLE, WIDTH, count, escape_control_chars, paint, push_line, wrap};
use mirrorshift_node::{Change, Status};

/// The text of `status`.
pub(crate) fn text(status: &Status, under_way: bool) -> String {
    let phase = status.phase();
    let mut out = format!("{}: {}\n", paint(TITLE, name(phase)), phase.meaning());
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
                &format!("  {:<11} ", name(change.phase)),
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

/// The name of a phase, as JSON has it too.
pub(crate) fn name(phase: mirrorshift_plan::change::Phase) -> &'static str {
    use mirrorshift_plan::change::Phase;
    match phase {
        Phase::Idle => "idle",
        Phase::Armed => "armed",
        Phase::Applying => "applying",
        Phase::Applied => "applied",
        Phase::Restarting => "restarting",
        Phase::Verifying => "verifying",
        Phase::Settled => "settled",
        Phase::RollbackStaging => "recalled",
        Phase::Undoing => "undoing",
        Phase::Restoring => "restoring",
        Phase::Undone => "undone",
        Phase::RolledBack => "rolled back",
        Phase::Stuck => "stuck",
    }
}

fn summary(change: &Change) -> String {
    format!(
        "{}, {}, for containerd {}, {}",
        change.id,
        time(change.ended.unwrap_or(change.began)),
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

/// Seconds since 1970 as a date and time, UTC. What no calendar has is a number.
pub(crate) fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok();
    let time = time.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn dates_as_calendars_have_them() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(time(seconds), date);
        }
    }
}
