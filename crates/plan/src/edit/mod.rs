//! The smallest edit of a configuration file: whole expressions are cut out of its text, one key is set, and every other
//! byte stays as it was.

pub(crate) mod comments;
pub(crate) mod inline;
pub(crate) mod lines;
pub(crate) mod set;

use crate::edit::lines::Lines;
use mirrorshift_containerd::toml::{Assignment, Expression, Parsed, line_at};
use std::ops::Range;

/// What is to be done to one file.
pub(crate) struct EditRequest<'w> {
    /// Everything at or below these paths goes.
    pub(crate) cuts: Vec<Removal>,
    /// The value that `config_path` gets, and the table in which it stands.
    pub(crate) set: Option<SetKey<'w>>,
}

/// Paths to cut out, and the keys below that containerd reads.
pub(crate) struct Removal {
    /// Everything at or below goes.
    pub(crate) path: Vec<String>,
    /// The path length, counted from `path`, at which containerd's own keys stand.
    pub(crate) depth: usize,
    /// Those keys. Another key there is not ours to lose: it stays as a comment.
    pub(crate) known: &'static [&'static str],
}

/// A key to set.
pub(crate) struct SetKey<'w> {
    /// The table.
    pub(crate) table: Vec<String>,
    /// The key.
    pub(crate) key: &'w str,
    /// The string it gets.
    pub(crate) value: &'w str,
}

/// A file after its edit.
#[derive(Clone, Debug)]
pub(crate) struct EditResult {
    /// The new text.
    pub(crate) text: String,
    /// Comments that went with a table.
    pub(crate) comments: Vec<RemovedText>,
    /// Keys that containerd never read and that stay as comments.
    pub(crate) kept: Vec<RemovedText>,
}

/// Something that is no longer where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedText {
    /// The line it stood on, from 1.
    pub line: usize,
    /// The table it stood in or above.
    pub table: Vec<String>,
    /// What stood there. It may hold a secret: mask it before it is shown.
    pub text: String,
}

/// A replacement of some bytes.
struct Change {
    range: Range<usize>,
    with: String,
}

impl Removal {
    fn covers(&self, path: &[String]) -> bool {
        path.starts_with(&self.path)
    }

    fn is_foreign(&self, path: &[String]) -> bool {
        let depth = self.path.len() + self.depth;
        path.len() > depth + 1 || path.len() == depth + 1 && !self.known.contains(&path[depth].as_str())
    }
}

/// Edits `file`. Nothing when there is nothing to do.
pub(crate) fn edit(file: &Parsed, wish: &EditRequest<'_>) -> Option<EditResult> {
    let lines = Lines::of(&file.text);
    let doomed = doomed(file, &lines, wish);
    let mut edited = EditResult {
        text: String::new(),
        comments: Vec::new(),
        kept: Vec::new(),
    };
    let mut changes: Vec<Change> = inline::changes(file, wish);
    for run in &doomed {
        let mut left = String::new();
        for index in &run.expressions {
            report(file, &lines, wish, *index, &mut edited, &mut left);
        }
        changes.push(Change {
            range: lines.range(&run.lines),
            with: left,
        });
    }
    if let Some(set) = &wish.set
        && let Some(change) = set::change(file, &lines, &doomed, set)
    {
        insert(&mut changes, change);
    }
    for run in &doomed {
        let range = lines.range(&run.lines);
        // What takes the place of a run keeps its distance to the next table.
        if let Some(gap) = changes
            .iter_mut()
            .find(|change| change.range == range && change.with.is_empty())
        {
            gap.range.end = lines.range(&(0..lines.skip_redundant_blank_lines(&run.lines))).end;
        }
    }
    changes.retain(|change| file.text.get(change.range.clone()) != Some(change.with.as_str()));
    if changes.is_empty() {
        return None;
    }
    edited.text = apply(&file.text, changes);
    Some(edited)
}

/// Adds a change; where it stands at the start of a cut they become one.
fn insert(changes: &mut Vec<Change>, change: Change) {
    let same_start =
        |old: &&mut Change| old.range.start == change.range.start && change.range.start == change.range.end;
    match changes.iter_mut().find(same_start) {
        Some(old) => old.with.insert_str(0, &change.with),
        None => changes.push(change),
    }
}

fn apply(text: &str, mut changes: Vec<Change>) -> String {
    changes.sort_by_key(|change| (change.range.start, change.range.end));
    let (mut edited, mut at) = (String::with_capacity(text.len()), 0);
    for change in changes.iter().filter(|change| change.range.start <= change.range.end) {
        edited.push_str(text.get(at..change.range.start).unwrap_or_default());
        edited.push_str(&change.with);
        at = at.max(change.range.end);
    }
    edited.push_str(text.get(at..).unwrap_or_default());
    edited
}

/// Lines that go together, without a line between them that stays.
struct Run {
    lines: Range<usize>,
    expressions: Vec<usize>,
}

