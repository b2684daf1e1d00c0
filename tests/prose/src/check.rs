//! The check: everything that a tree has against the house rules for prose and names.

use crate::circles::circles;
use crate::complaint::{Complaint, Rule};
use crate::exceptions::{self, Exceptions};
use crate::lexer::lex;
use crate::modules::{Edge, ModuleTree};
use crate::names;
use crate::openings;
use crate::passages::{self, Passage, PassageKind};
use crate::product::{test_ranges, without};
use crate::prose::Word;
use crate::tree::{Package, SourceTree, extension};
use crate::words::WordTable;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Files that quote the words of the table as data.
const QUOTING: [&str; 2] = ["tests/prose/words.toml", exceptions::PATH];

/// Returns the complaints about a tree, by rule and place.
pub(crate) fn check(tree: &SourceTree, table: &WordTable) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let exceptions = tree
        .text(exceptions::PATH)
        .map(|text| Exceptions::parse(text, &mut complaints))
        .unwrap_or_default();
    let product = product_files(tree);
    for (path, text) in tree.iter().filter(|(path, _)| !QUOTING.contains(path)) {
        let mut file = FileCheck {
            path,
            table,
            exceptions: &exceptions,
            complaints: &mut complaints,
        };
        if extension(path) == Some("rs") {
            file.rust(text, product.contains(path));
        } else {
            for passage in passages::passages(path, text) {
                file.words(&passage);
            }
        }
    }
    for package in tree.packages() {
        repeated_types(tree, &package, &exceptions, &mut complaints);
        imports(tree, &package, &exceptions, &mut complaints);
    }
    complaints.extend(exceptions.unused());
    complaints.sort();
    complaints
}

/// Returns the files that are in a crate when it is not built for tests.
pub(crate) fn product_files(tree: &SourceTree) -> BTreeSet<String> {
    tree.packages()
        .iter()
        .flat_map(|package| package_files(tree, package))
        .collect()
}

