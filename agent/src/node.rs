//! Reads a node's files: the configuration, every file that it names, and the journal.

use crate::containerd_version;
use crate::error::{CommandError, Excerpt, Location};
use crate::exit::Exit;
use mirrorshift_containerd::redact;
use mirrorshift_containerd::{Config, DEFAULT_CONFIG, Entry, Image, LoadError, Tree, Version, read};
use mirrorshift_node::{ChangePlan, Fact, Root, Status, status};
use mirrorshift_plan::policy::{MirrorFlag, Policy, Wildcard};
use mirrorshift_plan::{Digest, Expect, NodeFiles, Plan, plan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Rounds of reading. Each round reads the files that the previous one named: imports, directories, hosts.toml,
/// certificates.
const MAX_ROUNDS: usize = 64;
/// Limits against a hostile configuration. No real node comes near them.
const MAX_PATHS: usize = 50_000;
const MAX_BYTES: usize = 64 << 20;
/// Characters of a line in an error message.
const MAX_EXCERPT: usize = 160;
/// The largest number of registries that are compared because of images on the node. A rehearsal pulls from each of them,
/// and its time is limited. No real node comes near it.
const MAX_IMAGE_REGISTRIES: usize = 256;
/// The policy file is read up to this size. The policy reader then reports that it is too long.
const POLICY_LIMIT: u64 = 2 << 20;

/// The place of a node's files, and the containerd that reads them.
#[derive(Clone, Debug)]
pub(crate) struct NodeSource {
    pub(crate) root: PathBuf,
    /// The path of containerd's configuration as the node sees it; `None` is containerd's default path.
    pub(crate) config_path: Option<String>,
    /// The version of containerd; `None` is the version that the running machine's containerd prints.
    pub(crate) containerd_version: Option<String>,
}

impl NodeSource {
    /// Returns the running machine's own files.
    pub(crate) fn live(config_path: String, containerd_version: Option<String>) -> Self {
        Self {
            root: "/".into(),
            config_path: Some(config_path),
            containerd_version,
        }
    }

    /// Returns the path of containerd's configuration.
    pub(crate) fn config(&self) -> &str {
        self.config_path.as_deref().unwrap_or(DEFAULT_CONFIG)
    }
}

/// A node whose files have been read.
#[derive(Debug)]
pub(crate) struct LoadedNode {
    pub(crate) version: Version,
    /// The path of containerd's configuration.
    pub(crate) config: String,
    /// Every file that was read.
    pub(crate) tree: Tree,
    /// The configuration, or the reason why containerd does not start with it.
    pub(crate) outcome: Result<Config, Box<LoadError>>,
    /// The contents of the journal.
    pub(crate) status: Status,
    /// The files that Mirrorshift wrote and that no other program has modified since.
    owned: BTreeSet<String>,
    images: NodeImages,
}

/// The registries of the images on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NodeImages {
    /// The images were not listed: the files are in a folder, or the command does not plan.
    NotListed,
    /// The registries, sorted, none twice.
    Registries(Vec<String>),
    /// CRI did not list the images, for this reason.
    Unknown(String),
}

impl LoadedNode {
    /// Reads the node under `root`.
    pub(crate) fn read(root: &Root, source: &NodeSource) -> Result<Self, CommandError> {
        let version = containerd_version::resolve(source.containerd_version.as_deref(), &source.root, root.is_live())?;
        let config = source.config();
        if !config.starts_with('/') {
            return Err(
                CommandError::usage("config", format!("--config: `{config}` is not an absolute path"))
                    .hint("pass the path as containerd sees it on the node, without --root"),
            );
        }
        let status = status(root)?;
        let (tree, outcome) = read_files(root, &version, config, Tree::new())?;
        let is_unchanged =
            |path: &String, digest: Digest| tree.file(path).is_some_and(|contents| Digest::of(contents) == digest);
        let owned = status
            .owned
            .iter()
            .filter(|(path, owned)| is_unchanged(path, owned.digest))
            .map(|(path, _)| path.clone())
            .collect();
        Ok(Self {
            version,
            config: config.to_owned(),
            tree,
            outcome,
            status,
            owned,
            images: NodeImages::NotListed,
        })
    }

    /// Reads the same files by the rules of another release.
    pub(crate) fn read_as(&self, root: &Root, version: &Version) -> Result<Self, CommandError> {
        let (tree, outcome) = read_files(root, version, &self.config, self.tree.clone())?;
        Ok(Self {
            version: version.clone(),
            config: self.config.clone(),
            tree,
            outcome,
            status: self.status.clone(),
            owned: self.owned.clone(),
            images: self.images.clone(),
        })
    }

