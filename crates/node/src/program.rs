//! The copy of the program that everything on the node runs from: what undoes a change must not depend on a package that is
//! upgraded meanwhile, or on a container's image.

use crate::lock::{self, NotLocked};
use crate::outcome::OpenError;
use crate::root::{Root, join};
use crate::stage::{Attributes, remove, stage};
use crate::state::{STATE, make_folder, open_in};
use crate::trouble::Trouble;
use rustix::fd::OwnedFd;
use rustix::fs::{self, Mode, OFlags, StatVfsMountFlags};
use std::fs::File;
use std::io::{self, Read};

const FOLDER: &str = "bin";
const NAME: &str = "mirrorshift";
/// Where the copy lies.
pub const PROGRAM: &str = "/var/lib/mirrorshift/bin/mirrorshift";

/// Puts `program` at [`PROGRAM`], for its owner alone, unless it is there already.
///
/// # Guarantees
/// There is the old program or the new one at any moment, as a change may be guarded by it. While somebody changes the
/// node, theirs is left alone.
///
/// # Errors
/// [`OpenError::Locked`] while another process changes this node; a file system on which no program runs.
pub fn install(root: &Root, program: &[u8]) -> Result<(), OpenError> {
    let (state, _lock) = lock::take(root).map_err(|not| match not {
        NotLocked::Held(pid) => OpenError::Locked { pid },
        NotLocked::Trouble(trouble) => trouble.into(),
    })?;
    let shown = join(STATE, FOLDER);
    let io = |action| Trouble::io(action, shown.as_str());
    make_folder(&state.fd, FOLDER, 0o700).map_err(io("make"))?;
    let folder = open_in(&state.fd, FOLDER).map_err(io("open"))?;
    let mount = fs::fstatvfs(&folder).map_err(io("look at"))?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(Trouble::Unsuitable {
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

fn holds(folder: &OwnedFd, program: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = fs::openat(folder, NAME, flags, Mode::empty()) else {
        return false;
    };
    let runs = fs::fstat(&fd).is_ok_and(|stat| stat.st_mode & 0o700 == 0o700);
    runs && reads(File::from(fd), program).unwrap_or(false)
}

/// Whether a file has these bytes and no more. A part at a time: whoever asks may have little memory.
fn reads(mut file: File, bytes: &[u8]) -> io::Result<bool> {
    let mut part = [0; 16 * 1024];
    for expected in bytes.chunks(part.len()) {
        let part = &mut part[..expected.len()];
        if file.read_exact(part).is_err() || part != expected {
            return Ok(false);
        }
    }
    Ok(file.read(&mut part)? == 0)
}
