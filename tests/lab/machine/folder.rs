//! A machine's folder in the cache, and what is done with one whose test has ended without a word.

use std::fs::{
    File, {self},
};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::lab::cache;

/// A folder that is this test's as long as its lock is held, which the system gives back however the test ends. Its
/// emulator ends with the test, so nothing of a machine is left but files.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    _lock: File,
}

impl Folder {
    /// A new folder with a name that no other machine here has.
    pub(super) fn make() -> io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let machines = machines()?;
        // Between a folder and its lock nobody must take it for one that was left.
        let _door = locked(machines.join(".door"), FlockOperation::LockExclusive)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = machines.join(format!("machine-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let lock = locked(path.join("lock"), FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is left to the next run, which says so.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Removes what tests that are no more have left.
pub(super) fn clean() -> io::Result<()> {
    let machines = machines()?;
    let _door = locked(machines.join(".door"), FlockOperation::LockExclusive)?;
    for entry in fs::read_dir(&machines)? {
        let folder = entry?.path();
        if !folder.is_dir() {
            continue;
        }
        match locked(folder.join("lock"), FlockOperation::NonBlockingLockExclusive) {
            Ok(_lock) => fs::remove_dir_all(&folder)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn machines() -> io::Result<PathBuf> {
    let machines = cache().join("machines");
    fs::create_dir_all(&machines)?;
    machines.canonicalize()
}

fn locked(path: PathBuf, how: FlockOperation) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    flock(&file, how)?;
    Ok(file)
}
