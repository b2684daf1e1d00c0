//! Which folder answers for a registry, and a look at files that remembers what was not read yet.

use crate::hosts::url::{clean, join};
use crate::route::{Failure, SourceLocation};
use crate::rules::Rule;
use crate::tree::{Entry, Tree};
use crate::version::Version;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A tree, and the paths asked of it that nobody has read. So the files that a route depends on are found by working
/// the route out, and cannot differ from those it looks at.
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

    /// What stands at `path`; what was not read counts as absent.
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

/// The folder that answers, and whether it is `_default`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostsDirMatch {
    pub(super) path: String,
    pub(super) is_default: bool,
}

/// The roots that a `config_path` names: `filepath.SplitList`, or the whole of it.
pub(super) fn roots(config_path: &str, splits_list: bool) -> Vec<String> {
    let absolute = |root: &str| clean(&format!("/{root}"));
    match (config_path, splits_list) {
        ("", _) => Vec::new(),
        (list, true) => list.split(':').map(absolute).collect(),
        (whole, false) => vec![absolute(whole)],
    }
}

/// The first candidate that exists, in the first root that has one. A plain file counts.
pub(super) fn folder(
    look: &TrackedTree<'_>,
    version: &Version,
    roots: &[String],
    registry: &str,
) -> Result<Option<HostsDirMatch>, Failure> {
    for root in roots {
        match look.at(root) {
            Entry::Folder(_) => {}
            Entry::Absent => continue,
            Entry::File(_) => return Err(failure(root, "a plain file stands where `config_path` names a folder")),
            Entry::Unusable(what) => return Err(failure(root, &format!("`config_path` names what {what}"))),
        }
        for name in names(version, registry) {
            let path = join(root, &name);
            match look.at(&path) {
                Entry::Absent => {}
                Entry::Folder(_) => {
                    return Ok(Some(HostsDirMatch {
                        path,
                        is_default: name == DEFAULT,
                    }));
                }
                Entry::File(_) => return Err(failure(&path, "a plain file stands where a folder is expected")),
                Entry::Unusable(what) => return Err(failure(&path, &format!("the registry's folder {what}"))),
            }
        }
    }
    Ok(None)
}

pub(super) const DEFAULT: &str = "_default";

/// Names of the folders that answer for `registry`, in the order containerd looks.
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