    /// Returns the input of the planner.
    pub(crate) fn files(&self) -> NodeFiles<'_> {
        NodeFiles {
            version: &self.version,
            config: &self.config,
            tree: &self.tree,
            owned: &self.owned,
            images: match &self.images {
                NodeImages::Registries(registries) => registries,
                NodeImages::NotListed | NodeImages::Unknown(_) => &[],
            },
        }
    }

    /// Takes the images on the node, as CRI lists them, into the comparison of every later plan. A list that is
    /// unavailable does not replace an earlier list.
    pub(crate) fn compare_images(&mut self, references: &Fact<Vec<String>>) {
        match (references, &self.images) {
            (Fact::Value(references), _) => self.images = NodeImages::Registries(image_registries(references)),
            (Fact::Unavailable(_), NodeImages::Registries(_)) => {}
            (Fact::Unavailable(why), _) => self.images = NodeImages::Unknown(why.clone()),
        }
    }

    /// Returns the reason why the registries of the node's images are not compared, if CRI was to list them.
    pub(crate) fn images_unknown(&self) -> Option<&str> {
        match &self.images {
            NodeImages::Unknown(why) => Some(why),
            NodeImages::NotListed | NodeImages::Registries(_) => None,
        }
    }

    /// Plans the change to what `policy` describes.
    pub(crate) fn plan(&self, policy: &Policy) -> Result<Plan, CommandError> {
        plan(&self.files(), policy).map_err(|refusal| {
            let mut failure = CommandError::from(refusal);
            self.add_excerpt(&mut failure);
            failure
        })
    }

    /// Adds the line that a refusal names, if the refusal has no excerpt yet.
    fn add_excerpt(&self, failure: &mut CommandError) {
        let Some(at @ Location { excerpt: None, .. }) = failure.place.as_deref_mut() else {
            return;
        };
        let text = self.tree.file(&at.file).map(String::from_utf8_lossy);
        let Some((text, line)) = text.zip(at.line) else { return };
        let masked = redact::file(&text);
        let Some(line) = masked.lines().nth(line.saturating_sub(1)) else {
            return;
        };
        let shown: String = line.trim_end().chars().take(MAX_EXCERPT).collect();
        let caret = shown.chars().take_while(|c| c.is_whitespace()).count();
        at.excerpt = Some(Excerpt {
            caret,
            len: shown.chars().count() - caret,
            text: shown,
        });
    }

    /// Returns the configuration.
    ///
    /// # Errors
    /// containerd does not start with these files.
    pub(crate) fn config(&self) -> Result<&Config, CommandError> {
        self.outcome.as_ref().map_err(|error| {
            let refusal = self.plan(&Policy::default()).err();
            refusal.unwrap_or_else(|| CommandError::new(Exit::Refused, "unreadable", error.to_string()))
        })
    }
}

/// Returns the registries of image references, sorted, none twice. A route depends on the registry only, not on the
/// repository. A name that containerd could not pull, such as that of an imported image, is left out.
fn image_registries(references: &[String]) -> Vec<String> {
    let images = references
        .iter()
        .filter_map(|reference| reference.parse::<Image>().ok());
    let registries: BTreeSet<String> = images.map(|image| image.registry).collect();
    registries.into_iter().take(MAX_IMAGE_REGISTRIES).collect()
}

type Files = (Tree, Result<Config, Box<LoadError>>);

fn read_files(root: &Root, version: &Version, config: &str, mut tree: Tree) -> Result<Files, CommandError> {
    let (mut paths, mut bytes) = (0, 0);
    for _ in 0..MAX_ROUNDS {
        let reading = read(version, config, &tree);
        if reading.missing.is_empty() {
            return Ok((tree, reading.outcome));
        }
        for path in reading.missing {
            let entry = root.entry(&path);
            paths += 1;
            if let Entry::File(content) = &entry {
                bytes += content.len();
            }
            if paths > MAX_PATHS || bytes > MAX_BYTES {
                return Err(too_much(format!(
                    "the configuration names more than {MAX_PATHS} paths or {MAX_BYTES} bytes of files"
                )));
            }
            tree.insert(path, entry);
        }
    }
    Err(too_much(format!(
        "the configuration names new files after {MAX_ROUNDS} rounds of reading"
    )))
}

fn too_much(message: String) -> CommandError {
    CommandError::new(Exit::Refused, "too-much", message)
        .hint("check its `imports` and the directories under `config_path`")
}

/// The desired change as the operator wrote it, with the text of the policy file, so that it means the same wherever it is
/// read. It has no `Debug`, because it may hold passwords.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicySource {
    /// The name and the contents of the policy file.
    file: Option<(String, Vec<u8>)>,
    mirrors: Vec<String>,
    wildcard: Option<String>,
}

impl PolicySource {
    /// Reads the policy file, and keeps the values of `--mirror` and `--wildcard`.
    pub(crate) fn read(file: Option<&Path>, mirrors: &[String], wildcard: Option<&str>) -> Result<Self, CommandError> {
        let read_named = |path: &Path| {
            let name = path.display().to_string();
            read_policy_file(path, &name).map(|contents| (name, contents))
        };
        Ok(Self {
            file: file.map(read_named).transpose()?,
            mirrors: mirrors.to_vec(),
            wildcard: wildcard.map(str::to_owned),
        })
    }

    /// Reads only a policy file.
    pub(crate) fn from_file(path: &Path) -> Result<Self, CommandError> {
        Self::read(Some(path), &[], None)
    }

    /// Returns the migration that changes no route.
    pub(crate) fn unchanged_routes() -> Self {
        Self::default()
    }

