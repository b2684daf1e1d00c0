//! Which registry settings are in force, told by the places they stand at, and on which releases others would be.
//!
//! Whether a setting is read is never worked out from its table's name: the model is asked, for this release and for a
//! release of every other line.

use crate::config::{Config, read};
use crate::document::Document;
use crate::rules::{LINES, Line};
use crate::toml::value::{Table, Value, ValueKind};
use crate::tree::Tree;
use crate::version::Version;
use std::collections::BTreeSet;

/// A setting by its place: the file, and the byte it starts at.
pub(super) type SettingLocation = (String, usize);

/// Every setting below the live `registry` table.
pub(super) fn leaves(document: &Document) -> BTreeSet<SettingLocation> {
    let mut leaves = BTreeSet::new();
    let registry = document
        .live()
        .and_then(|live| document.field(live, "registry"))
        .and_then(Value::as_table);
    if let Some(registry) = registry {
        each_leaf(registry, &mut Vec::new(), &mut |_, value| {
            if let Some(file) = document.files.get(value.file) {
                leaves.insert((file.path.clone(), value.span.start));
            }
        });
    }
    leaves
}

/// Calls `visit` with every value below `table` that is no table, and with every table that is empty, each with its path.
pub(super) fn each_leaf<'t>(table: &'t Table, path: &mut Vec<&'t str>, visit: &mut dyn FnMut(&[&'t str], &'t Value)) {
    for (key, value) in table {
        path.push(key);
        match &value.kind {
            ValueKind::Table(inner) if !inner.is_empty() => each_leaf(inner, path, visit),
            _ => visit(path, value),
        }
        path.pop();
    }
}

/// What a line of releases makes of the same files.
pub(super) struct ReleaseReading {
    line: &'static Line,
    /// Nothing where the daemon would not start.
    reading: Option<(Config, BTreeSet<SettingLocation>)>,
}

/// Reads the files that start at `root` as a release of every line would.
pub(super) fn probe(root: &str, tree: &Tree) -> Vec<ReleaseReading> {
    let reading = |line: &Line| {
        let version: Version = line.sample.parse().ok()?;
        let config = read(&version, root, tree).outcome.ok()?;
        let leaves = leaves(&config.document);
        Some((config, leaves))
    };
    LINES
        .iter()
        .map(|line| ReleaseReading {
            line,
            reading: reading(line),
        })
        .collect()
}

/// The lines for which `holds`, as prose: `1.6 to 2.1 and 2.3.0 and newer`. Nothing when there is none.
pub(super) fn lines_where(
    probes: &[ReleaseReading],
    holds: &dyn Fn(&Config, &BTreeSet<SettingLocation>) -> bool,
) -> Option<String> {
    let good: Vec<bool> = probes
        .iter()
        .map(|probe| {
            probe
                .reading
                .as_ref()
                .is_some_and(|(config, leaves)| holds(config, leaves))
        })
        .collect();
    let mut runs = Vec::new();
    let mut at = 0;
    while at < good.len() {
        let length = good[at..].iter().take_while(|good| **good).count();
        if length == 0 {
            at += 1;
            continue;
        }
        let (first, last) = (probes[at].line, probes[at + length - 1].line);
        runs.push(if at + length == good.len() {
            format!("{} and newer", first.from)
        } else if first.from == last.to {
            first.from.to_owned()
        } else {
            format!("{} to {}", first.from, last.to)
        });
        at += length;
    }
    (!runs.is_empty()).then(|| crate::findings::shown::list(&runs, runs.len()))
}

/// The lines that [`lines_where`] knows, as prose: `from 1.6 to 2.4`.
pub(super) fn all_lines() -> String {
    match (LINES.first(), LINES.last()) {
        (Some(first), Some(last)) => format!("from {} to {}", first.from, last.to),
        _ => String::new(),
    }
}