fn doomed(file: &Parsed, lines: &Lines, wish: &EditRequest<'_>) -> Vec<Run> {
    let expressions = &file.layout.expressions;
    let goes: Vec<bool> = expressions
        .iter()
        .map(|expression| is_cut(file, wish, expression))
        .collect();
    let goes = with_comments(file, lines, &goes);
    let mut runs: Vec<Run> = Vec::new();
    for (index, expression) in expressions.iter().enumerate().filter(|(index, _)| goes[*index]) {
        let own = lines.of_range(&span_of(expression));
        match runs.last_mut() {
            Some(run) if lines.blank_between(run.lines.end, own.start) && !stays_between(&goes, run, index) => {
                run.lines.end = run.lines.end.max(own.end);
                run.expressions.push(index);
            }
            _ => runs.push(Run {
                lines: own,
                expressions: vec![index],
            }),
        }
    }
    runs
}

fn stays_between(goes: &[bool], run: &Run, index: usize) -> bool {
    let last = run.expressions.last().copied().unwrap_or(index);
    goes[last..index].iter().any(|goes| !goes)
}

fn span_of(expression: &Expression) -> Range<usize> {
    match expression {
        Expression::Header(header) => header.span.clone(),
        Expression::Assignment(assignment) => start_of(assignment)..assignment.value.end,
        Expression::Comment(span) => span.clone(),
    }
}

fn start_of(assignment: &Assignment) -> usize {
    assignment
        .parts
        .first()
        .map_or(assignment.value.start, |part| part.start)
}

fn is_cut(file: &Parsed, wish: &EditRequest<'_>, expression: &Expression) -> bool {
    let covered = |path: &[String]| wish.cuts.iter().any(|cut| cut.covers(path));
    match expression {
        Expression::Header(header) => covered(&header.path),
        Expression::Assignment(assignment) => covered(&file.layout.path_of(assignment)),
        Expression::Comment(_) => false,
    }
}

/// Comments go with the expression on whose line they stand, that they stand right above, or right below as the last thing
/// of a table that goes; never the block at the very top of the file.
fn with_comments(file: &Parsed, lines: &Lines, goes: &[bool]) -> Vec<bool> {
    let expressions = &file.layout.expressions;
    let line_of = |index: usize| lines.of_range(&span_of(&expressions[index]));
    let is_comment = |index: usize| matches!(expressions[index], Expression::Comment(_));
    let mut result = goes.to_vec();
    let mut index = 0;
    while index < expressions.len() {
        if !is_comment(index) {
            index += 1;
            continue;
        }
        // A block: comments on adjoining lines.
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
            // The first comment stands behind an expression on its own line.
            result[block.start] = goes[before];
            block.start += 1;
            if block.is_empty() {
                continue;
            }
        }
        let touches_below =
            expressions.get(block.end).is_some() && line_of(block.end - 1).end == line_of(block.end).start;
        let touches_above = before.is_some_and(|before| line_of(before).end == line_of(block.start).start);
        let banner = line_of(block.start).start == 0;
        let doomed = if touches_below {
            goes[block.end]
        } else {
            touches_above && before.is_some_and(|before| goes[before])
        };
        if doomed && !banner {
            result[block].iter_mut().for_each(|goes| *goes = true);
        }
    }
    result
}

/// Tells what an expression that goes was, and leaves in `left` what must not be lost.
fn report(
    file: &Parsed,
    lines: &Lines,
    wish: &EditRequest<'_>,
    index: usize,
    edited: &mut EditResult,
    left: &mut String,
) {
    let expression = &file.layout.expressions[index];
    let span = span_of(expression);
    let line = line_at(&file.text, span.start);
    let text = file.text.get(span.clone()).unwrap_or_default();
    let gone = |table| RemovedText {
        line,
        table,
        text: text.to_owned(),
    };
    let path = match expression {
        Expression::Comment(_) => {
            edited.comments.push(gone(nearest_table(file, lines, index, wish)));
            return;
        }
        Expression::Header(header) => header.path.clone(),
        Expression::Assignment(assignment) => {
            let path = file.layout.path_of(assignment);
            let table = &path[..path.len().saturating_sub(1)];
            edited
                .comments
                .extend(comments::inside(&file.text, &assignment.value, table));
            path
        }
    };
    let is_header = matches!(expression, Expression::Header(_));
    let foreign = wish.cuts.iter().any(|cut| {
        // A header of containerd's own depth says nothing by itself.
        cut.covers(&path) && cut.is_foreign(&path) && !(is_header && path.len() <= cut.path.len() + cut.depth)
    });
    if foreign {
        let indent = lines.indent(&file.text, span.start);
        let ending = lines.ending(&file.text);
        for part in text.lines() {
            left.extend([indent, "# not read by containerd, kept: ", part.trim_start(), ending]);
        }
        edited.kept.push(gone(path));
    }
}

/// The table that a comment belonged to: that of the expression that it stands right above, or else below, that goes.
fn nearest_table(file: &Parsed, lines: &Lines, index: usize, wish: &EditRequest<'_>) -> Vec<String> {
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
    let cut = |path: &Vec<String>| wish.cuts.iter().any(|cut| cut.covers(path));
    below
        .filter(cut)
        .or_else(|| above.and_then(own_path))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
