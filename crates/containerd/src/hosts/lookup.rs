//! The search for a registry's hosts directory, in a tree that records the paths that were not read.

use crate::hosts::url::{clean, join};
use crate::route::{Failure, SourceLocation};
use crate::rules::Rule;
use crate::tree::{Entry, Tree};
use crate::version::Version;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A tree that records each requested path that was not read. So the computation of a route itself finds the files that
/// the route depends on, and the two cannot differ.
pub(super) struct TrackedTree<'a> {
    tree: &'a Tree,
    unread: RefCell<BTreeSet<String>>,
}

impl<'a> TrackedTree<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        Self {
            tree,
            unread: RefCell::default(),
        }
    }

    /// Returns the entry at `path`; `Absent` if it was not read.
    pub(super) fn at(&self, path: &str) -> &'a Entry {
        self.tree.get(path).unwrap_or_else(|| {
            self.unread.borrow_mut().insert(path.to_owned());
            &Entry::Absent
        })
    }

    pub(super) fn unread(self) -> Vec<String> {
        self.unread.into_inner().into_iter().collect()
    }
}

/// The hosts directory of a registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostsDirMatch {
    pub(super) path: String,
    pub(super) is_default: bool,
}

/// Returns the folders that a `config_path` names: split as by `filepath.SplitList`, or the whole text.
pub(super) fn roots(config_path: &str, splits_list: bool) -> Vec<String> {
    let absolute = |root: &str| clean(&format!("/{root}"));
    match (config_path, splits_list) {
        ("", _) => Vec::new(),
        (list, true) => list.split(':').map(absolute).collect(),
        (whole, false) => vec![absolute(whole)],
    }
}

/// Returns the first directory that exists, in the first root that has one. A regular file there is an error.
pub(super) fn folder(
    tree: &TrackedTree<'_>,
    version: &Version,
    roots: &[String],
    registry: &str,
) -> Result<Option<HostsDirMatch>, Failure> {
    for root in roots {
        match tree.at(root) {
            Entry::Folder(_) => {}
            Entry::Absent => continue,
            Entry::File(_) => return Err(failure(root, "`config_path` names a regular file, not a folder")),
            Entry::Unusable(what) => return Err(failure(root, &format!("the folder that `config_path` names {what}"))),
        }
        for name in names(version, registry) {
            let path = join(root, &name);
            match tree.at(&path) {
                Entry::Absent => {}
                Entry::Folder(_) => {
                    return Ok(Some(HostsDirMatch {
                        path,
                        is_default: name == DEFAULT,
                    }));
                }
                Entry::File(_) => {
                    return Err(failure(
                        &path,
                        "the registry's hosts directory is a regular file, not a folder",
                    ));
                }
                Entry::Unusable(what) => return Err(failure(&path, &format!("the registry's hosts directory {what}"))),
            }
        }
    }
    Ok(None)
}

pub(super) const DEFAULT: &str = "_default";

/// Returns the names of the directories for `registry`, in the order in which containerd tries them.
fn names(version: &Version, registry: &str) -> Vec<String> {
    let mut names = Vec::new();
    if let Some((host, port)) = registry.rsplit_once(':').filter(|(host, _)| !host.is_empty()) {
        names.push(format!("{host}_{port}_"));
    }
    names.push(registry.to_owned());
    if version.has(Rule::DefaultDirectory) {
        names.push(DEFAULT.to_owned());
    }
    names
}

pub(super) fn failure(path: &str, reason: &str) -> Failure {
    let place = SourceLocation {
        path: path.to_owned(),
        line: None,
    };
    Failure {
        reason: reason.to_owned(),
        place: Some(place),
    }
}
