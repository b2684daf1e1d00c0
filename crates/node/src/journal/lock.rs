//! One writer at a time.

use crate::error::NodeError;
use crate::files::root::{Root, join};
use crate::files::stage::remove;
use crate::journal::state_dir::{STATE_DIR, StateDir};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, {self},
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};

pub(crate) const NAME: &str = "lock";

/// The held lock. The kernel gives it up when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    fd: OwnedFd,
}

impl Drop for Lock {
    /// Gives the lock up by name: a child that another thread is just starting holds the same open file until it runs
    /// its program, and closing ours alone would leave the lock with it.
    fn drop(&mut self) {
        fs::flock(&self.fd, FlockOperation::Unlock).ok();
    }
}

/// Why the lock is not held.
pub(crate) enum NotLocked {
    /// Another process holds it; its identifier, when it wrote one.
    Held(Option<u32>),
    /// It cannot be taken at all.
    Trouble(NodeError),
}

impl From<NodeError> for NotLocked {
    fn from(trouble: NodeError) -> Self {
        Self::Trouble(trouble)
    }
}

/// Opens the state folder and takes the lock in it, without waiting.
pub(crate) fn take(root: &Root) -> Result<(StateDir, Lock), NotLocked> {
    let shown = join(STATE_DIR, NAME);
    let io = |action| NodeError::io(action, shown.as_str());
    // A writer that had nothing to do takes away the folder it made, lock and all. Whoever opened that lock just before
    // holds a file without a name, sees it, and begins again.
    for _ in 0..8 {
        let state = StateDir::make(root)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match fs::openat(&state.fd, NAME, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::NOENT) => continue,
            other => other.map_err(io("open"))?,
        };
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(NotLocked::Held(holder(fd))),
            other => other.map_err(io("lock"))?,
        }
        let held = fs::fstat(&fd).map_err(io("look at"))?;
        match fs::statat(&state.fd, NAME, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => {
                // Only for the message that another writer shows; the lock is the lock without it.
                sign(&fd).ok();
                return Ok((state, Lock { fd }));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(io("look at")(error).into()),
        }
    }
    Err(NotLocked::Held(None))
}

/// Takes the lock's file away again. Only the holder may.
pub(crate) fn forget(state: &StateDir) -> Result<(), Errno> {
    remove(&state.fd, NAME)
}

fn sign(fd: &OwnedFd) -> std::io::Result<()> {
    fs::ftruncate(fd, 0)?;
    File::from(rustix::io::dup(fd)?).write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn holder(fd: OwnedFd) -> Option<u32> {
    let mut text = String::new();
    File::from(fd).take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
