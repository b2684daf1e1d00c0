//! The text files of a project and its packages.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The text files of a folder by path. A path is relative to that folder, with `/`.
#[derive(Default)]
pub(crate) struct SourceTree {
    files: BTreeMap<String, String>,
}

/// A package with sources in `src`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its folder, for example `crates/plan`.
    pub(crate) folder: String,
}

/// The extensions of files whose text is of interest; files without an extension are read too.
const EXTENSIONS: [&str; 11] = [
    "json", "md", "rs", "service", "sh", "snap", "toml", "trycmd", "txt", "yaml", "yml",
];

impl SourceTree {
    /// Reads every text file under `folder`, without history, builds, fuzz seeds and files of test cases.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut folders = vec![(folder.to_owned(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let path = format!("{prefix}{name}");
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    if !is_skipped_folder(&path) && !entry.path().join("CACHEDIR.TAG").exists() {
                        folders.push((entry.path(), format!("{path}/")));
                    }
                } else if kind.is_file() && extension(&path).is_none_or(|extension| EXTENSIONS.contains(&extension)) {
                    // What is not UTF-8 is not text.
                    match fs::read_to_string(entry.path()) {
                        Ok(text) => {
                            tree.files.insert(path, text);
                        }
                        Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(tree)
    }

    /// Makes a tree of paths and texts.
    #[cfg(test)]
    pub(crate) fn from_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let files = files.into_iter();
        Self {
            files: files.map(|(path, text)| (path.to_owned(), text.to_owned())).collect(),
        }
    }

    /// Returns each path with its text, sorted by path.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Returns the text of a file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Returns the packages that have a library or a program in `src`, sorted by folder.
    pub(crate) fn packages(&self) -> Vec<Package> {
        let manifests = self.iter().filter_map(|(path, text)| {
            let folder = path.strip_suffix("Cargo.toml")?;
            text.lines()
                .any(|line| line == "[package]")
                .then(|| folder.trim_end_matches('/'))
        });
        let packages = manifests.map(|folder| Package {
            folder: folder.to_owned(),
        });
        packages
            .filter(|package| package.roots().iter().any(|root| self.contains(root)))
            .collect()
    }
}

impl Package {
    /// Returns the paths that a crate root of the package may have.
    pub(crate) fn roots(&self) -> [String; 2] {
        let prefix = if self.folder.is_empty() {
            String::new()
        } else {
            format!("{}/", self.folder)
        };
        [format!("{prefix}src/lib.rs"), format!("{prefix}src/main.rs")]
    }

    /// Returns true if the package is a crate of the program, not a tool or a test of it.
    pub(crate) fn is_product(&self) -> bool {
        self.folder == "agent" || self.folder.starts_with("crates/")
    }

    /// Returns the last part of the folder.
    pub(crate) fn short_name(&self) -> &str {
        self.folder.rsplit('/').next().unwrap_or_default()
    }
}

/// Returns what follows the last dot of the file's name.
pub(crate) fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    name.rsplit_once('.').map(|(_, extension)| extension)
}

fn is_skipped_folder(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(name, ".git" | "target" | "artifacts" | "corpus" | "data" | "seeds" | "testdata")
        // The files of a node in a test case are input and output, not prose of the project.
        || matches!(name, "before" | "after") && path.starts_with("tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_has_text_files_without_builds() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        for (path, text) in [
            ("a/b.rs", "fn b() {}"),
            ("target/c.rs", ""),
            (".git/config", ""),
            ("built/CACHEDIR.TAG", ""),
            ("built/d.rs", ""),
            ("run", "#!/bin/bash\n"),
            ("picture.png", ""),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, text)?;
        }
        let tree = SourceTree::read(folder.path())?;
        assert_eq!(tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["a/b.rs", "run"]);
        Ok(())
    }

    #[test]
    fn packages_are_folders_with_a_manifest_and_a_crate_root() {
        let tree = SourceTree::from_files([
            ("Cargo.toml", "[workspace]\n"),
            ("agent/Cargo.toml", "[package]\n"),
            ("agent/src/main.rs", ""),
            ("tests/Cargo.toml", "[package]\n"),
            ("tests/lib.rs", ""),
        ]);
        let folders: Vec<_> = tree.packages().into_iter().map(|package| package.folder).collect();
        assert_eq!(folders, ["agent"]);
    }
}
