//! The copy of the program that everything on the node runs from: what undoes a change must not depend on a package that is
//! upgraded meanwhile, or on a container's image.

use crate::change::outcome::OpenError;
use crate::error::NodeError;
use crate::files::root::{Root, join};
use crate::files::stage::{Attributes, remove, same, stage};
use crate::journal::lock::{
    NotLocked, {self},
};
use crate::journal::state_dir::{make_folder, open_in};
use crate::paths::STATE_DIR;
use rustix::fd::OwnedFd;
use rustix::fs::{
    Mode, OFlags, StatVfsMountFlags, {self},
};
use std::fs::File;
use std::io::{
    Seek, {self},
};

const FOLDER: &str = "bin";
const NAME: &str = "mirrorshift";
/// Where the copy lies.
pub const PROGRAM: &str = "/var/lib/mirrorshift/bin/mirrorshift";

/// Puts what `program` holds at [`PROGRAM`], for its owner alone, unless it is there already.
///
/// # Guarantees
/// It is read a part at a time, as it may be many times as large as all else that its caller holds.
/// There is the old program or the new one at any moment, as a change may be guarded by it. While somebody changes the
/// node, theirs is left alone.
///
/// # Errors
/// [`OpenError::Locked`] while another process changes this node; a file system on which no program runs.
pub fn install(root: &Root, program: &mut File) -> Result<(), OpenError> {
    let (state, _lock) = lock::acquire(root).map_err(|not| match not {
        NotLocked::Held(pid) => OpenError::Locked { pid },
        NotLocked::Error(error) => error.into(),
    })?;
    let shown = join(STATE_DIR, FOLDER);
    let io = |action| NodeError::io(action, shown.as_str());
    make_folder(&state.fd, FOLDER, 0o700).map_err(io("make"))?;
    let folder = open_in(&state.fd, FOLDER).map_err(io("open"))?;
    let mount = fs::fstatvfs(&folder).map_err(io("look at"))?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(NodeError::Unsuitable {
            path: shown,
            what: "lies on a file system that is mounted `noexec`".to_owned(),
            hint: "mount it without `noexec`, or mount there what programs may run from",
        }
        .into());
    }
    if holds(&folder, program) {
        return Ok(());
    }
    let new = format!("{NAME}.new");
    remove(&folder, &new).map_err(io("clear"))?;
    stage(&folder, &new, PROGRAM, program, &Attributes::New { mode: 0o700 })?;
    fs::renameat(&folder, &new, &folder, NAME).map_err(io("put the program in"))?;
    fs::fsync(&folder).map_err(io("sync"))?;
    Ok(())
}

fn holds(folder: &OwnedFd, program: &mut File) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = fs::openat(folder, NAME, flags, Mode::empty()) else {
        return false;
    };
    let runs = fs::fstat(&fd).is_ok_and(|stat| stat.st_mode & 0o700 == 0o700);
    runs && holds_the_same(File::from(fd), program).unwrap_or(false)
}

fn holds_the_same(mut file: File, program: &mut File) -> io::Result<bool> {
    program.rewind()?;
    same(&mut file, program)
}
