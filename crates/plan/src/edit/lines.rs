//! The lines of a text by their byte ranges.

use std::ops::Range;

/// The start of each line; the last entry is the end of the text.
pub(super) struct Lines {
    starts: Vec<usize>,
    blank: Vec<bool>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let (mut starts, mut blank, mut at) = (Vec::new(), Vec::new(), 0);
        for line in text.split_inclusive('\n') {
            starts.push(at);
            blank.push(line.trim().is_empty());
            at += line.len();
        }
        starts.push(at);
        Self { starts, blank }
    }

    /// Returns the index of the line that contains `offset`.
    pub(super) fn at(&self, offset: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
            .min(self.blank.len().saturating_sub(1))
    }

    /// Returns the lines of a range of bytes.
    pub(super) fn of_range(&self, bytes: &Range<usize>) -> Range<usize> {
        let last = bytes.end.saturating_sub(1).max(bytes.start);
        self.at(bytes.start)..self.at(last) + 1
    }

    /// Returns the byte range of some lines, line ends included.
    pub(super) fn range(&self, lines: &Range<usize>) -> Range<usize> {
        let end = self.starts.last().copied().unwrap_or(0);
        let byte = |line: usize| self.starts.get(line).copied().unwrap_or(end);
        byte(lines.start)..byte(lines.end)
    }

    /// Returns true when all lines from `from` up to `until` are blank.
    pub(super) fn blank_between(&self, from: usize, until: usize) -> bool {
        from >= until || self.blank[from..until].iter().all(|blank| *blank)
    }

    /// Returns the end of `run`, including the blank lines behind it when a blank line or no line at all precedes it.
    pub(super) fn skip_redundant_blank_lines(&self, run: &Range<usize>) -> usize {
        let blank_before = run.start.checked_sub(1).is_none_or(|before| self.blank[before]);
        let blanks = self.blank[run.end..].iter().take_while(|blank| **blank).count();
        if blank_before { run.end + blanks } else { run.end }
    }

    /// Returns the indentation of the line that contains `offset`.
    pub(super) fn indent<'t>(&self, text: &'t str, offset: usize) -> &'t str {
        let line = &text[self.range(&(self.at(offset)..self.at(offset) + 1))];
        &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
    }

    /// Returns the line ending of the file.
    pub(super) fn ending(&self, text: &str) -> &'static str {
        let first = &text[self.range(&(0..1))];
        if first.ends_with("\r\n") { "\r\n" } else { "\n" }
    }
}
