//! Errors: the file, the line, a caret, the effect and the remedy.

use crate::error::{CommandError, Excerpt, Location};
use crate::render::{BAD, MARK, TITLE, escape_control_chars, paint, push_line, routes, wrap};
use std::fmt::Write as _;

/// Returns an error as text for standard error.
pub(crate) fn text(failure: &CommandError, width: usize) -> String {
    let mut out = String::new();
    for (number, line) in failure.message.lines().enumerate() {
        let first = if number == 0 { "error: " } else { "  " };
        out.push_str(&wrap(first, &escape_control_chars(line), width));
    }
    let label = format!("{}{}", paint(BAD.bold(), "error"), paint(TITLE, ":"));
    out = out.replacen("error:", &label, 1);
    if let Some(at) = &failure.place {
        place(at, &mut out);
    }
    if let Some(effect) = &failure.effect {
        out.push_str(&annotation("effect", effect, width));
    }
    if !failure.routes.is_empty() {
        out.push('\n');
        out.push_str(&routes::refused(&failure.routes, width));
    }
    if let Some(hint) = &failure.hint {
        out.push_str(&annotation("help", hint, width));
    }
    out
}

fn annotation(label: &str, text: &str, width: usize) -> String {
    let plain = wrap(&format!("  = {label}: "), text, width);
    // Styles have no width, so they are added after the text was broken into lines.
    plain.replacen(
        &format!("= {label}:"),
        &format!("{} {}", paint(MARK, "="), paint(TITLE, format!("{label}:"))),
        1,
    )
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
