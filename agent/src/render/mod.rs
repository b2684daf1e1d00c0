//! Text for people.
//!
//! Every function takes the width at which it wraps. Colors are always written; the program removes them where they do not
//! belong. A module here reads results and returns a string. It decides nothing.

/// The text of `migrate`, `rollback` and `purge`.
pub(crate) mod change;
/// Diffs in color.
pub(crate) mod diff;
/// Errors.
pub(crate) mod error;
/// The text of `explain`.
pub(crate) mod explain;
/// The text of `check`.
pub(crate) mod findings;
/// The command to run next.
pub(crate) mod next_command;
/// The text of `plan`.
pub(crate) mod plan;
/// Routes before and after.
pub(crate) mod routes;
/// The files that a command read.
pub(crate) mod source_files;
/// The text of `status`.
pub(crate) mod status;

pub(crate) use crate::wording::escape_control_chars;
use anstyle::{AnsiColor, Style};
use std::fmt::{self, Write as _};

pub(crate) const TITLE: Style = Style::new().bold();
/// Errors and removed lines.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Success and added lines.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Warnings and changed routes.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
/// Locations and marks.
pub(crate) const MARK: Style = AnsiColor::Cyan.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();

/// Returns `text` in `style`.
pub(crate) fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Appends to a string.
pub(crate) fn push_line(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    out.write_fmt(text).ok();
}

/// Returns `1 file`, `2 files`.
pub(crate) fn count(number: usize, singular: &str) -> String {
    match number {
        1 => format!("1 {singular}"),
        _ => format!("{number} {}", plural(singular)),
    }
}

fn plural(singular: &str) -> String {
    match singular.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{singular}s"),
    }
}

/// Breaks `text` at blanks into lines of at most `width` characters. The first line begins with `first`, the others with as
/// many blanks. A word that is longer than a line is not broken.
pub(crate) fn wrap(first: &str, text: &str, width: usize) -> String {
    let indent = first.chars().count();
    let (mut out, mut column) = (first.to_owned(), indent);
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > indent && column + 1 + len > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out.push('\n');
    out
}

/// Like [`wrap`], with `first` in `style`. Styles have no width, so they are added after the text was broken into lines.
pub(crate) fn wrap_styled(style: Style, first: &str, text: &str, width: usize) -> String {
    wrap(first, text, width).replacen(first, &paint(style, first), 1)
}
