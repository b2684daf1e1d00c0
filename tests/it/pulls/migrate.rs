//! From a node's files to the files of the migrated node, by the two pure crates alone.

use std::collections::{BTreeMap, BTreeSet};

use mirrorshift_containerd::{Config, DEFAULT_CONFIG, Entry, LoadError, Tree, Version, read};
use mirrorshift_plan::policy::Policy;
use mirrorshift_plan::{Digest, Expect, NodeFiles, Plan, Refusal, plan};
use mirrorshift_tests::lab::Files;

/// A node's files as the model reads them.
pub(crate) struct Node {
    pub(crate) tree: Tree,
    pub(crate) config: Result<Config, Box<LoadError>>,
}

/// Reads whatever the model asks for, until it asks for nothing more.
pub(crate) fn node(version: &Version, files: &Files) -> Node {
    let mut tree = Tree::new();
    for _ in 0..64 {
        let reading = read(version, DEFAULT_CONFIG, &tree);
        if reading.missing.is_empty() {
            let config = reading.outcome;
            return Node { tree, config };
        }
        for path in reading.missing {
            let entry = entry(files, &path);
            tree.insert(path, entry);
        }
    }
    unreachable!("the reader asks for ever more files")
}

fn entry(files: &Files, path: &str) -> Entry {
    if let Some(bytes) = files.get(path) {
        return Entry::File(bytes.clone());
    }
    let folder = format!("{}/", path.trim_end_matches('/'));
    let inside = files.keys().filter_map(|file| file.strip_prefix(&folder));
    let names: BTreeSet<&str> = inside.filter_map(|rest| rest.split('/').next()).collect();
    if names.is_empty() {
        Entry::Absent
    } else {
        Entry::Folder(names.into_iter().map(str::to_owned).collect())
    }
}

/// Plans for a node of which nothing is known but its files and the registries of its images.
pub(crate) fn planned(
    version: &Version,
    node: &Node,
    images: &[String],
    policy: &Policy,
) -> Result<Plan, Box<Refusal>> {
    let facts = NodeFiles {
        version,
        config: DEFAULT_CONFIG,
        tree: &node.tree,
        owned: &BTreeSet::new(),
        images,
    };
    plan(&facts, policy)
}

/// The files once a plan is done. A step that expects something else than what stands there is an error.
pub(crate) fn done(files: &Files, plan: &Plan) -> Result<Files, String> {
    let mut files: BTreeMap<_, _> = files.clone();
    for step in &plan.steps {
        let there = match files.get(&step.path) {
            Some(bytes) => Expect::File(Digest::of(bytes)),
            None => Expect::Absent,
        };
        if there != step.expect {
            return Err(format!("the plan expects something else at {}", step.path));
        }
        match &step.content {
            Some(bytes) => files.insert(step.path.clone(), bytes.clone()),
            None => files.remove(&step.path),
        };
    }
    Ok(files)
}
