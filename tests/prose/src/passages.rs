//! Finds the prose in a file: Markdown, comments, messages, printed text and descriptions.

use crate::lexer::{Comment, CommentMarker, Lexed, Token, TokenKind};
use crate::prose::{self, Paragraph, Word, WordKind};
use crate::tree::extension;
use std::ops::Range;

/// Text that belongs together, for example a comment or a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) kind: PassageKind,
    /// Its first line in the file.
    pub(crate) line: usize,
    /// The text in the file, without comment markers.
    pub(crate) text: String,
    pub(crate) paragraphs: Vec<Vec<Word>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassageKind {
    Markdown,
    /// A comment in Rust.
    Comment(CommentMarker),
    /// A string of product code that reads like a sentence.
    Message,
    /// Text that the program printed, kept in a test.
    Output,
    /// A comment or a description in YAML, TOML, JSON, a unit or a script.
    Setting,
}

impl Passage {
    fn new(kind: PassageKind, lines: &[(usize, &str)]) -> Self {
        let paragraphs: Vec<Paragraph<'_>> = match kind {
            PassageKind::Markdown | PassageKind::Comment(_) => prose::markdown(lines.iter().copied()),
            PassageKind::Output => prose::plain(lines.iter().copied()),
            PassageKind::Message | PassageKind::Setting => lines
                .split(|(_, line)| line.trim().is_empty())
                .map(<[(usize, &str)]>::to_vec)
                .collect(),
        };
        let has_placeholders = kind == PassageKind::Message;
        Self {
            kind,
            line: lines.first().map_or(0, |(number, _)| *number),
            text: lines.iter().map(|(_, line)| *line).collect::<Vec<_>>().join("\n"),
            paragraphs: paragraphs
                .iter()
                .map(|paragraph| prose::words(paragraph, has_placeholders))
                .filter(|words| !words.is_empty())
                .collect(),
        }
    }
}

/// Returns the passages of a file that is not Rust.
pub(crate) fn passages(path: &str, text: &str) -> Vec<Passage> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match extension(path) {
        Some("md") => vec![Passage::new(PassageKind::Markdown, &numbered(text))],
        Some("txt" | "snap" | "trycmd") => vec![Passage::new(PassageKind::Output, &printed(path, text))],
        Some("json") => json_descriptions(text),
        Some("yaml" | "yml") => [comments(text), yaml_descriptions(text)].concat_passages(),
        Some("toml") if name == "case.toml" => [comments(text), toml_about(text)].concat_passages(),
        Some("toml" | "sh") => comments(text),
        Some("service") => [comments(text), unit_description(text)].concat_passages(),
        _ if text.starts_with("#!") || name == "Dockerfile" => comments(text),
        _ => Vec::new(),
    }
}

trait ConcatPassages {
    fn concat_passages(self) -> Vec<Passage>;
}

impl<const N: usize> ConcatPassages for [Vec<Passage>; N] {
    fn concat_passages(self) -> Vec<Passage> {
        self.into_iter().flatten().collect()
    }
}

fn numbered(text: &str) -> Vec<(usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect()
}

