//! Runs of expressions that are removed together, and the byte ranges of expressions.

use crate::edit::lines::Lines;
use mirrorshift_containerd::toml::{Assignment, Expression};
use std::ops::Range;

/// A replacement of some bytes of the text.
pub(super) struct Replacement {
    pub(super) range: Range<usize>,
    pub(super) with: String,
}

/// Lines that are removed together: no line between them stays.
pub(super) struct Run {
    pub(super) lines: Range<usize>,
    /// Indices of the expressions on these lines.
    pub(super) expressions: Vec<usize>,
}

/// Groups the expressions that are removed into runs.
pub(super) fn runs(expressions: &[Expression], lines: &Lines, is_removed: &[bool]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, expression) in expressions.iter().enumerate().filter(|(index, _)| is_removed[*index]) {
        let own = lines.of_range(&span_of(expression));
        match runs.last_mut() {
            Some(run) if lines.blank_between(run.lines.end, own.start) && !stays_between(is_removed, run, index) => {
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

fn stays_between(is_removed: &[bool], run: &Run, index: usize) -> bool {
    let last = run.expressions.last().copied().unwrap_or(index);
    is_removed[last..index].iter().any(|removed| !removed)
}

pub(super) fn span_of(expression: &Expression) -> Range<usize> {
    match expression {
        Expression::Header(header) => header.span.clone(),
        Expression::Assignment(assignment) => start_of(assignment)..assignment.value.end,
        Expression::Comment(span) => span.clone(),
    }
}

pub(super) fn start_of(assignment: &Assignment) -> usize {
    assignment
        .parts
        .first()
        .map_or(assignment.value.start, |part| part.start)
}
