//! The binary under test, as an operator runs it, and the files that it works on.

use crate::lab::Files;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `mirrorshift` for one offline root.
pub struct Tool {
    program: PathBuf,
    root: PathBuf,
    version: String,
}

/// What one run came to.
pub struct Ran {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Tool {
    /// For the files below `root` and a containerd of `version`. `cargo test --workspace` builds the binary beside the
    /// suite's own programs.
    pub fn new(root: &Path, version: &str) -> Self {
        let beside = std::env::current_exe().unwrap_or_default();
        let folder = beside.ancestors().find(|folder| folder.join("mirrorshift").is_file());
        let program = folder.map_or_else(|| PathBuf::from("mirrorshift"), |folder| folder.join("mirrorshift"));
        Self {
            program,
            root: root.to_owned(),
            version: version.to_owned(),
        }
    }

    /// Runs a command with `--root` and `--containerd-version`.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn run(&self, arguments: &[&str]) -> io::Result<Ran> {
        let output = Command::new(&self.program)
            .args(arguments)
            .arg("--root")
            .arg(&self.root)
            .args(["--containerd-version", &self.version])
            .output()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot start {}: {error}", self.program.display()),
                )
            })?;
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// The folder that a file stands in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Everything below a folder: kind, mode, size, modification time, inode and content or target.
///
/// # Errors
///
/// When something cannot be read.
pub fn snapshot(root: &Path) -> io::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    walk(root, &mut |path, metadata| {
        let content = if metadata.is_file() {
            format!("{:?}", fs::read(path)?)
        } else if metadata.is_symlink() {
            fs::read_link(path)?.to_string_lossy().into_owned()
        } else {
            String::new()
        };
        let time = (metadata.mtime(), metadata.mtime_nsec());
        found.insert(
            path.to_owned(),
            format!(
                "{:o} {} {time:?} {} {content}",
                metadata.mode(),
                metadata.uid(),
                metadata.ino()
            ),
        );
        Ok(())
    })?;
    Ok(found)
}

/// The regular files below `folder` of `root`, by the path that the node sees.
///
/// # Errors
///
/// When something cannot be read.
pub fn files_below(root: &Path, folder: &str) -> io::Result<Files> {
    let mut files = Files::new();
    walk(&root.join(folder.trim_start_matches('/')), &mut |path, metadata| {
        if metadata.is_file() {
            let inside = path.strip_prefix(root).unwrap_or(path);
            files.insert(format!("/{}", inside.display()), fs::read(path)?);
        }
        Ok(())
    })?;
    Ok(files)
}

fn walk(at: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> io::Result<()> {
    let metadata = fs::symlink_metadata(at)?;
    visit(at, &metadata)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(at)? {
            walk(&entry?.path(), visit)?;
        }
    }
    Ok(())
}