/// Returns the comments of Rust: consecutive lines with the same marker are one.
pub(crate) fn rust_comments(comments: &[Comment<'_>]) -> Vec<Passage> {
    let is_continued = |first: &Comment<'_>, second: &Comment<'_>| {
        first.marker == second.marker
            && first.marker != CommentMarker::Block
            && first.line + 1 == second.line
            && !first.is_after_code
            && !second.is_after_code
    };
    comments
        .chunk_by(is_continued)
        .map(|block| {
            let lines: Vec<(usize, &str)> = block
                .iter()
                .flat_map(|comment| {
                    let lines = comment.text.split('\n').enumerate();
                    lines.map(|(at, line)| (comment.line + at, line.strip_prefix(' ').unwrap_or(line)))
                })
                .collect();
            Passage::new(PassageKind::Comment(block[0].marker), &lines)
        })
        .collect()
}

/// Returns the strings of product code that read like sentences: those outside of `tests` with two words or more.
pub(crate) fn rust_messages(lexed: &Lexed<'_>, tests: &[Range<usize>]) -> Vec<Passage> {
    let is_tested = |at: usize| tests.iter().any(|range| range.contains(&at));
    let tokens = lexed.tokens.iter().enumerate().filter(|(at, _)| !is_tested(*at));
    tokens.filter_map(|(_, token)| message(token)).collect()
}

fn message(token: &Token<'_>) -> Option<Passage> {
    let is_raw = match token.kind {
        TokenKind::Text => false,
        TokenKind::RawText => true,
        _ => return None,
    };
    if !token.text.contains(' ') {
        return None;
    }
    let lines = if is_raw {
        token
            .text
            .split('\n')
            .enumerate()
            .map(|(at, line)| (token.line + at, line.to_owned()))
            .collect()
    } else {
        unescaped(token)
    };
    let lines: Vec<(usize, &str)> = lines.iter().map(|(number, line)| (*number, line.as_str())).collect();
    let passage = Passage::new(PassageKind::Message, &lines);
    let words = passage.paragraphs.iter().flatten();
    let plain = words.filter(|word| word.kind == WordKind::Plain && word.text.len() > 1);
    (plain.count() >= 2).then_some(passage)
}

/// Returns the lines of a string, each with the number of the source line that it comes from.
fn unescaped(token: &Token<'_>) -> Vec<(usize, String)> {
    let mut number = token.line;
    let mut lines = vec![(number, String::new())];
    let add = |lines: &mut Vec<(usize, String)>, letter: char| {
        if let Some((_, line)) = lines.last_mut() {
            line.push(letter);
        }
    };
    let mut letters = token.text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\n' => {
                number += 1;
                lines.push((number, String::new()));
            }
            '\\' => match letters.next() {
                Some('n') => lines.push((number, String::new())),
                Some('\n') => {
                    number += 1;
                    while letters.next_if(|next| next.is_whitespace()).is_some_and(|next| {
                        number += usize::from(next == '\n');
                        true
                    }) {}
                }
                Some(escaped @ ('"' | '\'' | '\\')) => add(&mut lines, escaped),
                _ => add(&mut lines, ' '),
            },
            letter => add(&mut lines, letter),
        }
    }
    lines
}

/// Returns the printed lines of a golden file: no header of a snapshot, and no file contents in a diff.
fn printed<'a>(path: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let mut lines = numbered(text);
    if extension(path) == Some("snap") {
        let ends: Vec<usize> = lines
            .iter()
            .filter(|(_, line)| *line == "---")
            .map(|(number, _)| *number)
            .collect();
        if let [1, end, ..] = ends.as_slice() {
            lines.drain(..*end);
        }
    }
    let mut is_in_hunk = false;
    for (_, line) in &mut lines {
        if line.starts_with("@@") {
            is_in_hunk = true;
        } else if !line.starts_with(['+', '-', ' ', '\\']) {
            is_in_hunk = false;
        }
        if is_in_hunk || line.starts_with("--- ") || line.starts_with("+++ ") {
            *line = "";
        }
    }
    lines
}

/// Returns the comments that begin with `#`: consecutive lines are one, and one behind a value is separate.
fn comments(text: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut block: Vec<(usize, &str)> = Vec::new();
    for (number, line) in numbered(text) {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#!") {
            continue;
        }
        if let Some(comment) = trimmed.strip_prefix('#') {
            block.push((number, comment));
            continue;
        }
        if !block.is_empty() {
            passages.push(Passage::new(PassageKind::Setting, &std::mem::take(&mut block)));
        }
        if let Some((code, comment)) = line.split_once(" # ")
            && code.matches('"').count() % 2 == 0
            && code.matches('\'').count() % 2 == 0
        {
            passages.push(Passage::new(PassageKind::Setting, &[(number, comment)]));
        }
    }
    if !block.is_empty() {
        passages.push(Passage::new(PassageKind::Setting, &block));
    }
    passages
}

/// Keys whose values are sentences for people.
const DESCRIPTIONS: [&str; 8] = [
    "description",
    "message",
    "messageExpression",
    "summary",
    "title",
    "text",
    "content",
    "label",
];

