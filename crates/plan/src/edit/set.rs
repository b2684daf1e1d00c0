//! Sets a key: replaces its old value, adds it under its table's header, or adds it in place of the first removed run.

use crate::edit::lines::Lines;
use crate::edit::request::SetKey;
use crate::edit::run::{Replacement, Run, span_of, start_of};
use mirrorshift_containerd::toml::{Expression, Parsed};

/// Returns the replacement that sets the key, or `None` when an inline table contains it.
pub(super) fn replacement(file: &Parsed, lines: &Lines, removed: &[Run], set: &SetKey<'_>) -> Option<Replacement> {
    let expressions = &file.layout.expressions;
    let ending = lines.ending(&file.text);
    let whole: Vec<String> = set.table.iter().cloned().chain([set.key.to_owned()]).collect();
    for expression in expressions {
        let Expression::Assignment(assignment) = expression else {
            continue;
        };
        let path = file.layout.path_of(assignment);
        if path == whole {
            let old = &file.text[assignment.value.clone()];
            return Some(Replacement {
                range: assignment.value.clone(),
                with: quoted(set.value, old.starts_with('\'')),
            });
        }
        if set.table.starts_with(&path) {
            // The key is in an inline table, and `inline` has set it.
            return None;
        }
    }
    let header = expressions
        .iter()
        .enumerate()
        .find_map(|(index, expression)| match expression {
            Expression::Header(header) if header.path == set.table && !header.array => Some((index, header)),
            _ => None,
        });
    if let Some((index, header)) = header {
        let line = lines.of_range(&header.span);
        let at = lines.range(&line).end;
        let sibling = expressions
            .iter()
            .skip(index + 1)
            .find_map(|expression| match expression {
                Expression::Assignment(assignment) if assignment.header == Some(index) => Some(start_of(assignment)),
                _ => None,
            });
        let indent = match sibling {
            Some(start) => lines.indent(&file.text, start).to_owned(),
            None => deeper(file, lines.indent(&file.text, header.span.start)),
        };
        let literal = file.text[header.span.clone()].contains('\'');
        let assignment = format!("{indent}{} = {}{ending}", set.key, quoted(set.value, literal));
        return Some(Replacement {
            range: at..at,
            with: on_a_new_line(file, at, assignment, ending),
        });
    }
    match removed.first() {
        Some(run) => Some(in_place_of(file, lines, run, set)),
        None => Some(at_the_end(file, set, ending)),
    }
}

/// Adds the key in place of the first removed run, and spells the table as that run did.
fn in_place_of(file: &Parsed, lines: &Lines, run: &Run, set: &SetKey<'_>) -> Replacement {
    let ending = lines.ending(&file.text);
    let at = lines.range(&run.lines).start;
    let expressions = run.expressions.iter().map(|index| &file.layout.expressions[*index]);
    let first = expressions
        .clone()
        .find(|expression| !matches!(expression, Expression::Comment(_)));
    let spelled = |parts: &[std::ops::Range<usize>]| {
        parts
            .iter()
            .map(|part| &file.text[part.clone()])
            .collect::<Vec<_>>()
            .join(".")
    };
    let indent = first
        .map(|expression| lines.indent(&file.text, span_of(expression).start))
        .unwrap_or_default();
    let text = match first {
        Some(Expression::Assignment(assignment)) => {
            let above = file.layout.path_of(assignment).len() - assignment.parts.len();
            let own = set.table.len().saturating_sub(above).min(assignment.parts.len());
            let prefix = spelled(&assignment.parts[..own]);
            let dot = if prefix.is_empty() { "" } else { "." };
            format!(
                "{indent}{prefix}{dot}{} = {}{ending}",
                set.key,
                quoted(set.value, prefix.contains('\''))
            )
        }
        Some(Expression::Header(header)) => {
            let table = spelled(&header.parts[..set.table.len().min(header.parts.len())]);
            let value = quoted(set.value, table.contains('\''));
            let deeper = deeper(file, indent);
            format!("{indent}[{table}]{ending}{deeper}{} = {value}{ending}", set.key)
        }
        _ => String::new(),
    };
    Replacement {
        range: at..at,
        with: text,
    }
}

/// Returns the indentation one level deeper than `indent`: by a tab when the file has lines that start with one.
fn deeper(file: &Parsed, indent: &str) -> String {
    let tabs = file.text.lines().any(|line| line.starts_with('\t'));
    format!("{indent}{}", if tabs { "\t" } else { "  " })
}

fn at_the_end(file: &Parsed, set: &SetKey<'_>, ending: &str) -> Replacement {
    let at = file.text.len();
    let key = |part: &String| {
        let bare = !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if bare { part.clone() } else { quoted(part, false) }
    };
    let table = set.table.iter().map(key).collect::<Vec<_>>().join(".");
    let gap = if file.text.is_empty() { "" } else { ending };
    let text = format!(
        "{gap}[{table}]{ending}  {} = {}{ending}",
        set.key,
        quoted(set.value, false)
    );
    Replacement {
        range: at..at,
        with: on_a_new_line(file, at, text, ending),
    }
}

/// Adds a line end before `text` when the file ends without one.
fn on_a_new_line(file: &Parsed, at: usize, text: String, ending: &str) -> String {
    let before = &file.text[..at];
    if before.is_empty() || before.ends_with('\n') {
        text
    } else {
        format!("{ending}{text}")
    }
}

/// Returns a TOML string. The paths that this crate sets need no escape; other strings become basic strings.
pub(super) fn quoted(text: &str, literal: bool) -> String {
    let plain = text
        .chars()
        .all(|c| !c.is_control() && c != '\'' && c != '"' && c != '\\');
    match (plain, literal) {
        (true, true) => format!("'{text}'"),
        (true, false) => format!("\"{text}\""),
        (false, _) => toml_edit::Value::from(text).to_string(),
    }
}
