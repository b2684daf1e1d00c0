//! Migrates a node's files with the program.

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

/// Reads the files that the model requests, until it requests no more.
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
    unreachable!("the model requests more and more files")
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

/// The result of migrating a node.
pub(crate) struct Migrated {
    /// `migrated`, `empty` or `refused: REASON`.
    pub(crate) outcome: String,
    /// The files of the node without those in the program's own folder.
    pub(crate) files: Files,
    /// The output of the program.
    pub(crate) printed: String,
}

/// The relevant part of the program's JSON documents.
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

/// Migrates a copy of the files twice. The second run must change nothing, and neither must a first run that refuses
/// or has nothing to do.
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
        let outcome = match (ran.code, document.outcome.as_deref(), document.error) {
            (0, Some("settled"), None) => "migrated".to_owned(),
            (0, Some("nothing"), None) => "empty".to_owned(),
            (3, None, Some(body)) => format!("refused: {}", body.reason),
            (code, ..) => return Err(format!("exit code {code}: {printed}")),
        };
        Ok((outcome, printed))
    };
    let before = seen()?;
    let (outcome, printed) = run()?;
    let after = seen()?;
    if (outcome == "migrated") == (before == after) {
        return Err(format!("`{outcome}`, and the files: {before:#?}\n{after:#?}"));
    }
    let (again, printed_again) = run()?;
    let expected = if outcome == "migrated" { "empty" } else { &outcome };
    if again != expected || seen()? != after {
        return Err(format!("the result of a second run is `{again}`: {printed_again}"));
    }
    let mut files = files_below(root.path(), "/").map_err(|error| error.to_string())?;
    files.retain(|path, _| !path.starts_with(OWN));
    Ok(Migrated {
        outcome,
        files,
        printed,
    })
}

/// The program's own folder.
const OWN: &str = "/var/lib/mirrorshift/";

fn place(root: &Path, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    // A node always has this folder.
    fs::create_dir_all(root.join("etc/containerd"))?;
    for (path, bytes) in files {
        let target = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(folder_of(&target))?;
        fs::write(target, bytes)?;
    }
    Ok(())
}
