//! Reads a node's files: everything that containerd's rules ask for, and the tool's own journal.

use crate::cli::{CommonArgs, PolicyArgs};
use crate::containerd_version;
use crate::error::{CommandError, Excerpt, Location};
use crate::exit::Exit;
use mirrorshift_containerd::redact;
use mirrorshift_containerd::{Config, Entry, LoadError, Tree, Version, read};
use mirrorshift_node::{Root, Status, status};
use mirrorshift_plan::policy::{MirrorFlag, Policy, Wildcard};
use mirrorshift_plan::{Digest, NodeFiles, Plan, plan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Every round reads what the one before asked for: the root file, its imports, folders, hosts.toml, certificates.
const ROUNDS: usize = 64;
/// No node comes near these; a hostile one may try.
const MOST_PATHS: usize = 50_000;
const MOST_BYTES: usize = 64 << 20;
/// More of a line than this is not shown: characters.
const LONGEST: usize = 160;
/// A policy is read up to here; the reader of policies then says that it is too long.
const POLICY_LIMIT: u64 = 2 << 20;

/// A node as it was read.
#[derive(Debug)]
pub(crate) struct LoadedNode {
    /// Its containerd.
    pub(crate) version: Version,
    /// Where its containerd's configuration starts.
    pub(crate) config: String,
    /// Everything that was read.
    pub(crate) tree: Tree,
    /// What it means, or why containerd does not start with it.
    pub(crate) outcome: Result<Config, Box<LoadError>>,
    /// What the journal says.
    pub(crate) status: Status,
    owned: BTreeSet<String>,
}

impl LoadedNode {
    /// Reads the node below `root`.
    pub(crate) fn read(root: &Root, common: &CommonArgs) -> Result<Self, CommandError> {
        let version = containerd_version::of(common, root.is_live())?;
        if !common.config.starts_with('/') {
            return Err(
                CommandError::usage("config", "--config is not an absolute path").hint("give it as the node sees it")
            );
        }
        let status = status(root)?;
        let (tree, outcome) = files(root, &version, &common.config, Tree::new())?;
        // A file of ours that somebody edited since is theirs.
        let unchanged =
            |path: &String, digest: Digest| tree.file(path).is_some_and(|bytes| Digest::of(bytes) == digest);
        let owned = status
            .owned
            .iter()
            .filter(|(path, owned)| unchanged(path, owned.digest))
            .map(|(path, _)| path.clone())
            .collect();
        Ok(Self {
            version,
            config: common.config.clone(),
            tree,
            outcome,
            status,
            owned,
        })
    }

    /// The same files as another containerd would read them.
    pub(crate) fn read_as(&self, root: &Root, version: &Version) -> Result<Self, CommandError> {
        let (tree, outcome) = files(root, version, &self.config, self.tree.clone())?;
        Ok(Self {
            version: version.clone(),
            config: self.config.clone(),
            tree,
            outcome,
            status: self.status.clone(),
            owned: self.owned.clone(),
        })
    }

    /// The files, as the planner takes them.
    pub(crate) fn files(&self) -> NodeFiles<'_> {
        NodeFiles {
            version: &self.version,
            config: &self.config,
            tree: &self.tree,
            owned: &self.owned,
            images: &[],
        }
    }

    /// What is to be done to them.
    pub(crate) fn plan(&self, policy: &Policy) -> Result<Plan, CommandError> {
        plan(&self.files(), policy).map_err(|refusal| {
            let mut failure = CommandError::from(refusal);
            self.show_line(&mut failure);
            failure
        })
    }

    /// Adds the line that a refusal names, as it was read, where the refusal does not bring it.
    fn show_line(&self, failure: &mut CommandError) {
        let Some(at @ Location { excerpt: None, .. }) = failure.place.as_deref_mut() else {
            return;
        };
        let text = self.tree.file(&at.file).map(String::from_utf8_lossy);
        let Some((text, line)) = text.zip(at.line) else { return };
        let masked = redact::file(&text);
        let Some(line) = masked.lines().nth(line.saturating_sub(1)) else {
            return;
        };
        let shown: String = line.trim_end().chars().take(LONGEST).collect();
        let caret = shown.chars().take_while(|c| c.is_whitespace()).count();
        at.excerpt = Some(Excerpt {
            caret,
            len: shown.chars().count() - caret,
            text: shown,
        });
    }

    /// The configuration, for commands that mean nothing without one.
    pub(crate) fn config(&self) -> Result<&Config, CommandError> {
        self.outcome.as_ref().map_err(|error| {
            let refusal = self.plan(&Policy::default()).err();
            refusal.unwrap_or_else(|| CommandError::new(Exit::Refused, "unreadable", error.to_string()))
        })
    }
}

