//! The copy of the program that all units on the node run. The undo of a change must not depend on a package that is upgraded
//! meanwhile, or on a container's image.

use crate::change::outcome::OpenError;
use crate::error::NodeError;
use crate::files::root::{Root, join};
use crate::files::stage::{Attributes, have_same_contents, remove, stage};
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
/// The path of the copy.
pub const PROGRAM: &str = "/var/lib/mirrorshift/bin/mirrorshift";

/// Copies `program` to [`PROGRAM`], accessible only to its owner, unless that file is equal already.
///
/// # Guarantees
/// The program is read a part at a time, because it may be much larger than everything else in the caller's memory. The old or
/// the new program exists at any moment, because it may guard a change. While another process changes the node, its program is
/// not replaced.
///
/// # Errors
/// [`OpenError::Locked`] while another process changes this node, or an error for a file system that is mounted `noexec`.
pub fn install(root: &Root, program: &mut File) -> Result<(), OpenError> {
    let (state, _lock) = lock::acquire(root).map_err(|reason| match reason {
        NotLocked::Held(pid) => OpenError::Locked { pid },
        NotLocked::Error(error) => error.into(),
    })?;
    let shown = join(STATE_DIR, FOLDER);
    let io = |action| NodeError::io(action, shown.as_str());
    make_folder(&state.fd, FOLDER, 0o700).map_err(io("create"))?;
    let folder = open_in(&state.fd, FOLDER).map_err(io("open"))?;
    let mount = fs::fstatvfs(&folder).map_err(io("inspect"))?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(NodeError::Unsuitable {
            path: shown,
            what: "is on a file system that is mounted `noexec`".to_owned(),
            hint: "mount it without `noexec`, or mount another file system at this path",
        }
        .into());
    }
    if holds(&folder, program) {
        return Ok(());
    }
    let new = format!("{NAME}.new");
    remove(&folder, &new).map_err(io("remove an earlier copy in"))?;
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
    have_same_contents(&mut file, program)
}
