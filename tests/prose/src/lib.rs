//! Checks the prose and the names of the project against its house rules, and measures them.
//!
//! The check reads only the text of a source tree: it builds nothing, and runs on any commit. Its rules:
//!
//! - *words*: the phrases of `words.toml` in Markdown, printed text, comments, messages, settings and manifests;
//! - *openings*: the first sentence of a doc comment states what the item is or does;
//! - *type names*: a public type name occurs once in a crate;
//! - *test names*: no test is named for a person who does not exist;
//! - *circles*: no two files of a crate import each other, directly or through others.
//!
//! Exceptions are in `exceptions.toml`, each with its reason.
//!
//! This crate never changes a file and never decides whether a text is good: a text can pass and still need a second
//! reading.

/// The rules, applied to a tree.
mod check;
/// Files that import each other.
mod circles;
/// A violation of a rule.
mod complaint;
/// The list of exceptions.
mod exceptions;
/// The measures of a tree as tables.
mod figures;
/// Tokens and comments of Rust.
mod lexer;
/// Modules, and the files that paths lead to.
mod modules;
/// Names of types and functions.
mod names;
/// First words of comments.
mod openings;
/// The prose in a file.
mod passages;
/// Product code without its tests.
mod product;
/// Paragraphs and words.
mod prose;
/// The files of a project.
mod tree;
/// The table of words.
mod words;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use tree::SourceTree;
use words::WordTable;

const USAGE: &str = "\
usage: mirrorshift-prose check [--count] [PATH…]
       mirrorshift-prose figures [DIR…]

check    prints every violation of the rules in the current directory, and exits with 1 if there is one.
         With PATH, only those in files under it; with --count, only their number by rule
figures  prints tables of measures. With more than one DIR, each cell has the values of all, in their order
";

/// Runs the command that `arguments` name, and returns the exit code.
///
/// # Errors
///
/// Fails when a tree cannot be read or `out` cannot be written.
pub fn run(arguments: &[String], out: &mut impl Write) -> io::Result<u8> {
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", arguments),
    };
    match command {
        "check" => run_check(rest, out),
        "figures" => run_figures(rest, out),
        "help" | "--help" | "-h" => write!(out, "{USAGE}").map(|()| 0),
        _ => write!(out, "{USAGE}").map(|()| 2),
    }
}

fn run_check(arguments: &[String], out: &mut impl Write) -> io::Result<u8> {
    let (flags, paths): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| argument.starts_with("--"));
    if flags.iter().any(|flag| *flag != "--count") {
        return write!(out, "{USAGE}").map(|()| 2);
    }
    let tree = SourceTree::read(Path::new("."))?;
    let table = WordTable::load().map_err(io::Error::other)?;
    let mut complaints = check::check(&tree, &table);
    if !paths.is_empty() {
        let is_under = |path: &Path| {
            paths
                .iter()
                .any(|under| path.starts_with(under.trim_start_matches("./")))
        };
        complaints.retain(|complaint| is_under(Path::new(&complaint.path)));
    }
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for complaint in &complaints {
        *counts.entry((complaint.rule, complaint.name.as_str())).or_default() += 1;
        if flags.is_empty() {
            writeln!(out, "{complaint}")?;
        }
    }
    if !flags.is_empty() {
        for ((_, name), count) in counts {
            writeln!(out, "{count:6}  {name}")?;
        }
    }
    if complaints.is_empty() {
        return Ok(0);
    }
    writeln!(out, "{} violations", complaints.len())?;
    Ok(1)
}

fn run_figures(arguments: &[String], out: &mut impl Write) -> io::Result<u8> {
    let table = WordTable::load().map_err(io::Error::other)?;
    let here = [".".to_owned()];
    let folders = if arguments.is_empty() { &here } else { arguments };
    let mut measured = Vec::new();
    for folder in folders {
        measured.push(figures::measure(&SourceTree::read(Path::new(folder))?, &table));
    }
    write!(out, "{}", figures::tables(&measured))?;
    Ok(0)
}