    /// Returns a digest that identifies the desired change.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Returns the flags and values that produce this source.
    pub(crate) fn flags(&self) -> Vec<(&'static str, &str)> {
        let file = self.file.iter().map(|(name, _)| ("--policy", name.as_str()));
        let mirrors = self.mirrors.iter().map(|mirror| ("--mirror", mirror.as_str()));
        let wildcard = self.wildcard.iter().map(|wildcard| ("--wildcard", wildcard.as_str()));
        file.chain(mirrors).chain(wildcard).collect()
    }

    /// Parses the policy: the file, with the flags on top.
    pub(crate) fn policy(&self) -> Result<Policy, CommandError> {
        let file = match &self.file {
            Some((name, contents)) => Some(Policy::parse_bytes(contents, name)?),
            None => None,
        };
        let mirrors = self
            .mirrors
            .iter()
            .map(|text| MirrorFlag::parse(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CommandError::flag("--mirror", &error))?;
        let wildcard = self
            .wildcard
            .as_deref()
            .map(Wildcard::parse)
            .transpose()
            .map_err(|error| CommandError::flag("--wildcard", &error))?;
        Policy::with_flags(file, &mirrors, wildcard).map_err(|error| CommandError::flag("--mirror", &error))
    }
}

fn read_policy_file(path: &Path, name: &str) -> Result<Vec<u8>, CommandError> {
    let failed = |error: std::io::Error| {
        let error = error.to_string();
        let cause = error.split(" (os error").next().unwrap_or_default();
        CommandError::usage("policy-file", format!("cannot read the policy `{name}`: {cause}"))
    };
    // Opening a FIFO would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(CommandError::usage(
            "policy-file",
            format!("the policy `{name}` is not a regular file"),
        ));
    }
    let mut contents = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(POLICY_LIMIT).read_to_end(&mut contents).map_err(failed)?;
    Ok(contents)
}

/// Returns the plan as a session carries it out.
pub(crate) fn change_plan(node: &LoadedNode, plan: &Plan) -> ChangePlan {
    let created = plan.steps.iter().filter(|step| step.expect == Expect::Absent);
    let holds_secret = created
        .filter_map(|step| step.content.as_deref())
        .any(|content| redact::holds_secret(&String::from_utf8_lossy(content)));
    ChangePlan {
        digest: plan.digest(),
        containerd: node.version.to_string(),
        new_file_mode: if holds_secret { 0o600 } else { 0o644 },
        steps: plan.steps.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorshift_plan::RegistryScope;

    const CONFIG: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"ghcr.io\"]\n\
                          endpoint = [\"http://10.0.20.10:5010\"]\n";

    fn references(references: &[&str]) -> Fact<Vec<String>> {
        Fact::Value(references.iter().map(|reference| (*reference).to_owned()).collect())
    }

    fn planned_registries(node: &LoadedNode) -> Vec<String> {
        let plan = node.plan(&Policy::default()).unwrap();
        let scopes = plan.routes.into_iter().map(|route| route.registry);
        scopes
            .filter_map(|scope| match scope {
                RegistryScope::Registry(name) => Some(name),
                RegistryScope::Unnamed => None,
            })
            .collect()
    }

    #[test]
    fn registries_of_images_are_compared_in_every_plan() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc/containerd/config.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, CONFIG).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let source = NodeSource {
            root: folder.path().to_owned(),
            config_path: None,
            containerd_version: Some("1.7.24".to_owned()),
        };
        let mut node = LoadedNode::read(&root, &source).unwrap();
        let in_files = planned_registries(&node);
        assert_eq!(in_files, ["10.0.20.10:5010", "docker.io", "ghcr.io", "localhost:5000"]);

        let listed = ["nginx", "ghcr.io/a/b:1", "private.test:8443/c:2", "localhost:30500/d:1"];
        node.compare_images(&references(&listed));
        let plan = node.plan(&Policy::default()).unwrap();
        let mut added = planned_registries(&node);
        added.retain(|registry| !in_files.contains(registry));
        assert_eq!(added, ["localhost:30500", "private.test:8443"]);
        assert!(plan.routes.iter().all(|route| !route.differs()));

        // A failure to list them again does not forget them.
        node.compare_images(&Fact::Unavailable("away".to_owned()));
        assert_eq!(node.images_unknown(), None);
        assert_eq!(node.plan(&Policy::default()).unwrap().digest(), plan.digest());
    }

    #[test]
    fn image_registries_are_distinct_and_skip_names_that_no_pull_has() {
        let digest = format!("mirror.test:5000/x@sha256:{}", "a".repeat(64));
        let Fact::Value(listed) = references(&["busybox:1", "nginx", "[::1]:5000/x:1", &digest, "r.test/Upper", "a b"])
        else {
            unreachable!()
        };
        assert_eq!(
            image_registries(&listed),
            ["[::1]:5000", "docker.io", "mirror.test:5000"]
        );
        let many: Vec<String> = (0..2 * MAX_IMAGE_REGISTRIES)
            .map(|number| format!("r{number}.test/x:1"))
            .collect();
        assert_eq!(image_registries(&many).len(), MAX_IMAGE_REGISTRIES);
    }
}
