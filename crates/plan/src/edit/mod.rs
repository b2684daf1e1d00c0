//! The smallest edit of a TOML text: removes whole expressions, sets one key, and keeps every other byte.
//!
//! toml_edit is not used for the whole file, because it cannot promise that every other byte stays. Nothing in this folder
//! knows which keys a migration removes or sets.

/// The input of an edit.
pub(crate) mod request;
/// The output of an edit.
pub(crate) mod result;

/// Comments in arrays.
mod comments;
/// Removals in inline tables.
mod inline;
/// The lines of a text.
mod lines;
/// Runs of expressions that are removed together.
mod run;
/// The assignment of the key to set.
mod set;

use crate::edit::lines::Lines;
use crate::edit::request::EditRequest;
use crate::edit::result::EditResult;
use crate::edit::run::{Replacement, runs, span_of};
use mirrorshift_containerd::toml::{Expression, Parsed, line_at};

pub use crate::edit::result::RemovedText;

/// Edits `file`. Returns `None` when the text would stay the same.
pub(crate) fn edit(file: &Parsed, request: &EditRequest<'_>) -> Option<EditResult> {
    let lines = Lines::of(&file.text);
    let removed = runs(
        &file.layout.expressions,
        &lines,
        &removed_expressions(file, &lines, request),
    );
    let mut edited = EditResult {
        text: String::new(),
        comments: Vec::new(),
        kept: Vec::new(),
    };
    let mut replacements: Vec<Replacement> = inline::replacements(file, request);
    for run in &removed {
        let mut left = String::new();
        for index in &run.expressions {
            record_removal(file, &lines, request, *index, &mut edited, &mut left);
        }
        replacements.push(Replacement {
            range: lines.range(&run.lines),
            with: left,
        });
    }
    if let Some(set) = &request.set
        && let Some(replacement) = set::replacement(file, &lines, &removed, set)
    {
        insert(&mut replacements, replacement);
    }
    for run in &removed {
        let range = lines.range(&run.lines);
        // A text that replaces the run keeps its distance to the next table.
        if let Some(gap) = replacements
            .iter_mut()
            .find(|replacement| replacement.range == range && replacement.with.is_empty())
        {
            gap.range.end = lines.range(&(0..lines.skip_redundant_blank_lines(&run.lines))).end;
        }
    }
    replacements.retain(|new| file.text.get(new.range.clone()) != Some(new.with.as_str()));
    if replacements.is_empty() {
        return None;
    }
    edited.text = apply(&file.text, replacements);
    Some(edited)
}

/// Adds an insertion. At the start of a removed run the two become one.
fn insert(replacements: &mut Vec<Replacement>, new: Replacement) {
    let same_start = |old: &&mut Replacement| old.range.start == new.range.start && new.range.is_empty();
    match replacements.iter_mut().find(same_start) {
        Some(old) => old.with.insert_str(0, &new.with),
        None => replacements.push(new),
    }
}

fn apply(text: &str, mut replacements: Vec<Replacement>) -> String {
    replacements.sort_by_key(|new| (new.range.start, new.range.end));
    let (mut edited, mut at) = (String::with_capacity(text.len()), 0);
    for new in replacements.iter().filter(|new| new.range.start <= new.range.end) {
        edited.push_str(text.get(at..new.range.start).unwrap_or_default());
        edited.push_str(&new.with);
        at = at.max(new.range.end);
    }
    edited.push_str(text.get(at..).unwrap_or_default());
    edited
}

/// Returns, for each expression, whether it is removed.
fn removed_expressions(file: &Parsed, lines: &Lines, request: &EditRequest<'_>) -> Vec<bool> {
    let expressions = &file.layout.expressions;
    let is_removed: Vec<bool> = expressions
        .iter()
        .map(|expression| is_covered(file, request, expression))
        .collect();
    with_comments(file, lines, &is_removed)
}

fn is_covered(file: &Parsed, request: &EditRequest<'_>, expression: &Expression) -> bool {
    let covered = |path: &[String]| request.removals.iter().any(|removal| removal.covers(path));
    match expression {
        Expression::Header(header) => covered(&header.path),
        Expression::Assignment(assignment) => covered(&file.layout.path_of(assignment)),
        Expression::Comment(_) => false,
    }
}

