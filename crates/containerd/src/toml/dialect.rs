//! The differences between the TOML parsers of the releases: errors, the releases that accept the text, and the repair.

use crate::toml::fault::{Fault, line_at};
use crate::toml::layout::{Layout, atoms, has_escapes};
use std::ops::Range;

/// A syntax error in a TOML file, with the details that an operator needs for the repair.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// The error, as a fragment.
    pub message: String,
    /// The byte range in the file.
    pub span: Range<usize>,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The line itself, without its value, which may contain a password.
    pub shown: String,
    /// The releases that load the file nevertheless.
    pub accepted_by: AcceptedBy,
    /// An instruction for the operator, as a sentence.
    pub remedy: Option<String>,
}

/// The releases that load a file that this crate rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedBy {
    /// No release: the daemon does not start with the file, or ignores the hosts.toml.
    NoRelease,
    /// containerd 1.x, whose TOML library is lenient; 2.x rejects the file.
    V1Only,
    /// containerd 2.x; 1.x rejects the file.
    V2Only,
    /// Some releases: their TOML libraries support parts of TOML 1.1. Every 2.x accepts `\e`; 2.4.2 also accepts newlines and
    /// trailing commas in inline tables (measured with the parsers of 1.6.20 to 2.4.2).
    SomeReleases,
}

/// Decodes the contents of a file.
pub(super) fn decode_text(bytes: &[u8], is_v1: bool) -> Result<&str, Box<SyntaxError>> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.starts_with('\u{feff}') && !is_v1 => {
            let fault = Fault {
                message: "a byte order mark at the start".to_owned(),
                span: 0..3,
            };
            let remedy = "Save the file as UTF-8 without a byte order mark.".to_owned();
            Err(error(text, fault, AcceptedBy::V1Only, Some(remedy)))
        }
        Ok(text) => Ok(text),
        Err(utf8) => {
            let good = utf8.valid_up_to();
            // The text before the first invalid byte suffices for the line number.
            let text = String::from_utf8_lossy(bytes);
            let fault = Fault {
                message: "not UTF-8".to_owned(),
                span: good..good,
            };
            let remedy = "Save the file as UTF-8; containerd 2.x rejects any other encoding.".to_owned();
            Err(error(&text, fault, AcceptedBy::V1Only, Some(remedy)))
        }
    }
}

/// Explains a parser's error to an operator, including whether go-toml v1 accepts the line.
pub(super) fn explain(text: &str, fault: Fault) -> Box<SyntaxError> {
    let line = line_span(text, fault.span.start);
    if let Some((at, repair)) = two_on_a_line(&text[line.clone()]) {
        let fault = Fault {
            message: "two table headers on one line".to_owned(),
            span: line.start + at..line.start + at + 1,
        };
        return error(text, fault, AcceptedBy::V1Only, Some(repair));
    }
    error(text, fault, AcceptedBy::NoRelease, None)
}

pub(super) fn check(text: &str, layout: &Layout, is_v1: bool) -> Result<(), Box<SyntaxError>> {
    if let Some((span, what)) = layout.newer.first() {
        return Err(newer(text, span.clone(), what));
    }
    for (span, encoding, scalar) in atoms(text) {
        let raw = &text[span.clone()];
        if has_escapes(encoding)
            && let Some(at) = newer_escape(raw)
        {
            return Err(newer(
                text,
                span.start + at..span.start + at + 2,
                "an escape `\\e` or `\\x`",
            ));
        }
        if scalar && encoding.is_none() && time_without_seconds(raw) {
            return Err(newer(text, span, "a time without seconds"));
        }
    }
    let bracket = layout
        .headers()
        .find(|header| header.path.iter().any(|part| part.contains(']')));
    match bracket {
        Some(header) if is_v1 => {
            let fault = Fault {
                message: "`]` in a quoted table header".to_owned(),
                span: header.span.clone(),
            };
            let remedy =
                "Write the host by name or IPv4 address, because containerd 1.x cannot read this header.".to_owned();
            Err(error(text, fault, AcceptedBy::V2Only, Some(remedy)))
        }
        _ => Ok(()),
    }
}

fn newer(text: &str, span: Range<usize>, what: &str) -> Box<SyntaxError> {
    let fault = Fault {
        message: format!("{what}, which is TOML 1.1"),
        span,
    };
    let remedy = "Write it as TOML 1.0, which every containerd reads.".to_owned();
    error(text, fault, AcceptedBy::SomeReleases, Some(remedy))
}

