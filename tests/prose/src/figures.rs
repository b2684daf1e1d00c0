//! The thermometer: measures of a tree, as tables in Markdown.
//!
//! The rows for crates are those of the project's review of its layout, counted on product code: files that are part of
//! the crate without its tests, and in them everything outside of items for tests. For a package without `src` they are
//! counted on all its Rust files.
//!
//! At commit `d59eb46` the review and this module count:
//!
//! | row | review | here |
//! | --- | --- | --- |
//! | comment blocks | 3,822 | 3,925 |
//! | openings | 32 % | 33 % |
//! | words without a subject, per 1,000 | 11.0 | 10.6 |
//! | public types with a one-word name | 74 % | 75 % |
//! | public type names used for two or more types | 46 | 52 |
//! | public functions with a one-word name | 77 % | 76 % |
//! | files in the agent's largest circle | 42 | 43 |
//!
//! - The review's script cuts a file off at `#[cfg(test)] mod tests`. In five files, for example
//!   `crates/plan/src/policy/mod.rs`, this line precedes product code: 103 comment blocks and 18 public types are there.
//!   Here only the items for tests are left out.
//! - The review lists its openings as "and similar". `openings.rs` has the list of this module.
//! - The review's script for imports is not in the repository. Here a path is followed through re-exports to the file
//!   that defines its item, in code as well as in `use`.
//! - The column `product` counts names that two crates share, as the review does. The check is about one crate.

use crate::check::{check, package_files};
use crate::circles::circles;
use crate::complaint::Rule;
use crate::lexer::{CommentMarker, Lexed, lex};
use crate::modules::ModuleTree;
use crate::names;
use crate::openings;
use crate::passages::{self, Passage};
use crate::product::{test_ranges, without};
use crate::tree::{Package, SourceTree, extension};
use crate::words::WordTable;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The measures of one tree.
pub(crate) struct Measures {
    /// By the short name of a crate; `product` has the sum of the program's crates.
    crates: BTreeMap<String, CodeMeasures>,
    documents: BTreeMap<String, ProseMeasures>,
    violations: BTreeMap<Rule, usize>,
}

#[derive(Default)]
struct CodeMeasures {
    files: usize,
    code_lines: usize,
    comments: ProseMeasures,
    type_names: Vec<String>,
    function_names: Vec<String>,
    largest_circle: usize,
}

#[derive(Default)]
struct ProseMeasures {
    blocks: usize,
    words: usize,
    openings: usize,
    persons: usize,
    banned: usize,
}

/// Words and phrases without a subject.
const PERSONS: [&str; 11] = [
    "who", "whom", "whoever", "somebody", "nobody", "anybody", "told", "tells", "anew", "of it", "be it",
];

/// The column of the sum.
const PRODUCT: &str = "product";

/// Measures a tree.
pub(crate) fn measure(tree: &SourceTree, table: &WordTable) -> Measures {
    let mut crates = BTreeMap::new();
    let mut product = CodeMeasures::default();
    let packages = tree.packages();
    for package in &packages {
        let measures = measure_package(tree, package, table);
        if package.is_product() {
            product.add(&measures);
        }
        crates.insert(package.short_name().to_owned(), measures);
    }
    for folder in test_packages(tree, &packages) {
        let measures = measure_tests(tree, &folder, table);
        crates.insert(folder, measures);
    }
    crates.insert(PRODUCT.to_owned(), product);
    let documents = tree.iter().filter(|(path, _)| extension(path) == Some("md"));
    let mut violations = BTreeMap::new();
    for complaint in check(tree, table) {
        *violations.entry(complaint.rule).or_default() += 1;
    }
    Measures {
        crates,
        documents: documents
            .map(|(path, text)| (path.to_owned(), measure_document(path, text, table)))
            .collect(),
        violations,
    }
}