/// Extends the removal to comments. A comment is removed with the expression on its own line, with the expression on the next
/// line, or with the expression on the previous line when the comment ends a removed table. The block at the very top of the
/// file always stays.
fn with_comments(file: &Parsed, lines: &Lines, is_removed: &[bool]) -> Vec<bool> {
    let expressions = &file.layout.expressions;
    let line_of = |index: usize| lines.of_range(&span_of(&expressions[index]));
    let is_comment = |index: usize| matches!(expressions[index], Expression::Comment(_));
    let mut result = is_removed.to_vec();
    let mut index = 0;
    while index < expressions.len() {
        if !is_comment(index) {
            index += 1;
            continue;
        }
        // A block is a sequence of comments on adjoining lines.
        let start = index;
        while index + 1 < expressions.len() && is_comment(index + 1) && line_of(index + 1).start == line_of(index).end {
            index += 1;
        }
        let mut block = start..index + 1;
        index += 1;
        let before = start.checked_sub(1);
        if let Some(before) = before
            && line_of(before).end > line_of(block.start).start
        {
            // The first comment is behind an expression on the same line.
            result[block.start] = is_removed[before];
            block.start += 1;
            if block.is_empty() {
                continue;
            }
        }
        let touches_below =
            expressions.get(block.end).is_some() && line_of(block.end - 1).end == line_of(block.end).start;
        let touches_above = before.is_some_and(|before| line_of(before).end == line_of(block.start).start);
        let banner = line_of(block.start).start == 0;
        let follows = if touches_below {
            is_removed[block.end]
        } else {
            touches_above && before.is_some_and(|before| is_removed[before])
        };
        if follows && !banner {
            result[block].iter_mut().for_each(|removed| *removed = true);
        }
    }
    result
}

/// Records a removed expression in `edited`, and adds to `left` the text that must not be lost.
fn record_removal(
    file: &Parsed,
    lines: &Lines,
    request: &EditRequest<'_>,
    index: usize,
    edited: &mut EditResult,
    left: &mut String,
) {
    let expression = &file.layout.expressions[index];
    let span = span_of(expression);
    let line = line_at(&file.text, span.start);
    let text = file.text.get(span.clone()).unwrap_or_default();
    let removed = |table| RemovedText {
        line,
        table,
        text: text.to_owned(),
    };
    let path = match expression {
        Expression::Comment(_) => {
            edited
                .comments
                .push(removed(nearest_table(file, lines, index, request)));
            return;
        }
        Expression::Header(header) => header.path.clone(),
        Expression::Assignment(assignment) => {
            let path = file.layout.path_of(assignment);
            let table = &path[..path.len().saturating_sub(1)];
            edited
                .comments
                .extend(comments::comments_in_value(&file.text, &assignment.value, table));
            path
        }
    };
    let is_header = matches!(expression, Expression::Header(_));
    let foreign = request.removals.iter().any(|removal| {
        // A header at the depth of containerd's own keys is only a heading.
        removal.covers(&path)
            && removal.is_foreign(&path)
            && !(is_header && path.len() <= removal.path.len() + removal.depth)
    });
    if foreign {
        let indent = lines.indent(&file.text, span.start);
        let ending = lines.ending(&file.text);
        for part in text.lines() {
            left.extend([indent, "# not read by containerd, kept: ", part.trim_start(), ending]);
        }
        edited.kept.push(removed(path));
    }
}

/// Returns the table that a comment belongs to: the table of the removed expression on the next line, otherwise of the
/// expression before the comment.
fn nearest_table(file: &Parsed, lines: &Lines, index: usize, request: &EditRequest<'_>) -> Vec<String> {
    let expressions = &file.layout.expressions;
    let own_path = |expression: &Expression| match expression {
        Expression::Header(header) => Some(header.path.clone()),
        Expression::Assignment(assignment) => {
            let mut path = file.layout.path_of(assignment);
            path.pop();
            Some(path)
        }
        Expression::Comment(_) => None,
    };
    let same_line = |other: &Expression| {
        line_at(&file.text, span_of(other).start) == line_at(&file.text, span_of(&expressions[index]).start)
    };
    let above = expressions[..index]
        .iter()
        .rev()
        .find(|other| own_path(other).is_some());
    if let Some(path) = above.filter(|other| same_line(other)).and_then(own_path) {
        return path;
    }
    let line_of = |expression: &Expression| lines.of_range(&span_of(expression));
    let adjoining = expressions[index..].windows(2);
    let block =
        adjoining.take_while(|pair| own_path(&pair[0]).is_none() && line_of(&pair[0]).end == line_of(&pair[1]).start);
    let below = block.last().and_then(|pair| own_path(&pair[1]));
    let is_covered = |path: &Vec<String>| request.removals.iter().any(|removal| removal.covers(path));
    below
        .filter(is_covered)
        .or_else(|| above.and_then(own_path))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
