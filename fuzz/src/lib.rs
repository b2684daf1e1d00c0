//! What the fuzz targets share: a node's files in memory, and planning on them.

use mirrorshift_containerd::{Entry, Tree, Version, read};
use mirrorshift_plan::policy::Policy;
use mirrorshift_plan::{NodeFiles, Plan, Refusal, plan};
use std::collections::{BTreeMap, BTreeSet};

/// Where a node's configuration starts.
pub const CONFIG: &str = "/etc/containerd/config.toml";

/// Releases on both sides of every change of reading that the rules know.
pub const VERSIONS: &[&str] = &[
    "1.6.0", "1.6.16", "1.6.20", "1.6.36", "1.7.7", "1.7.24", "1.7.32", "2.0.0", "2.0.11", "2.1.9", "2.2.1", "2.2.7",
    "2.3.4", "2.3.6", "2.4.2",
];

/// The release that an input's first byte picks, and the rest of the input. Seeds start with a letter: `a` is the first.
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
    /// Files between lines `%%`, for these paths in turn.
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

    /// What stands at `path`.
    pub fn entry(&self, path: &str) -> Entry {
        if let Some(bytes) = self.0.get(path) {
            return Entry::File(bytes.clone());
        }
        let below = format!("{}/", path.trim_end_matches('/'));
        let names: BTreeSet<String> = self
            .0
            .keys()
            .filter_map(|file| file.strip_prefix(&below)?.split('/').next())
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            return Entry::Absent;
        }
        Entry::Folder(names.into_iter().collect())
    }

    /// Everything that `version` wants to see of them.
    ///
    /// # Panics
    ///
    /// When it asks for something twice, or without end.
    pub fn tree(&self, version: &Version) -> Tree {
        let mut tree = Tree::new();
        for _ in 0..1000 {
            let missing = read(version, CONFIG, &tree).missing;
            if missing.is_empty() {
                return tree;
            }
            for path in missing {
                assert!(tree.get(&path).is_none(), "asked again for {path}");
                tree.insert(path.clone(), self.entry(&path));
            }
        }
        panic!("asks for files without end");
    }

    /// The files once the plan's steps are done; each must find what it expects.
    ///
    /// # Panics
    ///
    /// When a step does not find what it expects.
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

/// Plans on files that nobody has planned on before.
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

/// Plans, applies, plans again: the second plan must be empty.
///
/// # Panics
///
/// When it is not.
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