/// Returns the folders of packages that have no `src`.
fn test_packages(tree: &SourceTree, packages: &[Package]) -> Vec<String> {
    let manifests = tree.iter().filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"));
    manifests
        .filter(|folder| !folder.contains('/') && packages.iter().all(|package| package.folder != *folder))
        .map(str::to_owned)
        .collect()
}

fn measure_package(tree: &SourceTree, package: &Package, table: &WordTable) -> CodeMeasures {
    let mut measures = CodeMeasures::default();
    for path in package_files(tree, package) {
        if let Some(text) = tree.text(&path) {
            measures.add_file(text, true, table);
        }
    }
    let roots = package.roots().into_iter().filter(|root| tree.contains(root));
    let sizes = roots.flat_map(|root| {
        let edges = ModuleTree::read(tree, &root).edges();
        let sizes: Vec<usize> = circles(&edges).iter().map(|circle| circle.files.len()).collect();
        sizes
    });
    measures.largest_circle = sizes.max().unwrap_or(0);
    measures
}

fn measure_tests(tree: &SourceTree, folder: &str, table: &WordTable) -> CodeMeasures {
    let nested: Vec<&str> = tree
        .iter()
        .filter_map(|(path, _)| path.strip_suffix("Cargo.toml"))
        .filter(|nested| nested.trim_end_matches('/').starts_with(&format!("{folder}/")))
        .collect();
    let mut measures = CodeMeasures::default();
    for (path, text) in tree.iter() {
        let is_own = path.starts_with(&format!("{folder}/")) && !nested.iter().any(|nested| path.starts_with(nested));
        if is_own && extension(path) == Some("rs") {
            measures.add_file(text, false, table);
        }
    }
    measures
}

fn measure_document(path: &str, text: &str, table: &WordTable) -> ProseMeasures {
    let mut measures = ProseMeasures::default();
    for passage in passages::passages(path, text) {
        // The blocks of a document are its paragraphs.
        for paragraph in passage.paragraphs {
            let text = paragraph
                .iter()
                .map(|word| word.text.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            measures.add(&[paragraph], &text, table);
        }
    }
    measures
}

impl CodeMeasures {
    fn add_file(&mut self, text: &str, is_product: bool, table: &WordTable) {
        let lexed = lex(text);
        let tests = if is_product {
            test_ranges(&lexed.tokens)
        } else {
            Vec::new()
        };
        let is_tested = |at: usize| tests.iter().any(|range| range.start < at && at < range.end);
        let kept: Vec<_> = lexed
            .comments
            .iter()
            .filter(|comment| !is_tested(comment.token_index) && !comment.is_after_code)
            .copied()
            .collect();
        self.files += 1;
        let tokens = without(&lexed.tokens, &tests);
        self.code_lines += tokens.iter().map(|token| token.line).collect::<BTreeSet<_>>().len();
        let comments = Lexed {
            tokens: Vec::new(),
            comments: kept,
        };
        for Passage {
            paragraphs, text, kind, ..
        } in passages::rust_comments(&comments.comments)
        {
            if kind != passages::PassageKind::Comment(CommentMarker::Block) {
                self.comments.add(&paragraphs, &text, table);
            }
        }
        let names = |found: Vec<names::Definition<'_>>| -> Vec<String> {
            found.into_iter().map(|definition| definition.name.to_owned()).collect()
        };
        self.type_names.extend(names(names::public_types(&tokens)));
        self.function_names.extend(names(names::public_functions(&tokens)));
    }

    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.code_lines += other.code_lines;
        self.comments.blocks += other.comments.blocks;
        self.comments.words += other.comments.words;
        self.comments.openings += other.comments.openings;
        self.comments.persons += other.comments.persons;
        self.comments.banned += other.comments.banned;
        self.type_names.extend(other.type_names.iter().cloned());
        self.function_names.extend(other.function_names.iter().cloned());
        self.largest_circle = self.largest_circle.max(other.largest_circle);
    }

    fn shared_type_names(&self) -> usize {
        names::repeated(self.type_names.iter().map(|name| (name.as_str(), ()))).len()
    }
}

