//! One folder of `tests/cases`: its case.toml, and the node that it describes.

use mirrorshift_containerd::{Rule, Version};
use mirrorshift_tests::{Ran, Tool, folder_of};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::{fs, io};
use tempfile::TempDir;

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) file: CaseFile,
}

/// The contents of `case.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseFile {
    /// One sentence about the case.
    pub(crate) about: String,
    /// The containerd release of `plan.txt`.
    pub(crate) version: String,
    /// Further releases for which `after/` is the same.
    #[serde(default)]
    pub(crate) also: Vec<String>,
    /// Arguments of `plan` and `migrate`.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    /// The exit code of `plan --exit-code`: 0 nothing to do, 3 refused, 7 changes.
    pub(crate) exit: i32,
    /// Empty folders of the node, which git does not keep.
    #[serde(default)]
    pub(crate) folders: Vec<String>,
    /// The rules of containerd that the case depends on, each with a version for which the rule differs and the plan
    /// with it.
    #[serde(default)]
    pub(crate) rules: BTreeMap<String, String>,
}

/// Everything under a node's `/etc`, by path: the mode, and the contents of a file or the target of a link.
pub(crate) type Etc = BTreeMap<String, (u32, Option<Vec<u8>>)>;

impl Case {
    /// Returns every case, sorted by name.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let mut cases = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let folder = entry?.path();
            if folder.is_dir() {
                cases.push(Self::read(folder)?);
            }
        }
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(cases)
    }

    fn read(folder: PathBuf) -> io::Result<Self> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wrong = |why: String| io::Error::other(format!("tests/cases/{name}/case.toml: {why}"));
        let text = fs::read_to_string(folder.join("case.toml")).map_err(|error| wrong(error.to_string()))?;
        let file: CaseFile = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if file.about.is_empty() || file.about.contains('\n') || !file.about.ends_with('.') {
            return Err(wrong("`about` is not one sentence".to_owned()));
        }
        if ![0, 3, 7].contains(&file.exit) {
            return Err(wrong(format!("`exit` is {}, and not 0, 3 or 7", file.exit)));
        }
        let case = Self { name, folder, file };
        case.check_rules()
            .map_err(|why| io::Error::other(format!("{}: {why}", case.name)))?;
        Ok(case)
    }

    /// Checks that each rule exists, and that it differs for the version that is given with it.
    fn check_rules(&self) -> Result<(), String> {
        for (name, other) in &self.file.rules {
            let named = |rule: &Rule| format!("{rule:?}") == *name;
            let rule = Rule::ALL.into_iter().find(named);
            let rule = rule.ok_or_else(|| format!("there is no rule `{name}`"))?;
            let version = |text: &str| text.parse::<Version>().map_err(|error| error.to_string());
            if version(&self.file.version)?.has(rule) == version(other)?.has(rule) {
                return Err(format!("`{name}` is the same in {} and {other}", self.file.version));
            }
        }
        Ok(())
    }

    /// Returns the policy's text, if the case has one.
    pub(crate) fn policy(&self) -> io::Result<Option<String>> {
        let path = self.folder.join("policy.yaml");
        path.is_file().then(|| fs::read_to_string(path)).transpose()
    }

    /// Returns a new copy of the node.
    pub(crate) fn node(&self) -> io::Result<Node> {
        let root = tempfile::tempdir()?;
        let before = self.folder.join("before");
        if before.is_dir() {
            copy(&before, root.path())?;
        }
        for folder in &self.file.folders {
            fs::create_dir_all(root.path().join(folder))?;
        }
        Ok(Node { root })
    }
}

/// A copy of a case's node, which is removed when this is dropped.
pub(crate) struct Node {
    root: TempDir,
}

impl Node {
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Runs a command on the copy; with `wishes`, with the arguments and the policy of the case. The paths of the
    /// copy and the machine are replaced in the output.
    pub(crate) fn run(&self, case: &Case, version: &str, words: &[&str], with_policy: bool) -> io::Result<Ran> {
        let policy = case.folder.join("policy.yaml").display().to_string();
        let mut arguments = words.to_vec();
        if with_policy {
            arguments.extend(case.file.arguments.iter().map(String::as_str));
            if Path::new(&policy).is_file() {
                arguments.extend(["--policy", &policy]);
            }
        }
        let ran = Tool::new(self.root(), version).run(&arguments)?;
        let root = self.root().display().to_string();
        let plain = |text: &str| text.replace(&policy, "policy.yaml").replace(&root, "ROOT");
        Ok(Ran {
            code: ran.code,
            stdout: plain(&ran.stdout),
            stderr: plain(&ran.stderr),
        })
    }

    /// Returns everything under its `/etc`.
    pub(crate) fn etc(&self) -> io::Result<Etc> {
        let mut found = Etc::new();
        list(self.root(), &self.root().join("etc"), &mut found)?;
        Ok(found)
    }
}

/// Returns the files and links.
pub(crate) fn files(etc: &Etc) -> BTreeMap<&str, &[u8]> {
    etc.iter()
        .filter_map(|(path, (_, bytes))| Some((path.as_str(), bytes.as_deref()?)))
        .collect()
}

/// Returns the files of `after/`, by their path in the node; empty without that folder.
pub(crate) fn wanted(case: &Case) -> io::Result<Etc> {
    let folder = case.folder.join("after");
    let mut found = Etc::new();
    list(&folder, &folder.join("etc"), &mut found)?;
    Ok(found)
}

/// Replaces `after/` by `files`.
pub(crate) fn rewrite(case: &Case, files: &BTreeMap<&str, &[u8]>) -> io::Result<()> {
    let folder = case.folder.join("after");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for (path, bytes) in files {
        let path = folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(folder_of(&path))?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

fn list(root: &Path, at: &Path, found: &mut Etc) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let content = if metadata.is_file() {
        Some(fs::read(at)?)
    } else if metadata.is_symlink() {
        Some(fs::read_link(at)?.into_os_string().into_encoded_bytes())
    } else {
        None
    };
    let inside = at.strip_prefix(root).unwrap_or(at);
    found.insert(
        format!("/{}", inside.display()),
        (metadata.permissions().mode(), content),
    );
    if metadata.is_dir() {
        for entry in fs::read_dir(at)? {
            list(root, &entry?.path(), found)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
