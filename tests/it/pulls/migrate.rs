//! From a node's files to the files of the migrated node, by the program itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use mirrorshift_containerd::{Config, DEFAULT_CONFIG, Entry, LoadError, Tree, Version, read};
use mirrorshift_tests::lab::Files;
use mirrorshift_tests::{Tool, files_below, folder_of, snapshot};
use serde::Deserialize;

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

/// What became of a node.
pub(crate) struct Migrated {
    /// `migrated`, `empty` or `refused: REASON`.
    pub(crate) came_to: String,
    /// Its files, those of the tool's own folder left out.
    pub(crate) files: Files,
    /// What the program printed.
    pub(crate) printed: String,
}

/// The part of the program's documents that counts here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    outcome: Option<String>,
    error: Option<Body>,
}

#[derive(Deserialize)]
struct Body {
    reason: String,
}

/// Migrates a copy of the files, and once more: the second run must leave everything as it is, and so must a first one
/// that refuses or has nothing to do.
pub(crate) fn migrated(printed_version: &str, files: &Files, wishes: &[String]) -> Result<Migrated, String> {
    let root = tempfile::tempdir().map_err(|error| error.to_string())?;
    place(root.path(), files).map_err(|error| error.to_string())?;
    let tool = Tool::new(root.path(), printed_version);
    let mut arguments = vec!["migrate", "--no-restart", "--output=json"];
    arguments.extend(wishes.iter().map(String::as_str));
    let seen = || snapshot(root.path()).map_err(|error| error.to_string());
    let run = || -> Result<(String, String), String> {
        let ran = tool.run(&arguments).map_err(|error| error.to_string())?;
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        let document: Document = serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {printed}"))?;
        let came_to = match (ran.code, document.outcome.as_deref(), document.error) {
            (0, Some("settled"), None) => "migrated".to_owned(),
            (0, Some("nothing"), None) => "empty".to_owned(),
            (3, None, Some(body)) => format!("refused: {}", body.reason),
            (code, ..) => return Err(format!("exit code {code}: {printed}")),
        };
        Ok((came_to, printed))
    };
    let before = seen()?;
    let (came_to, printed) = run()?;
    let after = seen()?;
    if (came_to == "migrated") == (before == after) {
        return Err(format!("`{came_to}`, and the files: {before:#?}\n{after:#?}"));
    }
    let (again, printed_again) = run()?;
    let expected = if came_to == "migrated" { "empty" } else { &came_to };
    if again != expected || seen()? != after {
        return Err(format!("a second run comes to `{again}`: {printed_again}"));
    }
    let mut files = files_below(root.path(), "/").map_err(|error| error.to_string())?;
    files.retain(|path, _| !path.starts_with(OWN));
    Ok(Migrated {
        came_to,
        files,
        printed,
    })
}

/// The tool's own folder.
const OWN: &str = "/var/lib/mirrorshift/";

fn place(root: &Path, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    // An image has it, whatever else it lacks.
    fs::create_dir_all(root.join("etc/containerd"))?;
    for (path, bytes) in files {
        let target = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(folder_of(&target))?;
        fs::write(target, bytes)?;
    }
    Ok(())
}