impl ProseMeasures {
    fn add(&mut self, paragraphs: &[Vec<crate::prose::Word>], text: &str, table: &WordTable) {
        self.blocks += 1;
        self.openings += usize::from(openings::is_counted(paragraphs));
        let words: Vec<String> = text
            .split(|letter: char| !letter.is_alphabetic())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        self.words += words.len();
        let single = words.iter().filter(|word| PERSONS.contains(&word.as_str())).count();
        let pairs = words
            .windows(2)
            .filter(|pair| PERSONS.contains(&pair.join(" ").as_str()))
            .count();
        self.persons += single + pairs;
        self.banned += paragraphs
            .iter()
            .map(|paragraph| table.occurrences(paragraph).len())
            .sum::<usize>();
    }
}

/// Returns the tables of one tree, or of several for comparison.
pub(crate) fn tables(trees: &[Measures]) -> String {
    let mut out = String::new();
    let columns: BTreeSet<&str> = trees
        .iter()
        .flat_map(|tree| tree.crates.keys().map(String::as_str))
        .collect();
    row(&mut out, "crate", columns.iter().map(|name| (*name).to_owned()));
    row(&mut out, "---", columns.iter().map(|_| "---".to_owned()));
    for (label, measure) in CODE_ROWS {
        let cells = columns
            .iter()
            .map(|name| cell(trees, |tree| tree.crates.get(*name).map(measure)));
        row(&mut out, label, cells);
    }
    out.push('\n');
    row(
        &mut out,
        "document",
        PROSE_ROWS.iter().map(|(label, _)| (*label).to_owned()),
    );
    row(&mut out, "---", PROSE_ROWS.iter().map(|_| "---".to_owned()));
    let documents: BTreeSet<&String> = trees.iter().flat_map(|tree| tree.documents.keys()).collect();
    for name in documents {
        let cells = PROSE_ROWS
            .iter()
            .map(|(_, measure)| cell(trees, |tree| tree.documents.get(name).map(measure)));
        row(&mut out, &format!("`{name}`"), cells);
    }
    out.push('\n');
    row(&mut out, "rule", ["violations".to_owned()]);
    row(&mut out, "---", ["---".to_owned()]);
    let rules: BTreeSet<Rule> = trees.iter().flat_map(|tree| tree.violations.keys().copied()).collect();
    for rule in rules {
        let count = cell(trees, |tree| {
            Some(tree.violations.get(&rule).copied().unwrap_or(0).to_string())
        });
        row(&mut out, rule.name(), [count]);
    }
    out
}

