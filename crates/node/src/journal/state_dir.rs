//! The state directory, which holds the journal, the backups and the lock.

use crate::error::NodeError;
use crate::files::entry::read_up_to;
use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, join};
use crate::files::stage::remove;
use crate::paths::{CHANGES, RESERVE, STATE_DIR, backup_path};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Dir, FallocateFlags, Mode, OFlags, {self},
};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;

/// The largest file that is read here, in bytes. A journal of five changes of a thousand files each has about 5 MiB.
const LIMIT: u64 = 64 << 20;

/// Bytes that are reserved on the disk while a change is open, in addition to what its journal needs.
pub(crate) const RESERVED: u64 = 64 << 10;

/// The open state folder.
#[derive(Debug)]
pub(crate) struct StateDir {
    pub(crate) fd: OwnedFd,
    /// The folders that were created to open it, outermost first.
    pub(crate) made: Vec<String>,
}

impl StateDir {
    /// Opens the folder if it exists. Creates nothing.
    pub(crate) fn open_existing(root: &Root) -> Result<Option<Self>, NodeError> {
        match resolved(root)? {
            ResolvedPath::Found(real) => open(root, &real).map(Some),
            ResolvedPath::Missing { .. } => Ok(None),
        }
    }

    /// Opens the folder. Creates it first if it does not exist, accessible only to its owner.
    pub(crate) fn make(root: &Root) -> Result<Self, NodeError> {
        let (anchor, names) = match resolved(root)? {
            ResolvedPath::Found(real) => {
                let state = open(root, &real)?;
                let mode = fs::fstat(&state.fd)
                    .map_err(NodeError::io("inspect", STATE_DIR))?
                    .st_mode;
                // Backups may hold passwords.
                if mode & 0o077 != 0 {
                    fs::fchmod(&state.fd, Mode::RWXU).map_err(NodeError::io("restrict the mode of", STATE_DIR))?;
                }
                return Ok(state);
            }
            ResolvedPath::Missing {
                dangling: Some(link), ..
            } => {
                return Err(NodeError::Unsuitable {
                    path: link,
                    what: "is a link to nothing".to_owned(),
                    hint: "create the folder that the link names, or remove the link",
                });
            }
            ResolvedPath::Missing {
                anchor,
                names,
                dangling: None,
            } => (anchor, names),
        };
        let (mut here, mut made) = (anchor, Vec::new());
        for (at, name) in names.iter().enumerate() {
            let parent = root.folder(&here).map_err(NodeError::io("open", here.as_str()))?;
            here = join(&here, name);
            let last = at + 1 == names.len();
            if make_folder(&parent, name, if last { 0o700 } else { 0o755 })
                .map_err(NodeError::io("create", here.as_str()))?
            {
                made.push(here.clone());
            }
        }
        let state = open(root, &here)?;
        Ok(Self { made, ..state })
    }

    /// Replaces `name`. A crash leaves the old or the new file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), NodeError> {
        write(&self.fd, name, bytes, &join(STATE_DIR, name))?;
        Ok(())
    }

    /// Reads `name`, or returns `None` if it does not exist.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, NodeError> {
        read(&self.fd, name, &join(STATE_DIR, name))
    }

    /// Removes `name` and syncs the folder.
    pub(crate) fn remove(&self, name: &str) -> Result<(), NodeError> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => fs::fsync(&self.fd),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(NodeError::io("remove", join(STATE_DIR, name)))
    }

    /// Removes files of an interrupted run that no journal names. Nothing depends on them, so a failure is left to the next
    /// run.
    pub(crate) fn remove_leftovers(&self, unfinished: &str, keep: &[&str]) {
        self.release().ok();
        self.remove(&new_name(unfinished)).ok();
        self.prune(keep).ok();
    }

    /// Reserves `size` bytes on the disk until [`StateDir::release`].
    pub(crate) fn reserve(&self, size: u64) -> Result<(), NodeError> {
        let shown = join(STATE_DIR, RESERVE);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, RESERVE, flags, Mode::RUSR | Mode::WUSR)
            .map_err(NodeError::io("write", shown.as_str()))?;
        match fs::fallocate(&fd, FallocateFlags::empty(), 0, size) {
            // Without the reserve an undo on a full disk still swaps the files. Only its record may be late.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => {
                remove(&self.fd, RESERVE).ok();
                Err(NodeError::io("reserve space in", shown)(error))
            }
        }
    }

    /// Releases the reserved space.
    pub(crate) fn release(&self) -> Result<(), NodeError> {
        self.remove(RESERVE)
    }

    /// Opens the folder of one change's backups. Creates it if it does not exist.
    pub(crate) fn make_backups(&self, change: &str) -> Result<OwnedFd, NodeError> {
        let all = join(STATE_DIR, CHANGES);
        make_folder(&self.fd, CHANGES, 0o700).map_err(NodeError::io("create", all.as_str()))?;
        let all_fd = open_in(&self.fd, CHANGES).map_err(NodeError::io("open", all.as_str()))?;
        let own = join(&all, change);
        make_folder(&all_fd, change, 0o700).map_err(NodeError::io("create", own.as_str()))?;
        open_in(&all_fd, change).map_err(NodeError::io("open", own))
    }

    /// Writes backups into the folder that [`StateDir::make_backups`] opened, and syncs the files and the folder. The files
    /// get their final names immediately, because nothing refers to them before the journal does.
    pub(crate) fn write_backups(folder: &OwnedFd, change: &str, backups: &[Option<Vec<u8>>]) -> Result<(), NodeError> {
        for (step, bytes) in backups.iter().enumerate() {
            if let Some(bytes) = bytes {
                create(folder, &step.to_string(), bytes, &backup_path(change, step))?;
            }
        }
        fs::fsync(folder).map_err(NodeError::io("sync", format!("{STATE_DIR}/{CHANGES}/{change}")))
    }

    /// Reads a backup, or returns `None` if it does not exist.
    pub(crate) fn read_backup(&self, change: &str, step: usize) -> Result<Option<Vec<u8>>, NodeError> {
        let shown = backup_path(change, step);
        let folder = match open_in(&self.fd, CHANGES).and_then(|all| open_in(&all, change)) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(NodeError::io("open", shown)(error)),
        };
        read(&folder, &step.to_string(), &shown)
    }

    /// Removes the backups of all changes except those in `keep`: of changes that are no longer recorded, and of a change that
    /// was interrupted before the journal recorded it.
    pub(crate) fn prune(&self, keep: &[&str]) -> Result<(), NodeError> {
        let shown = join(STATE_DIR, CHANGES);
        let io = |action| NodeError::io(action, shown.as_str());
        let all = match open_in(&self.fd, CHANGES) {
            Ok(all) => all,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(io("open")(error)),
        };
        let (mut left, mut cleared) = (false, false);
        for change in list(&all).map_err(io("list"))? {
            if keep.contains(&change.as_str()) {
                left = true;
                continue;
            }
            let folder = open_in(&all, &change).map_err(io("open a folder in"))?;
            for name in list(&folder).map_err(io("list a folder in"))? {
                remove(&folder, &name).map_err(io("clear"))?;
            }
            fs::unlinkat(&all, change.as_str(), AtFlags::REMOVEDIR).map_err(io("clear"))?;
            cleared = true;
        }
        if cleared && left {
            fs::fsync(&all).map_err(io("sync"))?;
        }
        if !left {
            fs::unlinkat(&self.fd, CHANGES, AtFlags::REMOVEDIR).map_err(io("remove"))?;
            fs::fsync(&self.fd).map_err(io("sync the folder of"))?;
        }
        Ok(())
    }
}

