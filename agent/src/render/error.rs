//! Failures: the file, the line, a caret, what it means and what to do.

use crate::error::{CommandError, Excerpt, Location};
use crate::render::{BAD, MARK, TITLE, WIDTH, escape_control_chars, paint, push_line, routes, wrap};
use std::fmt::Write as _;

/// A failure as text for standard error.
pub(crate) fn text(failure: &CommandError) -> String {
    let mut out = format!(
        "{}{} {}\n",
        paint(BAD.bold(), "error"),
        paint(TITLE, ":"),
        tame_lines(&failure.message)
    );
    if let Some(at) = &failure.place {
        place(at, &mut out);
    }
    if let Some(effect) = &failure.effect {
        out.push_str(&noted("containerd", effect));
    }
    if !failure.routes.is_empty() {
        out.push('\n');
        out.push_str(&routes::refused(&failure.routes));
    }
    if let Some(hint) = &failure.hint {
        out.push_str(&noted("help", hint));
    }
    out
}

fn noted(label: &str, text: &str) -> String {
    let plain = wrap(&format!("  = {label}: "), text, WIDTH);
    // Painted after it was broken into lines: styles have no width.
    plain.replacen(
        &format!("= {label}:"),
        &format!("{} {}", paint(MARK, "="), paint(TITLE, format!("{label}:"))),
        1,
    )
}

fn tame_lines(text: &str) -> String {
    text.lines().map(escape_control_chars).collect::<Vec<_>>().join("\n")
}

fn place(at: &Location, out: &mut String) {
    let mut name = at.file.clone();
    for number in [at.line, at.column].into_iter().flatten() {
        // Writing to a string cannot fail.
        write!(name, ":{number}").ok();
    }
    push_line(
        out,
        format_args!(" {} {}\n", paint(MARK, "-->"), escape_control_chars(&name)),
    );
    let (Some(Excerpt { text, caret, len }), Some(line)) = (&at.excerpt, at.line) else {
        return;
    };
    let line = line.to_string();
    let margin = " ".repeat(line.len());
    let bar = paint(MARK, "|");
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    push_line(
        out,
        format_args!("{margin} {bar}\n{} {bar} {shown}\n", paint(MARK, &line)),
    );
    if *caret <= shown.chars().count() {
        let carets = "^".repeat((*len).clamp(1, shown.chars().count().saturating_sub(*caret).max(1)));
        push_line(
            out,
            format_args!("{margin} {bar} {}{}\n", " ".repeat(*caret), paint(BAD.bold(), carets)),
        );
    } else {
        push_line(out, format_args!("{margin} {bar}\n"));
    }
}
