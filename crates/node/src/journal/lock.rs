//! The lock that admits one writer at a time.

use crate::error::NodeError;
use crate::files::root::{Root, join};
use crate::files::stage::remove;
use crate::journal::state_dir::StateDir;
use crate::paths::STATE_DIR;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, {self},
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};

pub(crate) const NAME: &str = "lock";

/// The lock while it is held. The kernel releases it when the process ends, in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    fd: OwnedFd,
}

impl Drop for Lock {
    /// Releases the lock explicitly. A child that another thread is starting has the same open file until it executes its
    /// program, so closing only this descriptor would leave the lock with the child.
    fn drop(&mut self) {
        fs::flock(&self.fd, FlockOperation::Unlock).ok();
    }
}

/// The reason why the lock could not be acquired.
pub(crate) enum NotLocked {
    /// Another process holds the lock. The value is its process id, if it wrote one.
    Held(Option<u32>),
    /// The lock file cannot be used.
    Error(NodeError),
}

impl From<NodeError> for NotLocked {
    fn from(error: NodeError) -> Self {
        Self::Error(error)
    }
}

/// Opens the state folder and acquires the lock in it, without waiting.
pub(crate) fn acquire(root: &Root) -> Result<(StateDir, Lock), NotLocked> {
    let shown = join(STATE_DIR, NAME);
    let io = |action| NodeError::io(action, shown.as_str());
    // A writer that had nothing to do removes the folder that it created, with the lock. A process that opened that lock
    // just before has a file without a name. It detects this below, and starts again.
    for _ in 0..8 {
        let state = StateDir::make(root)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match fs::openat(&state.fd, NAME, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::NOENT) => continue,
            other => other.map_err(io("open"))?,
        };
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(NotLocked::Held(read_pid(fd))),
            other => other.map_err(io("lock"))?,
        }
        let held = fs::fstat(&fd).map_err(io("inspect"))?;
        match fs::statat(&state.fd, NAME, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => {
                // The process id only serves the message of another writer, so a failure does not matter.
                write_pid(&fd).ok();
                return Ok((state, Lock { fd }));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(io("inspect")(error).into()),
        }
    }
    Err(NotLocked::Held(None))
}

/// Removes the lock file. Only the holder may call this.
pub(crate) fn remove_file(state: &StateDir) -> Result<(), Errno> {
    remove(&state.fd, NAME)
}

fn write_pid(fd: &OwnedFd) -> std::io::Result<()> {
    fs::ftruncate(fd, 0)?;
    File::from(rustix::io::dup(fd)?).write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn read_pid(fd: OwnedFd) -> Option<u32> {
    let mut text = String::new();
    File::from(fd).take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