type Files = (Tree, Result<Config, Box<LoadError>>);

fn files(root: &Root, version: &Version, config: &str, mut tree: Tree) -> Result<Files, CommandError> {
    let (mut paths, mut bytes) = (0, 0);
    for _ in 0..ROUNDS {
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
            if paths > MOST_PATHS || bytes > MOST_BYTES {
                return Err(endless(format!(
                    "the configuration names more than {MOST_PATHS} paths or {MOST_BYTES} bytes"
                )));
            }
            tree.insert(path, entry);
        }
    }
    Err(endless(format!(
        "the configuration names new files after {ROUNDS} rounds of reading"
    )))
}

fn endless(message: String) -> CommandError {
    CommandError::new(Exit::Refused, "too-much", message)
        .hint("look at its `imports` and at the folders below `config_path`")
}

/// What a command line wants, with the policy file's own text: it means the same wherever it is read. No `Debug`: it may
/// hold passwords.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicySource {
    /// The file's name and bytes.
    file: Option<(String, Vec<u8>)>,
    mirrors: Vec<String>,
    wildcard: Option<String>,
}

impl PolicySource {
    /// Reads the policy file, when one is named.
    pub(crate) fn of(wishes: &PolicyArgs) -> Result<Self, CommandError> {
        let named = |path: &PathBuf| {
            let name = path.display().to_string();
            policy_bytes(path, &name).map(|bytes| (name, bytes))
        };
        Ok(Self {
            file: wishes.policy.as_ref().map(named).transpose()?,
            mirrors: wishes.mirrors.clone(),
            wildcard: wishes.wildcard.clone(),
        })
    }

    /// Nothing beyond unchanged behaviour.
    pub(crate) fn nothing() -> Self {
        Self {
            file: None,
            mirrors: Vec::new(),
            wildcard: None,
        }
    }

    /// Names what is wanted.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// The policy: the file's, with the flags on top.
    pub(crate) fn policy(&self) -> Result<Policy, CommandError> {
        let file = match &self.file {
            Some((name, bytes)) => Some(Policy::parse_bytes(bytes, name)?),
            None => None,
        };
        policy_of(file, self)
    }
}

fn policy_of(file: Option<Policy>, wanted: &PolicySource) -> Result<Policy, CommandError> {
    let mirrors = wanted
        .mirrors
        .iter()
        .map(|text| MirrorFlag::parse(text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CommandError::flag("--mirror", &error))?;
    let wildcard = wanted
        .wildcard
        .as_deref()
        .map(Wildcard::parse)
        .transpose()
        .map_err(|error| CommandError::flag("--wildcard", &error))?;
    Policy::with_flags(file, &mirrors, wildcard).map_err(|error| CommandError::flag("--mirror", &error))
}

fn policy_bytes(path: &Path, name: &str) -> Result<Vec<u8>, CommandError> {
    let failed = |error: std::io::Error| {
        let error = error.to_string();
        let why = error.split(" (os error").next().unwrap_or_default();
        CommandError::usage("policy-file", format!("cannot read the policy `{name}`: {why}"))
    };
    // Opening a FIFO would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(CommandError::usage(
            "policy-file",
            format!("the policy `{name}` is no regular file"),
        ));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(POLICY_LIMIT).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
