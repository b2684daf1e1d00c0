//! The folder of a node or a cluster in the cache, and the removal of those that killed tests left behind.

use std::fs::{
    File, {self},
};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::cgroups;
use crate::lab::cache;

/// A folder with control groups. It belongs to this test while the test holds the lock, which the kernel releases
/// however the test ends.
#[derive(Debug)]
pub(in crate::lab) struct LabFolder {
    pub(in crate::lab) path: PathBuf,
    pub(super) name: String,
    pub(in crate::lab) cgroups: Vec<PathBuf>,
    lock: Option<File>,
}

impl LabFolder {
    /// Creates a folder with a unique name.
    pub(in crate::lab) fn make(kind: &str) -> io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let nodes = nodes()?;
        // Without this lock another test could remove the folder before its own lock is held.
        let _door = locked(&nodes.join(".door"), FlockOperation::LockExclusive)?;
        let name = format!("{kind}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = nodes.join(&name);
        fs::create_dir(&path)?;
        let lock = locked(&path.join("lock"), FlockOperation::NonBlockingLockExclusive)?;
        let cgroups = cgroups::of(&name)?;
        let lines: Vec<String> = cgroups.iter().map(|group| format!("{}\n", group.display())).collect();
        // Written before a group is created, because the clean-up finds the groups only by this file.
        fs::write(path.join("cgroups"), lines.concat())?;
        Ok(Self {
            path,
            name,
            cgroups,
            lock: Some(lock),
        })
    }

    /// Creates the folder's control groups.
    pub(in crate::lab) fn make_groups(&self) -> io::Result<()> {
        cgroups::make(&self.cgroups)
    }

    /// A command that joins the folder's groups, then executes its arguments.
    pub(in crate::lab) fn joined(&self) -> Command {
        cgroups::joined(&self.cgroups)
    }

    /// Releases the lock and leaves everything, as a killed test does.
    pub(in crate::lab) fn leave(mut self) {
        self.lock = None;
    }
}

impl Drop for LabFolder {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // A folder that cannot be removed now is left for the next run, which reports it.
            drop(end(&self.path));
        }
    }
}

/// Ends and removes what killed tests left behind. What belongs to running tests is not touched.
pub(in crate::lab) fn clean() -> io::Result<usize> {
    let nodes = nodes()?;
    let _door = locked(&nodes.join(".door"), FlockOperation::LockExclusive)?;
    let mut cleaned = 0;
    for entry in fs::read_dir(&nodes)? {
        let folder = entry?.path();
        if folder.is_dir() && end_if_left(&folder)? {
            cleaned += 1;
        }
    }
    Ok(cleaned)
}

/// Ends the processes of this folder and removes it, unless its test runs.
pub(in crate::lab) fn end_if_left(folder: &Path) -> io::Result<bool> {
    match locked(&folder.join("lock"), FlockOperation::NonBlockingLockExclusive) {
        Ok(_lock) => end(folder).map(|()| true),
        // A running test holds the lock, or another process has removed the folder.
        Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::NotFound].contains(&error.kind()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Kills all processes of the groups, then removes the groups and the folder.
fn end(folder: &Path) -> io::Result<()> {
    let list = fs::read_to_string(folder.join("cgroups")).unwrap_or_default();
    let groups: Vec<PathBuf> = list.lines().map(PathBuf::from).collect();
    cgroups::kill(&groups)?;
    cgroups::remove(&groups)?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn nodes() -> io::Result<PathBuf> {
    let nodes = cache().join("nodes");
    fs::create_dir_all(&nodes)?;
    nodes.canonicalize()
}

fn locked(path: &Path, how: FlockOperation) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    flock(&file, how)?;
    Ok(file)
}