fn yaml_descriptions(text: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut lines = numbered(text).into_iter().peekable();
    while let Some((number, line)) = lines.next() {
        let trimmed = line.trim_start().trim_start_matches("- ");
        let Some((key, value)) = trimmed.split_once(':') else {
            continue;
        };
        if !DESCRIPTIONS.contains(&key) {
            continue;
        }
        let depth = line.len() - trimmed.len();
        let mut block = vec![(number, value.trim_start_matches([' ', '>', '|', '-']))];
        let is_deeper = |line: &str| !line.trim().is_empty() && line.len() - line.trim_start().len() > depth;
        while let Some(next) = lines.next_if(|(_, line)| is_deeper(line)) {
            block.push(next);
        }
        // A key `description` of a schema has a mapping as its value, not a text.
        if value.trim().is_empty() {
            continue;
        }
        passages.push(Passage::new(PassageKind::Setting, &block));
    }
    passages
}

fn toml_about(text: &str) -> Vec<Passage> {
    let about = |(number, line): (usize, &str)| {
        let value = line.strip_prefix("about = ")?;
        Some(Passage::new(PassageKind::Setting, &[(number, value)]))
    };
    numbered(text).into_iter().filter_map(about).collect()
}

fn unit_description(text: &str) -> Vec<Passage> {
    let description = |(number, line): (usize, &str)| {
        let value = line.strip_prefix("Description=")?;
        Some(Passage::new(PassageKind::Setting, &[(number, value)]))
    };
    numbered(text).into_iter().filter_map(description).collect()
}

fn json_descriptions(text: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    for (number, line) in numbered(text) {
        for key in DESCRIPTIONS {
            let Some((_, rest)) = line.split_once(&format!("\"{key}\": \"")) else {
                continue;
            };
            let value = rest.trim_end().trim_end_matches([',', '}']).trim_end_matches('"');
            let value = value.replace("\\n", " ").replace("\\\"", "\"");
            passages.push(Passage::new(PassageKind::Setting, &[(number, &value)]));
        }
    }
    passages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lex;
    use crate::product::test_ranges;

    fn texts(passages: &[Passage]) -> Vec<(usize, &str)> {
        passages
            .iter()
            .map(|passage| (passage.line, passage.text.as_str()))
            .collect()
    }

    #[test]
    fn rust_comments_are_blocks_of_one_marker() {
        let lexed = lex("//! A\n//! b.\n\n/// C.\n// D.\nfn a() {} // E.\n// F.\n");
        assert_eq!(
            texts(&rust_comments(&lexed.comments)),
            [(1, "A\nb."), (4, "C."), (5, "D."), (6, "E."), (7, "F.")]
        );
    }

    #[test]
    fn rust_messages_are_sentences_outside_of_tests() {
        let source = "fn a() { b(\"cannot read `{path}`: \\\n   {error}\"); c(\"key\", \"a b\"); }\n\
            #[cfg(test)] mod tests { fn d() { e(\"not a message\"); } }";
        let lexed = lex(source);
        let tests = test_ranges(&lexed.tokens);
        assert_eq!(
            texts(&rust_messages(&lexed, &tests)),
            [(1, "cannot read `{path}`: {error}")]
        );
    }

    #[test]
    fn golden_text_has_no_header_and_no_diff() {
        let text = "---\nsource: a\n---\nPrinted.\n--- a/b\n+++ b/b\n@@ -1 +1 @@\n-# Old.\n+# New.\n\nMore.\n";
        let lines: Vec<_> = printed("a.snap", text)
            .into_iter()
            .filter(|(_, line)| !line.is_empty())
            .collect();
        assert_eq!(lines, [(4, "Printed."), (11, "More.")]);
    }

    #[test]
    fn settings_have_comments_and_descriptions() {
        let yaml = "# A\n# b.\nkey: 1 # C.\ndescription: >-\n  D\n  e.\nother: x\n";
        assert_eq!(
            texts(&passages("a.yaml", yaml)),
            [(1, " A\n b."), (3, "C."), (4, "\n  D\n  e.")]
        );
        let json = "{\n  \"description\": \"A b.\",\n  \"expr\": \"c\"\n}";
        assert_eq!(texts(&passages("a.json", json)), [(2, "A b.")]);
        assert_eq!(texts(&passages("b/case.toml", "about = \"A b.\"\n")), [(1, "\"A b.\"")]);
        assert_eq!(texts(&passages("a.service", "[Unit]\nDescription=A b\n")), [(2, "A b")]);
        assert_eq!(texts(&passages("run", "#!/bin/sh\n# A.\necho\n")), [(2, " A.")]);
        assert!(passages("LICENSE", "# A.\n").is_empty());
    }
}
