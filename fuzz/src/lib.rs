//! Code that the fuzz targets share: a node's files in memory, and plans for them.

use mirrorshift_containerd::{Entry, Tree, Version, read};
use mirrorshift_plan::policy::Policy;
use mirrorshift_plan::{NodeFiles, Plan, Refusal, plan};
use std::collections::{BTreeMap, BTreeSet};

/// The path of a node's configuration.
pub const CONFIG: &str = "/etc/containerd/config.toml";

/// Releases before and after every change that the rules have.
pub const VERSIONS: &[&str] = &[
    "1.6.0", "1.6.16", "1.6.20", "1.6.36", "1.7.7", "1.7.24", "1.7.32", "2.0.0", "2.0.11", "2.1.9", "2.2.1", "2.2.7",
    "2.3.4", "2.3.6", "2.4.2",
];

/// Returns the release that the first byte of an input selects, and the rest of the input. Seeds start with a letter; `a`
/// selects the first release.
pub fn version(data: &[u8]) -> Option<(Version, &[u8])> {
    let (first, rest) = data.split_first()?;
    let at = usize::from(first.wrapping_sub(b'a')) % VERSIONS.len();
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    Some((VERSIONS[at].parse().expect("a version of the list"), rest))
}

/// The files of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    /// Splits an input at lines `%%` and assigns the parts to these paths in order.
    pub fn split(data: &[u8], paths: &[&str]) -> Self {
        let mut rest = data;
        let mut files = BTreeMap::new();
        for path in paths {
            let mark = b"\n%%\n";
            let end = rest.windows(mark.len()).position(|window| window == mark);
            let (file, after) = match end {
                Some(end) => (&rest[..=end], Some(&rest[end + mark.len()..])),
                None => (rest, None),
            };
            files.insert((*path).to_owned(), file.to_vec());
            match after {
                Some(after) => rest = after,
                None => break,
            }
        }
        Self(files)
    }

    /// Returns the entry at `path`.
    pub fn entry(&self, path: &str) -> Entry {
        if let Some(bytes) = self.0.get(path) {
            return Entry::File(bytes.clone());
        }
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let names: BTreeSet<String> = self
            .0
            .keys()
            .filter_map(|file| file.strip_prefix(&prefix)?.split('/').next())
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            return Entry::Absent;
        }
        Entry::Folder(names.into_iter().collect())
    }

    /// Returns a tree with every file that `version` requests.
    ///
    /// # Panics
    ///
    /// Panics if it requests a path twice, or does not stop.
    pub fn tree(&self, version: &Version) -> Tree {
        let mut tree = Tree::new();
        for _ in 0..1000 {
            let missing = read(version, CONFIG, &tree).missing;
            if missing.is_empty() {
                return tree;
            }
            for path in missing {
                assert!(tree.get(&path).is_none(), "requested {path} again");
                tree.insert(path.clone(), self.entry(&path));
            }
        }
        panic!("does not stop to request files");
    }

    /// Returns the files after the plan's steps.
    ///
    /// # Panics
    ///
    /// Panics if a step does not find the contents that it expects.
    pub fn apply(&self, plan: &Plan) -> Self {
        use mirrorshift_plan::{Digest, Expect};
        let mut files = self.clone();
        for step in &plan.steps {
            let found = files
                .0
                .get(&step.path)
                .map_or(Expect::Absent, |bytes| Expect::File(Digest::of(bytes)));
            assert!(found == step.expect, "a step of {} expects something else", step.path);
            match &step.content {
                Some(content) => files.0.insert(step.path.clone(), content.clone()),
                None => files.0.remove(&step.path),
            };
        }
        files
    }
}

/// Makes a plan for the files.
pub fn planned(
    version: &Version,
    files: &Files,
    owned: &BTreeSet<String>,
    policy: &Policy,
) -> Result<Plan, Box<Refusal>> {
    let tree = files.tree(version);
    let node = NodeFiles {
        version,
        config: CONFIG,
        tree: &tree,
        owned,
        images: &[],
    };
    plan(&node, policy)
}

/// Makes a plan, applies it, and makes a second plan.
///
/// # Panics
///
/// Panics if the second plan is not empty.
pub fn settles(version: &Version, files: &Files, policy: &Policy) -> Option<(Plan, Files)> {
    let plan = planned(version, files, &BTreeSet::new(), policy).ok()?;
    let after = files.apply(&plan);
    let owned = plan.steps.iter().filter(|step| step.content.is_some());
    let owned = owned.map(|step| step.path.clone()).collect();
    let again = planned(version, &after, &owned, policy);
    assert!(
        again.as_ref().is_ok_and(Plan::is_empty),
        "a second run would change something: {again:?}\nfirst: {plan:?}\nafter: {after:?}"
    );
    Some((plan, after))
}
