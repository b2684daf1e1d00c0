//! Files that import each other, directly or through others.

use crate::modules::Edge;
use std::collections::{BTreeMap, BTreeSet};

/// Files of which each is reached from each other by imports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circle<'a> {
    pub(crate) files: BTreeSet<&'a str>,
    /// The imports between these files.
    pub(crate) edges: Vec<&'a Edge>,
}

/// Returns the circles that `edges` make, the largest first.
pub(crate) fn circles<'a>(edges: impl IntoIterator<Item = &'a Edge>) -> Vec<Circle<'a>> {
    let edges: Vec<&Edge> = edges.into_iter().collect();
    let mut imports: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in &edges {
        imports.entry(&edge.from).or_default().push(&edge.to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = imports.keys().map(|file| (*file, reached(&imports, file))).collect();
    let is_reached = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, files) in &reached {
        if seen.contains(file) {
            continue;
        }
        let files: BTreeSet<&str> = files.iter().copied().filter(|other| is_reached(other, file)).collect();
        if files.len() > 1 {
            seen.extend(files.iter().copied());
            let is_inside = |edge: &&&Edge| files.contains(edge.from.as_str()) && files.contains(edge.to.as_str());
            let edges = edges.iter().filter(is_inside).copied().collect();
            circles.push(Circle { files, edges });
        }
    }
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.files.len()));
    circles
}

/// Returns the files that `file` imports, directly or through others.
fn reached<'a>(imports: &BTreeMap<&'a str, Vec<&'a str>>, file: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut unread = vec![file];
    while let Some(file) = unread.pop() {
        for next in imports.get(file).into_iter().flatten() {
            if found.insert(*next) {
                unread.push(next);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(pairs: &[(&str, &str)]) -> Vec<Edge> {
        let edge = |(from, to): &(&str, &str)| Edge {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            line: 1,
            path: String::new(),
        };
        pairs.iter().map(edge).collect()
    }

    #[test]
    fn circles_have_all_files_that_import_each_other() {
        let edges = edges(&[
            ("a", "b"),
            ("b", "c"),
            ("c", "a"),
            ("c", "d"),
            ("e", "f"),
            ("f", "e"),
            ("d", "e"),
        ]);
        let found = circles(&edges);
        let files: Vec<Vec<&str>> = found
            .iter()
            .map(|circle| circle.files.iter().copied().collect())
            .collect();
        assert_eq!(files, [vec!["a", "b", "c"], vec!["e", "f"]]);
        assert_eq!(found[0].edges.len(), 3);
    }

    #[test]
    fn imports_in_one_direction_make_no_circle() {
        assert!(circles(&edges(&[("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
    }
}
