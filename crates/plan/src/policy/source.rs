//! The text of a policy with its name. Every error takes its location and its line from it.

use crate::policy::error::{Place, PolicyError, ValueError};
use crate::policy::redact;
use std::ops::Range;

/// The text of a policy. Offsets are in bytes.
pub(super) struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

/// The part of a line that an error may print.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineExcerpt {
    /// The whole line without secrets.
    Whole,
    /// The line up to the error, because the value of an unknown key may be a secret.
    UpToError,
}

impl<'a> Source<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Returns an error about the bytes `at`.
    pub(super) fn error(&self, at: Range<usize>, error: ValueError) -> PolicyError {
        self.error_showing(at, error, LineExcerpt::Whole)
    }

    pub(super) fn error_showing(&self, at: Range<usize>, error: ValueError, show: LineExcerpt) -> PolicyError {
        let start = self.text.floor_char_boundary(at.start);
        let (line, begins) = self.line_of(start);
        let rest = &self.text[begins..];
        let content = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
        let before = self.text[begins..start].chars().count();
        let end = self
            .text
            .floor_char_boundary(at.end)
            .clamp(start, (begins + content.len()).max(start));
        let len = self.text[start..end].chars().count();
        let (excerpt, caret) = redact::line(content, before..before + len, show == LineExcerpt::UpToError);
        let place = Place {
            line,
            column: before + 1,
            excerpt,
            caret: caret.start,
            len: (caret.end - caret.start).max(1),
        };
        PolicyError {
            file: self.name.to_owned(),
            place: Some(Box::new(place)),
            message: error.message,
            hint: error.hint,
        }
    }

    /// Returns the line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_of(self.text.floor_char_boundary(at)).0
    }

    /// Returns the number and the start of a byte's line. YAML ends lines with LF, CRLF or CR.
    fn line_of(&self, at: usize) -> (usize, usize) {
        let bytes = self.text.as_bytes();
        let (mut line, mut begins) = (1, 0);
        for (index, byte) in bytes[..at].iter().enumerate() {
            if *byte == b'\n' || (*byte == b'\r' && bytes.get(index + 1) != Some(&b'\n')) {
                (line, begins) = (line + 1, index + 1);
            }
        }
        (line, begins)
    }
}

#[cfg(test)]
mod tests {
    use super::{Source, ValueError};

    #[test]
    fn lines_and_columns_are_those_of_an_editor() {
        let text = "a: 1\r\nbü: 2\rc: 3\n\n\td: 4";
        let source = Source::new("p.yaml", text);
        for (at, line, column, excerpt) in [
            ("a", 1, 1, "a: 1"),
            ("2", 2, 5, "bü: 2"),
            ("c", 3, 1, "c: 3"),
            ("4", 5, 5, " d: 4"),
        ] {
            let start = text.find(at).unwrap();
            let place = source.error(start..start + 1, ValueError::new("x")).place.unwrap();
            assert_eq!(
                (place.line, place.column, place.excerpt.as_str()),
                (line, column, excerpt)
            );
            assert_eq!((place.caret, place.len), (column - 1, 1));
        }
        let end = source.error(text.len()..text.len() + 7, ValueError::new("at the end"));
        assert_eq!(end.to_string(), "p.yaml:5:6: at the end");
    }
}
