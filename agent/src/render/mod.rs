//! Text for people: columns that line up, what to do next. Styles are always written; whoever prints takes them away
//! where they do not belong.

/// What a change came to.
pub(crate) mod change;
/// Unified diffs without secrets.
pub(crate) mod diff;
/// Failures: the file, the line, a caret, what it means and what to do.
pub(crate) mod error;
/// The route of one image.
pub(crate) mod explain;
/// What was found, worst first.
pub(crate) mod findings;
/// What would change.
pub(crate) mod plan;
/// Who is asked, before and after.
pub(crate) mod routes;
/// What is in force, and history.
pub(crate) mod status;

pub(crate) use crate::wording::escape_control_chars;
use anstyle::{AnsiColor, Style};
use std::fmt::{
    Write as _, {self},
};

/// Titles.
pub(crate) const TITLE: Style = Style::new().bold();
/// Errors, and what goes.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What comes.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What should be looked at.
pub(crate) const LOOK: Style = AnsiColor::Yellow.on_default();
/// Places and marks.
pub(crate) const MARK: Style = AnsiColor::Cyan.on_default();
/// What may be passed over.
pub(crate) const DIM: Style = Style::new().dimmed();

/// `text` in `style`.
pub(crate) fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Adds to a text.
pub(crate) fn push_line(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    out.write_fmt(text).ok();
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {}", plural(one)),
    }
}

fn plural(one: &str) -> String {
    match one.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{one}s"),
    }
}

/// Breaks `text` into lines of at most `width` characters where it has blanks; the first begins with `first`, the others
/// with as many blanks.
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

/// Lines are broken here where they can be.
pub(crate) const WIDTH: usize = 110;
