//! A file's contents and attributes at one moment, and whether the file may be replaced.

use crate::error::NodeError;
use crate::files::entry::{FILE_LIMIT, kind, read_up_to};
use crate::journal::record::FileRecord;
use mirrorshift_plan::Digest;
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags, {self},
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::CStr;

/// The file at a name in a folder. A link is not followed.
#[derive(Debug)]
pub(crate) enum PathStat {
    Nothing,
    File(Box<Snapshot>),
    /// Another kind of file, described as the end of a sentence that begins with its path.
    Other(String),
}

/// A regular file as it was read.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) bytes: Vec<u8>,
    pub(crate) record: FileRecord,
    nlink: u32,
    flags: StatxAttributes,
}

/// Reads `name` in `folder`. `shown` is its path for messages.
pub(crate) fn stat_path(folder: &OwnedFd, name: &str, shown: &str) -> Result<PathStat, NodeError> {
    let looked = match stat(folder, name) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(PathStat::Nothing),
        Err(error) => return Err(NodeError::io("inspect", shown)(error)),
    };
    match FileType::from_raw_mode(looked.stx_mode.into()) {
        FileType::RegularFile if looked.stx_size > FILE_LIMIT => {
            return Ok(PathStat::Other(format!("is larger than {FILE_LIMIT} bytes")));
        }
        FileType::RegularFile => {}
        other => return Ok(PathStat::Other(format!("is {}", kind(other)))),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match fs::openat(folder, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(PathStat::Nothing),
        Err(error) => return Err(NodeError::io("open", shown)(error)),
    };
    let stat = stat_of(&fd).map_err(NodeError::io("inspect", shown))?;
    if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
        return Ok(PathStat::Other("changed while it was read".to_owned()));
    }
    let xattrs = xattrs(&fd).map_err(NodeError::io("read the extended attributes of", shown))?;
    let read = read_up_to(fd, FILE_LIMIT).map_err(|source| NodeError::Io {
        action: "read",
        path: shown.to_owned(),
        source,
    })?;
    let Some(bytes) = read else {
        return Ok(PathStat::Other(format!("is larger than {FILE_LIMIT} bytes")));
    };
    let record = FileRecord {
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        device: [stat.stx_dev_major, stat.stx_dev_minor],
        inode: stat.stx_ino,
        xattrs,
    };
    // The name shows that a file is a mount. The open file shows the same, unless it was exchanged in between.
    let flags = looked.stx_attributes | stat.stx_attributes;
    Ok(PathStat::File(Box::new(Snapshot {
        bytes,
        record,
        nlink: stat.stx_nlink,
        flags,
    })))
}

fn stat(folder: &OwnedFd, name: &str) -> Result<Statx, Errno> {
    fs::statx(
        folder,
        name,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::BASIC_STATS,
    )
}

fn stat_of(fd: &OwnedFd) -> Result<Statx, Errno> {
    fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

/// Returns the extended attributes that the caller may read, by name. The result is empty on a file system without them.
pub(crate) fn xattrs(fd: impl AsFd) -> Result<BTreeMap<String, Vec<u8>>, Errno> {
    let mut names = Vec::new();
    // A list that grows between both calls is read again. A list that keeps growing is an error.
    for attempt in 0..3 {
        let size = match fs::flistxattr_query(&fd) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
            other => other?,
        };
        names = Vec::with_capacity(size);
        match fs::flistxattr(&fd, spare_capacity(&mut names)) {
            Err(Errno::RANGE) if attempt < 2 => {}
            other => {
                other?;
                break;
            }
        }
    }
    let mut found = BTreeMap::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name)
            .map_err(drop)
            .and_then(|name| name.to_str().map_err(drop))
        else {
            return Err(Errno::ILSEQ);
        };
        let mut value = Vec::new();
        let size = fs::fgetxattr_query(&fd, name)?;
        if size > 0 {
            value.reserve_exact(size);
            fs::fgetxattr(&fd, name, spare_capacity(&mut value))?;
        }
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

impl Snapshot {
    /// Refuses a file whose replacement would be seen elsewhere, would fail half-way, or would lose something.
    ///
    /// On the running machine only root may be able to write the file, because containerd runs as root, and a file that another
    /// user can write may change between the check and the swap. Under another root the files belong to the user who builds the
    /// image, so their owner and mode are kept and not judged.
    pub(crate) fn replaceable(&self, path: &str, live: bool) -> Result<(), NodeError> {
        let unsuitable = |what: String, hint| {
            Err(NodeError::Unsuitable {
                path: path.to_owned(),
                what,
                hint,
            })
        };
        if self.flags.contains(StatxAttributes::MOUNT_ROOT) {
            return unsuitable(
                "is a separate mount, so it cannot be replaced (EBUSY)".to_owned(),
                "change the file that is mounted there, or mount its folder instead",
            );
        }
        if self
            .flags
            .intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND)
        {
            return unsuitable(
                "is marked immutable or append-only".to_owned(),
                "it was protected with `chattr`: if you agree, run `chattr -i -a` on it",
            );
        }
        if self.nlink != 1 {
            return unsuitable(
                format!(
                    "has {} names (hard links), and replacing one would leave the others behind",
                    self.nlink
                ),
                "give the file one name: copy it and move the copy over it",
            );
        }
        if let Some(name) = ["security.ima", "security.evm"]
            .iter()
            .find(|name| self.record.xattrs.contains_key(**name))
        {
            return unsuitable(
                format!("is signed (`{name}`), and new contents would not match the signature"),
                "change and sign the file where it is made",
            );
        }
        if live && !roots_alone(self.record.uid, self.record.mode) {
            return unsuitable(
                format!(
                    "belongs to uid {} with mode {:04o}, so others than root may write it",
                    self.record.uid, self.record.mode
                ),
                "run `chown root` and `chmod go-w` on it",
            );
        }
        Ok(())
    }
}

fn roots_alone(uid: u32, mode: u32) -> bool {
    uid == 0 && mode & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_running_machine_only_root_may_own_and_write() {
        assert!(roots_alone(0, 0o644));
        assert!(roots_alone(0, 0o600));
        for (uid, mode) in [(0, 0o664), (0, 0o646), (1000, 0o644)] {
            assert!(!roots_alone(uid, mode), "{uid} {mode:o}");
        }
    }
}
