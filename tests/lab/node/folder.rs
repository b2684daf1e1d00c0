//! The folder of a node or a cluster in the cache, and what is done with one whose test has ended without a word.

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

/// A folder of its own, with control groups. It is this test's as long as its lock is held, which the system gives back
/// however the test ends.
#[derive(Debug)]
pub(in crate::lab) struct Folder {
    pub(in crate::lab) path: PathBuf,
    pub(super) name: String,
    pub(in crate::lab) cgroups: Vec<PathBuf>,
    lock: Option<File>,
}

impl Folder {
    /// A new folder with a name that no other here has.
    pub(in crate::lab) fn make(kind: &str) -> io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let nodes = nodes()?;
        // Between a folder and its lock nobody must take it for one that was left.
        let _door = locked(&nodes.join(".door"), FlockOperation::LockExclusive)?;
        let name = format!("{kind}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = nodes.join(&name);
        fs::create_dir(&path)?;
        let lock = locked(&path.join("lock"), FlockOperation::NonBlockingLockExclusive)?;
        let cgroups = cgroups::of(&name)?;
        let lines: Vec<String> = cgroups.iter().map(|group| format!("{}\n", group.display())).collect();
        // Written before any of them is made: who cleans up knows them from here alone.
        fs::write(path.join("cgroups"), lines.concat())?;
        Ok(Self {
            path,
            name,
            cgroups,
            lock: Some(lock),
        })
    }

    /// Makes the folder's control groups.
    pub(in crate::lab) fn make_groups(&self) -> io::Result<()> {
        cgroups::make(&self.cgroups)
    }

    /// A command that becomes, in the folder's groups, what is added to its arguments.
    pub(in crate::lab) fn joined(&self) -> Command {
        cgroups::joined(&self.cgroups)
    }

    /// Gives the lock back and leaves everything, as the death of a test would.
    pub(in crate::lab) fn leave(mut self) {
        self.lock = None;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What cannot be removed now is left to the next run, which says so.
            drop(end(&self.path));
        }
    }
}

/// Ends what tests that are no more have left. What belongs to living ones is not touched.
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

/// Ends what this folder is of unless its test lives.
pub(in crate::lab) fn end_if_left(folder: &Path) -> io::Result<bool> {
    match locked(&folder.join("lock"), FlockOperation::NonBlockingLockExclusive) {
        Ok(_lock) => end(folder).map(|()| true),
        // Another has it, or somebody was quicker.
        Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::NotFound].contains(&error.kind()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends all processes of the groups, then removes groups and folder.
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