fn error(text: &str, fault: Fault, taken_by: AcceptedBy, remedy: Option<String>) -> Box<SyntaxError> {
    let start = floor(text, fault.span.start.min(text.len()));
    let line = line_span(text, start);
    let shown = mask(&text[line.clone()]);
    let column = text[line.start..start].chars().count() + 1;
    let message = fault.message;
    Box::new(SyntaxError {
        message,
        line: line_at(text, start),
        span: fault.span,
        column,
        shown,
        accepted_by: taken_by,
        remedy,
    })
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Returns the range of the line that contains `at`, without its line end.
fn line_span(text: &str, at: usize) -> Range<usize> {
    let at = floor(text, at.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find(['\n', '\r']).map_or(text.len(), |newline| at + newline);
    start..end.max(start)
}

/// Masks everything after the first `=` of a line and keeps at most 200 characters.
pub(crate) fn mask(line: &str) -> String {
    let shown = match line.split_once('=') {
        Some((key, value)) if !value.trim().is_empty() => format!("{key}= …"),
        _ => line.to_owned(),
    };
    shown.chars().take(200).collect()
}

/// Finds a second header on a line, which go-toml v1 accepts; returns its offset and the repair.
fn two_on_a_line(line: &str) -> Option<(usize, String)> {
    let trimmed = line.trim_start();
    if !trimmed.starts_with('[') {
        return None;
    }
    let (mut quote, mut closed) = (None, false);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') if !closed => quote = Some(c),
            (None, '#') => return None,
            (None, ']') => closed = true,
            (None, '[') if closed => {
                let first = line[..at].trim();
                let repair = format!("Start a new line after `{first}`, because TOML allows only one header per line.");
                return Some((at, repair));
            }
            (None, c) if closed && !c.is_whitespace() => return None,
            _ => {}
        }
    }
    None
}

fn newer_escape(raw: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in raw.bytes().enumerate() {
        match byte {
            b'e' | b'x' if escaped => return Some(at - 1),
            b'\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    None
}

/// Returns true for `07:32` or `1979-05-27T07:32`, with or without an offset.
fn time_without_seconds(raw: &str) -> bool {
    let Some(colon) = raw.find(':') else { return false };
    let after = &raw.as_bytes()[colon + 1..];
    after.len() >= 2 && after[..2].iter().all(u8::is_ascii_digit) && after.get(2) != Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toml::parse;

    fn rejected(text: &str, is_v1: bool) -> Box<SyntaxError> {
        parse(text.as_bytes(), is_v1).unwrap_err()
    }

    #[test]
    fn toml_accepted_by_one_release_line_only() {
        let twice = rejected("x = 1\n[plugins.a][plugins.a.b]\ny = 2\n", true);
        assert_eq!(
            (twice.line, twice.column, twice.accepted_by),
            (2, 12, AcceptedBy::V1Only)
        );
        assert!(
            twice.remedy.as_ref().unwrap().contains("new line after `[plugins.a]`"),
            "{twice:?}"
        );
        assert_eq!(rejected("\u{feff}a = 1\n", false).accepted_by, AcceptedBy::V1Only);
        assert!(parse("\u{feff}a = 1\n".as_bytes(), true).is_ok());
        assert_eq!(rejected("[a.\"[::1]:5000\"]\n", true).accepted_by, AcceptedBy::V2Only);
        assert!(parse(b"[a.\"[::1]:5000\"]\n", false).is_ok());
        assert_eq!(parse(b"a = 1\n# \xff\n", true).unwrap_err().line, 2);
    }

    #[test]
    fn toml_1_1_is_rejected() {
        for text in [
            "a = { b = 1,\n c = 2 }\n",
            "a = { b = 1, }\n",
            "a = \"\\e[0m\"\n",
            "a = \"\\x41\"\n",
            "\"\\x41\" = 1\n",
            "a = 07:32\n",
            "a = 1979-05-27 07:32\n",
        ] {
            let error = rejected(text, false);
            assert!(error.message.contains("TOML 1.1"), "{text}: {error:?}");
        }
        for text in [
            "a = \"\\\\e \\\\x\"\n",
            "a = 07:32:00\n",
            "a = 1979-05-27T07:32:00Z\n",
            "a = [\n 1,\n 2,\n]\n",
            "a = { b = [\n1,\n] }\n",
            "a = '\\e'\n",
        ] {
            assert!(parse(text.as_bytes(), false).is_ok(), "{text}");
        }
    }

    #[test]
    fn hostile_text_is_an_error_without_panic() {
        let deep = format!("a = {}{}", "[".repeat(50_000), "]".repeat(50_000));
        let dotted = format!("[{}a]\n", "a.".repeat(200_000));
        let tables = (0..10_000).map(|n| format!("[t.t{n}]\n")).collect::<Vec<_>>().concat();
        for text in [
            deep.as_str(),
            &dotted,
            "a = 1\na = 2\n",
            "[a]\n[a]\n",
            "a = \"\0\"\n",
            "[",
            "=",
            "a = ",
            "\"",
            "a.b.c",
        ] {
            assert!(parse(text.as_bytes(), true).is_err() && parse(text.as_bytes(), false).is_err());
        }
        assert!(parse(tables.as_bytes(), false).is_ok());
    }

    #[test]
    fn shown_line_hides_values() {
        let error = rejected("[a]\npassword = \"hunter2\" x\n", false);
        assert_eq!((error.line, error.shown.as_str()), (2, "password = …"));
    }
}
