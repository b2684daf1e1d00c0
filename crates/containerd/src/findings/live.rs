//! The registry settings in effect, identified by their locations, and the releases on which others would be in effect.
//!
//! A table's name does not decide this. The model itself reads the files, as this release and as a release of every other
//! line.

use crate::config::{Config, read};
use crate::document::Document;
use crate::rules::{LINES, Line};
use crate::toml::value::{Table, Value, ValueKind};
use crate::tree::Tree;
use crate::version::Version;
use std::collections::BTreeSet;

/// Identifies a setting by its file and the offset where it starts.
pub(super) type SettingLocation = (String, usize);

/// Returns every setting of the `registry` table in effect.
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

/// Calls `visit` with the path and value of every entry in `table` that is not a table, and of every empty table.
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

/// The files as one line of releases reads them.
pub(super) struct ReleaseReading {
    line: &'static Line,
    /// `None` if the daemon would not start.
    reading: Option<(Config, BTreeSet<SettingLocation>)>,
}

/// Reads the configuration at `root` as a release of every line does.
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

/// Lists the lines for which `holds` returns true, such as `1.6 to 2.1 and 2.3.0 and newer`; `None` if there is none.
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

/// Returns the range of lines that [`lines_where`] covers: `from 1.6 to 2.4`.
pub(super) fn all_lines() -> String {
    match (LINES.first(), LINES.last()) {
        (Some(first), Some(last)) => format!("from {} to {}", first.from, last.to),
        _ => String::new(),
    }
}