type Row<M> = (&'static str, fn(&M) -> String);

const CODE_ROWS: [Row<CodeMeasures>; 11] = [
    ("files", |code| code.files.to_string()),
    ("code lines", |code| code.code_lines.to_string()),
    ("comment blocks", |code| code.comments.blocks.to_string()),
    ("words per block", |code| code.comments.words_per_block()),
    (
        "blocks that begin with a pronoun, preposition or question word",
        |code| percentage(code.comments.openings, code.comments.blocks),
    ),
    ("words without a subject, per 1,000", |code| {
        code.comments.per_thousand(code.comments.persons)
    }),
    ("words of the table, per 1,000", |code| {
        code.comments.per_thousand(code.comments.banned)
    }),
    ("public types with a one-word name", |code| {
        let count = code
            .type_names
            .iter()
            .filter(|name| names::is_one_word_type(name))
            .count();
        percentage(count, code.type_names.len())
    }),
    ("public type names used for two or more types", |code| {
        code.shared_type_names().to_string()
    }),
    ("public functions with a one-word name", |code| {
        let count = code
            .function_names
            .iter()
            .filter(|name| names::is_one_word_function(name))
            .count();
        percentage(count, code.function_names.len())
    }),
    ("files in the largest circle", |code| code.largest_circle.to_string()),
];

const PROSE_ROWS: [Row<ProseMeasures>; 5] = [
    ("paragraphs", |prose| prose.blocks.to_string()),
    ("words per paragraph", ProseMeasures::words_per_block),
    ("openings", |prose| percentage(prose.openings, prose.blocks)),
    ("without a subject, per 1,000", |prose| {
        prose.per_thousand(prose.persons)
    }),
    ("of the table, per 1,000", |prose| prose.per_thousand(prose.banned)),
];

impl ProseMeasures {
    fn words_per_block(&self) -> String {
        ratio(self.words, self.blocks, 1).to_string()
    }

    /// With one digit after the point.
    fn per_thousand(&self, count: usize) -> String {
        let tenths = ratio(count, self.words, 10_000);
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// Returns `scale` times a quotient, rounded to the nearest whole number.
fn ratio(part: usize, whole: usize, scale: usize) -> usize {
    (part * scale * 2 + whole).checked_div(whole * 2).unwrap_or(0)
}

fn percentage(part: usize, whole: usize) -> String {
    format!("{} %", ratio(part, whole, 100))
}

/// Returns the values of all trees in one cell.
fn cell<'m>(trees: &'m [Measures], measure: impl Fn(&'m Measures) -> Option<String>) -> String {
    let values = trees.iter().map(|tree| measure(tree).unwrap_or_else(|| "–".to_owned()));
    values.collect::<Vec<_>>().join(" → ")
}

fn row(out: &mut String, label: &str, cells: impl IntoIterator<Item = String>) {
    write!(out, "| {label} |").ok();
    for cell in cells {
        write!(out, " {cell} |").ok();
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(files: &[(&str, &str)]) -> Measures {
        measure(
            &SourceTree::from_files(files.iter().copied()),
            &WordTable::load().unwrap(),
        )
    }

    fn value<'a>(table: &'a str, label: &str) -> Vec<&'a str> {
        let line = table
            .lines()
            .find(|line| line.starts_with(&format!("| {label} |")))
            .unwrap();
        line.split('|')
            .skip(2)
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect()
    }

    #[test]
    fn rows_count_product_code_only() {
        let source = "//! What it is of it.\n\n/// Reads it anew.\npub fn read() {}\npub struct A;\npub mod b { pub struct A; }\n\
            pub struct BigPlan;\n#[cfg(test)]\nmod tests {\n    // Who is it.\n    pub struct Tested;\n}\n";
        let table = tables(&[measured(&[
            ("crates/a/Cargo.toml", "[package]\n"),
            ("crates/a/src/lib.rs", source),
        ])]);
        assert_eq!(value(&table, "crate"), ["a", PRODUCT]);
        assert_eq!(value(&table, "files")[0], "1");
        assert_eq!(value(&table, "comment blocks")[0], "2");
        assert_eq!(value(&table, "words per block")[0], "4");
        assert_eq!(value(&table, CODE_ROWS[4].0)[0], "50 %");
        assert_eq!(value(&table, CODE_ROWS[5].0)[0], "250.0");
        assert_eq!(value(&table, CODE_ROWS[6].0)[0], "125.0");
        assert_eq!(value(&table, CODE_ROWS[7].0)[0], "67 %");
        assert_eq!(value(&table, CODE_ROWS[8].0)[0], "1");
        assert_eq!(value(&table, CODE_ROWS[9].0)[0], "100 %");
        assert_eq!(value(&table, CODE_ROWS[10].0)[0], "0");
    }

    #[test]
    fn two_trees_are_compared_in_each_cell() {
        let before = measured(&[("README.md", "Read it anew.\n")]);
        let after = measured(&[("README.md", "Read it.\n\nAgain.\n")]);
        let table = tables(&[before, after]);
        assert_eq!(value(&table, "`README.md`")[0], "1 → 2");
        assert_eq!(value(&table, "words"), ["1 → 0"]);
    }
}
