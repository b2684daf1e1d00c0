//! The list of exceptions, each with its reason.

use crate::complaint::{Complaint, Rule};
use glob::Pattern;
use serde::Deserialize;
use std::cell::Cell;

/// The place of the list in a tree.
pub(crate) const PATH: &str = "tests/prose/exceptions.toml";

/// The exceptions, and which of them have been used.
#[derive(Default)]
pub(crate) struct Exceptions {
    entries: Vec<Entry>,
}

struct Entry {
    line: usize,
    path: Pattern,
    text: String,
    is_used: Cell<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    #[serde(default)]
    exception: Vec<toml::Spanned<EntryFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    path: String,
    text: String,
    #[serde(default)]
    reason: String,
}

impl Exceptions {
    /// Reads the list, and adds a complaint for each entry that cannot be used.
    pub(crate) fn parse(text: &str, complaints: &mut Vec<Complaint>) -> Self {
        let complaint = |line, message| Complaint::new(PATH, line, Rule::Exceptions, message);
        let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let file: ListFile = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(span.start));
                complaints.push(complaint(line, format!("cannot be read: {}", error.message())));
                return Self::default();
            }
        };
        let mut entries = Vec::new();
        for entry in file.exception {
            let line = line_of(entry.span().start);
            let entry = entry.into_inner();
            if entry.reason.trim().is_empty() {
                complaints.push(complaint(
                    line,
                    format!("the exception of `{}` has no reason", entry.text),
                ));
            }
            match Pattern::new(&entry.path) {
                Ok(path) if !entry.text.trim().is_empty() => entries.push(Entry {
                    line,
                    path,
                    text: entry.text.to_lowercase(),
                    is_used: Cell::new(false),
                }),
                Ok(_) => complaints.push(complaint(line, "the exception has no text".to_owned())),
                Err(error) => complaints.push(complaint(line, format!("`{}` is not a glob: {error}", entry.path))),
            }
        }
        Self { entries }
    }

    /// Returns true if a match in a file is an exception: its row, the match itself, or a longer piece of the text is listed.
    pub(crate) fn allow(&self, path: &str, name: &str, matched: &str, context: &str) -> bool {
        let (name, matched, context) = (name.to_lowercase(), matched.to_lowercase(), context.to_lowercase());
        let mut is_allowed = false;
        for entry in self.entries.iter().filter(|entry| entry.path.matches(path)) {
            let text = &entry.text;
            if *text == name || *text == matched || text.contains(&matched) && context.contains(text) {
                entry.is_used.set(true);
                is_allowed = true;
            }
        }
        is_allowed
    }

    /// Returns a complaint for each exception that nothing has used.
    pub(crate) fn unused(&self) -> impl Iterator<Item = Complaint> {
        let unused = self.entries.iter().filter(|entry| !entry.is_used.get());
        unused.map(|entry| {
            let message = format!(
                "the exception of `{}` in `{}` matches nothing: delete it",
                entry.text, entry.path
            );
            Complaint::new(PATH, entry.line, Rule::Exceptions, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Exceptions, Vec<String>) {
        let mut complaints = Vec::new();
        let exceptions = Exceptions::parse(text, &mut complaints);
        (exceptions, complaints.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn exception_allows_the_row_the_match_and_a_longer_text() {
        let entry =
            |text: &str| format!("[[exception]]\npath = \"docs/*.md\"\ntext = \"{text}\"\nreason = \"A name.\"\n");
        for text in ["dead", "is dead", "host is dead"] {
            let (exceptions, complaints) = parse(&entry(text));
            assert!(complaints.is_empty());
            assert!(
                !exceptions.allow("README.md", "dead", "is dead", "The host is dead."),
                "{text}"
            );
            assert!(
                !exceptions.allow("docs/a.md", "alone", "alone", "The host alone."),
                "{text}"
            );
            assert_eq!(exceptions.unused().count(), 1);
            assert!(
                exceptions.allow("docs/a.md", "dead", "is dead", "The host is dead."),
                "{text}"
            );
            assert_eq!(exceptions.unused().count(), 0);
        }
    }

    #[test]
    fn exception_without_reason_or_text_is_a_complaint() {
        let (_, complaints) = parse("[[exception]]\npath = \"a\"\ntext = \"b\"\n");
        assert_eq!(
            complaints,
            ["tests/prose/exceptions.toml:1: exceptions: the exception of `b` has no reason"]
        );
        assert_eq!(
            parse("[[exception]]\npath = \"a\"\ntext = \"\"\nreason = \"c\"\n")
                .1
                .len(),
            1
        );
        assert_eq!(
            parse("[[exception]]\npath = \"[\"\ntext = \"b\"\nreason = \"c\"\n")
                .1
                .len(),
            1
        );
        assert_eq!(parse("[[exception]]\nfile = \"a\"\n").1.len(), 1);
    }
}