/// Returns the product files of a package.
pub(crate) fn package_files(tree: &SourceTree, package: &Package) -> BTreeSet<String> {
    let roots = package.roots().into_iter().filter(|root| tree.contains(root));
    roots
        .flat_map(|root| {
            let modules = ModuleTree::read(tree, &root);
            modules.files().into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// One file under check.
struct FileCheck<'a> {
    path: &'a str,
    table: &'a WordTable,
    exceptions: &'a Exceptions,
    complaints: &'a mut Vec<Complaint>,
}

impl FileCheck<'_> {
    fn rust(&mut self, text: &str, is_product: bool) {
        let lexed = lex(text);
        let tests = test_ranges(&lexed.tokens);
        for passage in passages::rust_comments(&lexed.comments) {
            self.words(&passage);
            self.opening(&passage);
        }
        if is_product {
            for passage in passages::rust_messages(&lexed, &tests) {
                self.words(&passage);
            }
        }
        let all = 0..lexed.tokens.len();
        let tested = if is_product {
            tests.as_slice()
        } else {
            std::slice::from_ref(&all)
        };
        for range in tested {
            for function in names::functions(&lexed.tokens[range.clone()]) {
                if let Some(word) = names::persons_word(function.name)
                    && !self
                        .exceptions
                        .allow(self.path, "test names", function.name, function.name)
                {
                    let message = format!("`{}` has the word `{word}`: name the actor", function.name);
                    self.complain(function.line, Rule::TestNames, message);
                }
            }
        }
    }

    fn words(&mut self, passage: &Passage) {
        for paragraph in &passage.paragraphs {
            for occurrence in self.table.occurrences(paragraph) {
                let rule = &self.table.rules[occurrence.rule];
                let matched = joined(&paragraph[occurrence.start..occurrence.end]);
                let context = joined(paragraph);
                if self.exceptions.allow(self.path, &rule.name, &matched, &context) {
                    continue;
                }
                let from = occurrence.start.saturating_sub(3);
                let to = (occurrence.end + 3).min(paragraph.len());
                let excerpt = joined(&paragraph[from..to]);
                let message = format!("`{matched}` in \"{excerpt}\": write: {}", rule.write);
                let mut complaint = Complaint::new(self.path, paragraph[occurrence.start].line, Rule::Words, message);
                complaint.name.clone_from(&rule.name);
                self.complaints.push(complaint);
            }
        }
    }

    fn opening(&mut self, passage: &Passage) {
        let PassageKind::Comment(marker) = passage.kind else {
            return;
        };
        if !marker.is_doc() {
            return;
        }
        if let Some(opening) = openings::excluded(&passage.paragraphs) {
            let first = passage
                .paragraphs
                .first()
                .map(|paragraph| joined(paragraph))
                .unwrap_or_default();
            if !self.exceptions.allow(self.path, "openings", &opening, &first) {
                let message = format!("a doc comment begins with `{opening}`: state what the item is or does");
                self.complain(passage.line, Rule::Openings, message);
            }
        }
    }

    fn complain(&mut self, line: usize, rule: Rule, message: String) {
        self.complaints.push(Complaint::new(self.path, line, rule, message));
    }
}

/// Returns words as text again, each mark of punctuation behind the word before it.
fn joined(words: &[Word]) -> String {
    let mut text = String::new();
    for word in words {
        let is_attached = word.is_punctuation() && !matches!(word.text.as_str(), "(" | "[" | "-" | "—" | "–");
        if !text.is_empty() && !text.ends_with(['(', '[']) && !is_attached {
            text.push(' ');
        }
        text.push_str(&word.text.replace('\n', " "));
    }
    text
}

fn repeated_types(tree: &SourceTree, package: &Package, exceptions: &Exceptions, complaints: &mut Vec<Complaint>) {
    let mut places = Vec::new();
    let files = package_files(tree, package);
    for path in &files {
        let Some(text) = tree.text(path) else {
            continue;
        };
        let tokens = lex(text).tokens;
        let tokens = without(&tokens, &test_ranges(&tokens));
        let types = names::public_types(&tokens);
        places.extend(
            types
                .into_iter()
                .map(|definition| (definition.name, (path, definition.line))),
        );
    }
    for (name, places) in names::repeated(places) {
        let (first, others) = (places[0], &places[1..]);
        for (path, line) in others {
            if !exceptions.allow(path, "type names", name, name) {
                let message = format!("`{name}` is also a type in {}:{}", first.0, first.1);
                complaints.push(Complaint::new(path, *line, Rule::TypeNames, message));
            }
        }
    }
}

fn imports(tree: &SourceTree, package: &Package, exceptions: &Exceptions, complaints: &mut Vec<Complaint>) {
    for root in package.roots().iter().filter(|root| tree.contains(root)) {
        let edges = ModuleTree::read(tree, root).edges();
        // Only an import that is part of a circle can be an exception.
        let inside: BTreeSet<_> = circles(&edges).into_iter().flat_map(|circle| circle.edges).collect();
        let is_kept =
            |edge: &&_| !(inside.contains(edge) && exceptions.allow(&edge.from, "circles", &edge.to, &edge.to));
        let kept: Vec<_> = edges.iter().filter(is_kept).collect();
        for circle in circles(kept) {
            let mut message = format!("{} files import each other:", circle.files.len());
            for edge in &circle.edges {
                let Edge { from, to, line, path } = edge;
                write!(message, "\n    {from}:{line} -> {to} (`{path}`)").ok();
            }
            if let Some(edge) = circle.edges.first() {
                complaints.push(Complaint::new(&edge.from, edge.line, Rule::Circles, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(files: &[(&str, &str)]) -> Vec<String> {
        let tree = SourceTree::from_files(files.iter().copied());
        let found = check(&tree, &WordTable::load().unwrap());
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_are_found_in_every_kind_of_text() {
        let manifest = ("a/Cargo.toml", "[package]\n");
        for (path, text) in [
            ("README.md", "Read it anew.\n"),
            ("a/src/lib.rs", "/// Reads it anew.\nfn a() {}\n"),
            ("a/src/lib.rs", "fn a() {\n    // Read it anew.\n}\n"),
            ("a/src/lib.rs", "fn a() { print(\"reads it anew\"); }\n"),
            ("a/tests/b.rs", "// Reads it anew.\n"),
            ("tests/cases/a/plan.txt", "Reads it anew.\n"),
            ("manifests/a.yaml", "# Reads it anew.\n"),
            ("manifests/a.yaml", "description: Reads it anew.\n"),
            ("docs/schemas/a.json", "\"description\": \"Reads it anew.\"\n"),
            ("tests/run", "#!/bin/bash\n# Reads it anew.\n"),
        ] {
            assert_eq!(complaints(&[manifest, (path, text)]).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn words_in_code_and_tests_pass() {
        for (path, text) in [
            ("README.md", "The word `anew`.\n\n    anew\n\n```toml\n# anew\n```\n"),
            ("a/tests/b.rs", "fn a() { print(\"reads it anew\"); }\n"),
            ("tests/cases/a/before/etc/config.toml", "# Reads it anew.\n"),
            ("tests/prose/words.toml", "# Reads it anew.\n"),
        ] {
            let tree = [(path, text)];
            let found = complaints(&tree);
            let is_read = !path.contains("/before/");
            assert!(found.is_empty() || !is_read, "{path}: {found:?}");
        }
    }

    #[test]
    fn complaint_has_the_line_of_the_word() {
        let found = complaints(&[("README.md", "A file\nis read\nanew.\n")]);
        assert_eq!(
            found,
            ["README.md:3: anew: `anew` in \"file is read anew.\": write: again"]
        );
    }

    #[test]
    fn openings_types_tests_and_circles_are_checked() {
        let found = complaints(&[
            ("a/Cargo.toml", "[package]\n"),
            ("a/src/lib.rs", "//! Crate.\nmod b;\nmod c;\n"),
            (
                "a/src/b.rs",
                "/// What it is.\npub struct A(crate::c::C);\n#[test]\nfn nobody_reads() {}\n",
            ),
            ("a/src/c.rs", "pub struct C(crate::b::A);\nmod d { pub enum A {} }\n"),
        ]);
        assert_eq!(
            found,
            [
                "a/src/b.rs:1: openings: a doc comment begins with `What`: state what the item is or does",
                "a/src/b.rs:2: circles: 2 files import each other:\n    \
                    a/src/b.rs:2 -> a/src/c.rs (`crate::c::C`)\n    a/src/c.rs:1 -> a/src/b.rs (`crate::b::A`)",
                "a/src/b.rs:4: test names: `nobody_reads` has the word `nobody`: name the actor",
                "a/src/c.rs:2: type names: `A` is also a type in a/src/b.rs:2",
            ]
        );
    }

    #[test]
    fn exception_of_an_import_ends_the_circle() {
        let exception = "[[exception]]\npath = \"a/src/b.rs\"\ntext = \"a/src/c.rs\"\nreason = \"One type.\"\n";
        let found = complaints(&[
            ("a/Cargo.toml", "[package]\n"),
            ("a/src/lib.rs", "mod b;\nmod c;\n"),
            ("a/src/b.rs", "pub struct A(crate::c::C);\n"),
            ("a/src/c.rs", "pub struct C(crate::b::A);\n"),
            (exceptions::PATH, exception),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn exception_that_matches_nothing_is_a_complaint() {
        let exception = "[[exception]]\npath = \"*.md\"\ntext = \"anew\"\nreason = \"A quotation.\"\n";
        assert_eq!(
            complaints(&[(exceptions::PATH, exception), ("a.md", "Again.\n")]).len(),
            1
        );
        assert!(complaints(&[(exceptions::PATH, exception), ("a.md", "Anew.\n")]).is_empty());
    }
}
