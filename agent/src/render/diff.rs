//! Diffs in color.

use crate::render::{BAD, GOOD, MARK, TITLE, paint};

/// Returns the diff with colors.
pub(crate) fn paint_diff(diff: &str) -> String {
    let mut out = String::with_capacity(diff.len() * 2);
    for line in diff.lines() {
        let style = match line.as_bytes() {
            [b'-', b'-', b'-', b' ', ..] | [b'+', b'+', b'+', b' ', ..] => TITLE,
            [b'@', ..] => MARK,
            [b'-', ..] => BAD,
            [b'+', ..] => GOOD,
            _ => {
                out.extend([line, "\n"]);
                continue;
            }
        };
        out.extend([paint(style, line).as_str(), "\n"]);
    }
    out
}
