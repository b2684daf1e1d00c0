//! Reads one path as containerd would find it.

use crate::error::in_words;
use crate::files::resolve::{ResolveError, ResolvedPath, resolve};
use crate::files::root::Root;
use mirrorshift_containerd::Entry;
use rustix::fd::OwnedFd;
use rustix::fs::{
    Dir, FileType, OFlags, {self},
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{
    Read, {self},
};

/// A file of more bytes than this is not read: 1 MiB, far above any real config.toml (the largest known has 24 KiB).
pub const FILE_LIMIT: u64 = 1 << 20;

/// A folder of more names than this is not listed.
pub const FOLDER_LIMIT: usize = 10_000;

impl Root {
    /// Reads `path`, an absolute path as the node sees it. Never blocks on a FIFO, never opens a device, never leaves the root,
    /// writes nothing.
    ///
    /// A dangling link is [`Entry::Absent`], as for containerd. A link that climbs above the root is [`Entry::Unusable`], and so is
    /// a path that the kernel refuses to read; the text has the reason.
    pub fn entry(&self, path: &str) -> Entry {
        let real = match resolve(self, path) {
            Ok(ResolvedPath::Found(real)) => real,
            Ok(ResolvedPath::Missing { .. }) => return Entry::Absent,
            Err(lost) => return Entry::Unusable(lost.fragment(path)),
        };
        match read(self, &real) {
            Ok(entry) => entry,
            // The file was removed between resolving and opening.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Entry::Absent,
            Err(error) => Entry::Unusable(format!("cannot be read: {}", in_words(&error))),
        }
    }
}

impl ResolveError {
    /// Describes the error of `path`, as the end of a sentence that begins with the path.
    pub(crate) fn fragment(&self, path: &str) -> String {
        match self {
            Self::Climbs(link) if link == path => "leads out of the root".to_owned(),
            Self::Climbs(link) => format!("leads out of the root by the link `{link}`"),
            Self::Loop => "leads into a loop of links".to_owned(),
            Self::NotFolder(at) => format!("is under `{at}`, which is not a folder"),
            Self::NotUtf8(link) => format!("is reached by the link `{link}`, whose target is not UTF-8"),
            Self::NotAPath => "is not an absolute path".to_owned(),
            Self::Io(at, error) if at == path => format!("cannot be read: {}", in_words(&(*error).into())),
            Self::Io(at, error) => format!("cannot be reached: `{at}`: {}", in_words(&(*error).into())),
        }
    }
}

fn read(root: &Root, real: &str) -> io::Result<Entry> {
    // Inspect the file before opening it for reading, because opening a FIFO blocks, and opening a device may do anything.
    let inspected = fs::fstat(root.open_plain(real, OFlags::PATH | OFlags::NOFOLLOW)?)?;
    match FileType::from_raw_mode(inspected.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return list(&root.folder(real)?),
        other => return Ok(Entry::Unusable(format!("is {}", kind(other)))),
    }
    // Open it non-blocking, because another file may have this name by now.
    let fd = root.open_plain(
        real,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY,
    )?;
    let opened = fs::fstat(&fd)?;
    if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
        return Ok(Entry::Unusable("changed while it was read".to_owned()));
    }
    Ok(match read_up_to(fd, FILE_LIMIT)? {
        Some(bytes) => Entry::File(bytes),
        None => Entry::Unusable(format!("is larger than {FILE_LIMIT} bytes")),
    })
}

/// Reads a file, or returns `None` if it has more than `limit` bytes. The reported size is not used, because a file may grow, and
/// some files report 0.
pub(crate) fn read_up_to(fd: OwnedFd, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::from(fd).take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// Returns the kind of a file that is not regular, with its article.
pub(crate) fn kind(of: FileType) -> &'static str {
    match of {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    }
}

fn list(fd: &OwnedFd) -> io::Result<Entry> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        // containerd would read such a file through an import pattern, but no value here could name it.
        let Ok(name) = name.to_str() else {
            return Ok(Entry::Unusable("holds a name that is not UTF-8".to_owned()));
        };
        if names.len() == FOLDER_LIMIT {
            return Ok(Entry::Unusable(format!("holds more than {FOLDER_LIMIT} names")));
        }
        names.push(name.to_owned());
    }
    names.sort();
    Ok(Entry::Folder(names))
}
