//! The lines of a text by their byte ranges.

use std::ops::Range;

/// Where each line starts; the last entry is the end of the text.
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

    /// The index of the line that holds `offset`.
    pub(super) fn at(&self, offset: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
            .min(self.blank.len().saturating_sub(1))
    }

    /// The lines that some bytes stand on.
    pub(super) fn of_range(&self, bytes: &Range<usize>) -> Range<usize> {
        let last = bytes.end.saturating_sub(1).max(bytes.start);
        self.at(bytes.start)..self.at(last) + 1
    }

    /// The bytes of some lines, line ends included.
    pub(super) fn range(&self, lines: &Range<usize>) -> Range<usize> {
        let end = self.starts.last().copied().unwrap_or(0);
        let byte = |line: usize| self.starts.get(line).copied().unwrap_or(end);
        byte(lines.start)..byte(lines.end)
    }

    /// Whether all lines from `from` up to `until` are blank.
    pub(super) fn blank_between(&self, from: usize, until: usize) -> bool {
        from >= until || self.blank[from..until].iter().all(|blank| *blank)
    }

    /// The end of `run` with the blank lines behind it, where there is one before it too or nothing at all.
    pub(super) fn skip_redundant_blank_lines(&self, run: &Range<usize>) -> usize {
        let blank_before = run.start.checked_sub(1).is_none_or(|before| self.blank[before]);
        let blanks = self.blank[run.end..].iter().take_while(|blank| **blank).count();
        if blank_before { run.end + blanks } else { run.end }
    }

    /// The whitespace that the line around `offset` starts with.
    pub(super) fn indent<'t>(&self, text: &'t str, offset: usize) -> &'t str {
        let line = &text[self.range(&(self.at(offset)..self.at(offset) + 1))];
        &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
    }

    /// How the file ends its lines.
    pub(super) fn ending(&self, text: &str) -> &'static str {
        let first = &text[self.range(&(0..1))];
        if first.ends_with("\r\n") { "\r\n" } else { "\n" }
    }
}