fn resolved(root: &Root) -> Result<ResolvedPath, NodeError> {
    resolve(root, STATE_DIR).map_err(|error| NodeError::Unsuitable {
        path: STATE_DIR.to_owned(),
        what: error.fragment(STATE_DIR),
        hint: "this path must be a folder of the node, reached without a link out of the root",
    })
}

fn open(root: &Root, real: &str) -> Result<StateDir, NodeError> {
    let fd = root.folder(real).map_err(NodeError::io("open", STATE_DIR))?;
    let stat = fs::fstat(&fd).map_err(NodeError::io("inspect", STATE_DIR))?;
    // A user who may write here could choose what a rollback writes to a file of root.
    if stat.st_uid != rustix::process::geteuid().as_raw() && stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return Err(NodeError::Unsuitable {
            path: STATE_DIR.to_owned(),
            what: format!(
                "belongs to uid {} with mode {:04o}, so other users may write it",
                stat.st_uid,
                stat.st_mode & 0o7777
            ),
            hint: "find out which user created the folder; its contents are not trusted",
        });
    }
    Ok(StateDir { fd, made: Vec::new() })
}

pub(crate) fn open_in(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, name, flags, Mode::empty())
}

/// Creates a folder and syncs its parent. Returns false if the folder existed. The mode of the folder is synced with the first
/// file that is written into it.
pub(crate) fn make_folder(parent: &OwnedFd, name: &str, mode: u32) -> Result<bool, Errno> {
    match fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(error) => return Err(error),
    }
    // The umask of the process may have removed bits.
    fs::fchmod(open_in(parent, name)?, Mode::from_raw_mode(mode))?;
    fs::fsync(parent)?;
    Ok(true)
}

pub(crate) fn list(folder: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        // All names that this crate creates are ASCII. A folder with another name in it is not empty, and stays.
        if let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

pub(crate) fn new_name(name: &str) -> String {
    format!("{name}.new")
}

pub(crate) fn write(folder: &OwnedFd, name: &str, bytes: &[u8], shown: &str) -> Result<(), NodeError> {
    let new = new_name(name);
    let io = |action| NodeError::io(action, shown);
    let written = create(folder, &new, bytes, shown)
        .and_then(|()| fs::renameat(folder, &new, folder, name).map_err(io("put in place")));
    if let Err(error) = written {
        remove(folder, &new).ok();
        return Err(error);
    }
    fs::fsync(folder).map_err(io("sync the folder of"))
}

/// Writes and syncs a file that only its owner can read. A file of that name from an earlier run is removed first.
fn create(folder: &OwnedFd, name: &str, bytes: &[u8], shown: &str) -> Result<(), NodeError> {
    let io = |action| NodeError::io(action, shown);
    remove(folder, name).map_err(io("remove the earlier"))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(io("write"))?;
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(|source| NodeError::Io {
        action: "write",
        path: shown.to_owned(),
        source,
    })?;
    fs::fsync(&file).map_err(io("sync"))
}

pub(crate) fn read(folder: &OwnedFd, name: &str, shown: &str) -> Result<Option<Vec<u8>>, NodeError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match fs::openat(folder, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(NodeError::io("open", shown)(error)),
    };
    let bytes = read_up_to(fd, LIMIT).map_err(|source| NodeError::Io {
        action: "read",
        path: shown.to_owned(),
        source,
    })?;
    bytes.map(Some).ok_or_else(|| NodeError::Unsuitable {
        path: shown.to_owned(),
        what: format!("is larger than {LIMIT} bytes"),
        hint: "mirrorshift did not write this file: move it away",
    })
}
