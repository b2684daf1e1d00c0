//! Writes a finished copy next to a file.

use crate::error::NodeError;
use crate::files::snapshot::xattrs;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, RenameFlags, Uid, XattrFlags, {self},
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{
    Read, Seek, {self},
};

/// The attributes of a copy.
#[derive(Clone, Debug)]
pub(crate) enum Attributes {
    /// Exactly the mode, owner and extended attributes of another file.
    CopyOf {
        mode: u32,
        uid: u32,
        gid: u32,
        xattrs: BTreeMap<String, Vec<u8>>,
    },
    /// The attributes that the kernel gives to a new file in that folder (label and default ACL included), with this mode.
    New { mode: u32 },
}

/// Writes `content` to `name` in `folder`. The name must be free.
///
/// # Guarantees
/// The name appears only when the file is whole: bytes and attributes are set, read back, compared and synced before.
/// `content` is read twice, a part at a time.
/// The folder is the caller's to sync, once for all copies in it. A kill leaves nothing, or, on file systems without `O_TMPFILE`, an unfinished file
/// named by [`part`].
pub(crate) fn stage(
    folder: &OwnedFd,
    name: &str,
    shown: &str,
    content: &mut (impl Read + Seek),
    attributes: &Attributes,
) -> Result<(), NodeError> {
    let private = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match fs::openat(folder, ".", flags | OFlags::TMPFILE, private) {
        Ok(fd) => {
            let fd = fill(fd, shown, content, attributes)?;
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            match fs::linkat(CWD, &link, folder, name, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) => return Ok(()),
                // /proc is missing. The unnamed file disappears with its descriptor.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(NodeError::io("name the copy", shown)(error)),
            }
        }
        // Kernels and file systems without O_TMPFILE report one of three errors.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        Err(error) => return Err(NodeError::io("write", shown)(error)),
    }
    let part = part(name);
    remove(folder, &part).map_err(NodeError::io("clear the way for", shown))?;
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let fd = fs::openat(folder, &part, flags, private).map_err(NodeError::io("write", shown))?;
    if let Err(trouble) = fill(fd, shown, content, attributes) {
        // What was written is of no use; that it could not be taken away too would hide why.
        remove(folder, &part).ok();
        return Err(trouble);
    }
    rename_to_free(folder, &part, folder, name).map_err(NodeError::io("name the copy", shown))
}

/// The name of an unfinished copy. Like every name of ours it does not end in `.toml`: containerd's import patterns
/// match names that begin with a dot too.
pub(crate) fn part(name: &str) -> String {
    format!("{name}.part")
}

fn fill(
    fd: OwnedFd,
    shown: &str,
    content: &mut (impl Read + Seek),
    attributes: &Attributes,
) -> Result<OwnedFd, NodeError> {
    let io = |action| {
        move |source| NodeError::Io {
            action,
            path: shown.to_owned(),
            source,
        }
    };
    let size = content.seek(io::SeekFrom::End(0)).map_err(io("copy to"))?;
    content.rewind().map_err(io("copy to"))?;
    if size != 0 {
        // So that a full disk shows here and not at some later write-back.
        match fs::fallocate(&fd, FallocateFlags::empty(), 0, size) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(NodeError::io("write", shown)(error)),
        }
    }
    let mut file = File::from(fd);
    io::copy(content, &mut file).map_err(io("write"))?;
    set_attributes(&file, shown, attributes)?;
    // A sync that failed is never tried again: the kernel has dropped the pages and would report success.
    fs::fsync(&file).map_err(NodeError::io("sync", shown))?;
    file.rewind().map_err(io("read back"))?;
    content.rewind().map_err(io("read back"))?;
    if !have_same_contents(&mut file, content).map_err(io("read back"))? {
        return Err(NodeError::Unsuitable {
            path: shown.to_owned(),
            what: "has other contents than were written".to_owned(),
            hint: "the disk or the memory of this machine is faulty: read the kernel's log (`journalctl -k`)",
        });
    }
    Ok(file.into())
}

/// The number of bytes that are compared at a time, because the caller may have little memory.
const PART: u64 = 64 * 1024;

/// Returns true if two readers have the same contents, from their positions to their ends.
pub(crate) fn have_same_contents(one: &mut impl Read, other: &mut impl Read) -> io::Result<bool> {
    let (mut part, mut theirs) = (Vec::new(), Vec::new());
    loop {
        part.clear();
        theirs.clear();
        one.take(PART).read_to_end(&mut part)?;
        other.take(PART).read_to_end(&mut theirs)?;
        if part != theirs {
            return Ok(false);
        }
        if part.is_empty() {
            return Ok(true);
        }
    }
}

/// Sets owner, then mode (a change of owner clears bits of it), then extended attributes (an ACL holds the mask that a
/// later change of mode would overwrite). Times are not copied, so that a program that watches the file sees the change.
fn set_attributes(file: &File, shown: &str, attributes: &Attributes) -> Result<(), NodeError> {
    let mode = match attributes {
        Attributes::New { mode } | Attributes::CopyOf { mode, .. } => *mode,
    };
    if let Attributes::CopyOf { uid, gid, .. } = attributes {
        let stat = fs::fstat(file).map_err(NodeError::io("inspect", shown))?;
        // Only when it differs, so that a user without privileges can keep their own files their own.
        if (stat.st_uid, stat.st_gid) != (*uid, *gid) {
            fs::fchown(file, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
                .map_err(NodeError::io("keep the owner of", shown))?;
        }
    }
    fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(NodeError::io("keep the mode of", shown))?;
    let Attributes::CopyOf {
        uid,
        gid,
        xattrs: wanted,
        ..
    } = attributes
    else {
        return Ok(());
    };
    let found = xattrs(file).map_err(NodeError::io("read the extended attributes of", shown))?;
    for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::fremovexattr(file, name.as_str()).map_err(NodeError::io("keep the extended attributes of", shown))?;
    }
    for (name, value) in wanted.iter().filter(|(name, value)| found.get(*name) != Some(value)) {
        fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty())
            .map_err(NodeError::io("keep the extended attributes of", shown))?;
    }
    let stat = fs::fstat(file).map_err(NodeError::io("inspect", shown))?;
    let found = xattrs(file).map_err(NodeError::io("read the extended attributes of", shown))?;
    if (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, &found) != (mode, *uid, *gid, wanted) {
        return Err(NodeError::Unsuitable {
            path: shown.to_owned(),
            what: "has a mode, an owner or attributes that this file system does not keep".to_owned(),
            hint: "run as the user who owns the file",
        });
    }
    Ok(())
}

/// Takes a name away; that there is none is fine.
pub(crate) fn remove(folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    match fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Renames to a name that must be free: `EEXIST` when it is not.
pub(crate) fn rename_to_free(from: &OwnedFd, name: &str, to: &OwnedFd, free: &str) -> Result<(), Errno> {
    match fs::renameat_with(from, name, to, free, RenameFlags::NOREPLACE) {
        // A file system that cannot promise it. A link never replaces either, so the file has both names for a moment.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::linkat(from, name, to, free, AtFlags::empty())?;
            fs::unlinkat(from, name, AtFlags::empty())
        }
        other => other,
    }
}
