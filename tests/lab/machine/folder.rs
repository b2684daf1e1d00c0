//! A machine's folder in the cache, and the removal of folders that killed tests left behind.

use std::fs::{
    File, {self},
};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::lab::cache;

/// A folder that belongs to this test while it holds the lock, which the kernel releases however the test ends. The
/// emulator ends with the test, so only files can be left behind.
#[derive(Debug)]
pub(super) struct MachineFolder {
    pub(super) path: PathBuf,
    _lock: File,
}

impl MachineFolder {
    /// Creates a folder with a unique name.
    pub(super) fn make() -> io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let machines = machines()?;
        // Without this lock another test could remove the folder before its own lock is held.
        let _door = locked(machines.join(".door"), FlockOperation::LockExclusive)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = machines.join(format!("machine-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let lock = locked(path.join("lock"), FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for MachineFolder {
    fn drop(&mut self) {
        // A folder that cannot be removed now is left for the next run, which reports it.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Removes the folders of tests that no longer run.
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
