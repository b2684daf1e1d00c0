//! The folder in which the tool keeps its journal, backups and lock.

use crate::error::NodeError;
use crate::files::entry::read_up_to;
use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, join};
use crate::files::stage::remove;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Dir, FallocateFlags, Mode, OFlags, {self},
};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;

/// Where everything lies that the tool keeps on a node.
pub const STATE_DIR: &str = "/var/lib/mirrorshift";
/// Where it keeps what may go with a reboot.
pub const RUN_DIR: &str = "/run/mirrorshift";

/// A journal of five changes of a thousand files each has about 5 MiB.
const LIMIT: u64 = 64 << 20;

/// The backups of every change that is kept, a folder each.
pub(crate) const CHANGES: &str = "changes";

/// What this tool wrote into hosts.toml files, by its digest, so that it can be put back.
pub(crate) const COPIES: &str = "copies";

/// Space held back while a change is open, so that undoing it can still write the journal on a full disk.
pub(crate) const RESERVE: &str = "reserve";

/// The open state folder.
#[derive(Debug)]
pub(crate) struct StateDir {
    pub(crate) fd: OwnedFd,
    /// The folders that opening it made, outermost first.
    pub(crate) made: Vec<String>,
}

impl StateDir {
    /// Opens the folder if it is there; makes nothing.
    pub(crate) fn open_existing(root: &Root) -> Result<Option<Self>, NodeError> {
        match landing(root)? {
            ResolvedPath::Found(real) => open(root, &real).map(Some),
            ResolvedPath::Missing { .. } => Ok(None),
        }
    }

    /// Opens the folder, and makes it, for its owner alone, when it is not there.
    pub(crate) fn make(root: &Root) -> Result<Self, NodeError> {
        let (anchor, names) = match landing(root)? {
            ResolvedPath::Found(real) => {
                let state = open(root, &real)?;
                let mode = fs::fstat(&state.fd)
                    .map_err(NodeError::io("look at", STATE_DIR))?
                    .st_mode;
                // Backups may hold passwords.
                if mode & 0o077 != 0 {
                    fs::fchmod(&state.fd, Mode::RWXU).map_err(NodeError::io("close to others", STATE_DIR))?;
                }
                return Ok(state);
            }
            ResolvedPath::Missing {
                dangling: Some(link), ..
            } => {
                return Err(NodeError::Unsuitable {
                    path: link,
                    what: "is a link to nothing".to_owned(),
                    hint: "make the folder that it names, or take the link away",
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
                .map_err(NodeError::io("make", here.as_str()))?
            {
                made.push(here.clone());
            }
        }
        let state = open(root, &here)?;
        Ok(Self { made, ..state })
    }

    /// Writes `name` so that a crash leaves the old bytes or the new ones.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), NodeError> {
        write(&self.fd, name, bytes, &join(STATE_DIR, name))?;
        Ok(())
    }

    /// The bytes of `name`, when it is there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, NodeError> {
        read(&self.fd, name, &join(STATE_DIR, name))
    }

    /// Takes `name` away, synced.
    pub(crate) fn forget(&self, name: &str) -> Result<(), NodeError> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => fs::fsync(&self.fd),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(NodeError::io("take away", join(STATE_DIR, name)))
    }

    /// Takes away what a run that was cut short left here and no journal names. Nothing depends on it, so a failure is
    /// left to the next run.
    pub(crate) fn tidy(&self, unfinished: &str, keep: &[&str]) {
        self.release().ok();
        self.forget(&new_name(unfinished)).ok();
        self.prune(keep).ok();
    }

    /// Holds `size` bytes back for [`State::release`].
    pub(crate) fn reserve(&self, size: u64) -> Result<(), NodeError> {
        let shown = join(STATE_DIR, RESERVE);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, RESERVE, flags, Mode::RUSR | Mode::WUSR)
            .map_err(NodeError::io("write", shown.as_str()))?;
        match fs::fallocate(&fd, FallocateFlags::empty(), 0, size) {
            // Without it an undo on a full disk still swaps the files; only its record may be late.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => {
                remove(&self.fd, RESERVE).ok();
                Err(NodeError::io("hold space back in", shown)(error))
            }
        }
    }

    /// Gives back what was held.
    pub(crate) fn release(&self) -> Result<(), NodeError> {
        self.forget(RESERVE)
    }

    /// The folder of one change's backups, made when it is not there.
    pub(crate) fn make_backups(&self, change: &str) -> Result<OwnedFd, NodeError> {
        let all = join(STATE_DIR, CHANGES);
        make_folder(&self.fd, CHANGES, 0o700).map_err(NodeError::io("make", all.as_str()))?;
        let all_fd = open_in(&self.fd, CHANGES).map_err(NodeError::io("open", all.as_str()))?;
        let one = join(&all, change);
        make_folder(&all_fd, change, 0o700).map_err(NodeError::io("make", one.as_str()))?;
        open_in(&all_fd, change).map_err(NodeError::io("open", one))
    }

    /// Writes backups into the folder that [`State::make_backups`] opened, and syncs them and it. They are written under
    /// their own names: nothing refers to them before the journal does.
    pub(crate) fn write_backups(folder: &OwnedFd, change: &str, backups: &[Option<Vec<u8>>]) -> Result<(), NodeError> {
        for (step, bytes) in backups.iter().enumerate() {
            if let Some(bytes) = bytes {
                create(folder, &step.to_string(), bytes, &backup_path(change, step))?;
            }
        }
        fs::fsync(folder).map_err(NodeError::io("sync", format!("{STATE_DIR}/{CHANGES}/{change}")))
    }

    /// The bytes of a backup, or `None` when it is gone.
    pub(crate) fn read_backup(&self, change: &str, step: usize) -> Result<Option<Vec<u8>>, NodeError> {
        let shown = backup_path(change, step);
        let folder = match open_in(&self.fd, CHANGES).and_then(|all| open_in(&all, change)) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(NodeError::io("open", shown)(error)),
        };
        read(&folder, &step.to_string(), &shown)
    }

    /// Takes away the backups of every change but those in `keep`: of changes that are no longer remembered, and of
    /// one that was cut short before the journal knew it.
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
            fs::unlinkat(&self.fd, CHANGES, AtFlags::REMOVEDIR).map_err(io("take away"))?;
            fs::fsync(&self.fd).map_err(io("sync the folder of"))?;
        }
        Ok(())
    }
}

/// Where a backup lies, for people.
pub(crate) fn backup_path(change: &str, step: usize) -> String {
    format!("{STATE_DIR}/{CHANGES}/{change}/{step}")
}

fn landing(root: &Root) -> Result<ResolvedPath, NodeError> {
    resolve(root, STATE_DIR).map_err(|lost| NodeError::Unsuitable {
        path: STATE_DIR.to_owned(),
        what: lost.fragment(STATE_DIR),
        hint: "this folder must be a real folder of the node",
    })
}

fn open(root: &Root, real: &str) -> Result<StateDir, NodeError> {
    let fd = root.folder(real).map_err(NodeError::io("open", STATE_DIR))?;
    let stat = fs::fstat(&fd).map_err(NodeError::io("look at", STATE_DIR))?;
    // Whoever may write here may choose what a rollback puts into a file of root's.
    if stat.st_uid != rustix::process::geteuid().as_raw() && stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return Err(NodeError::Unsuitable {
            path: STATE_DIR.to_owned(),
            what: format!(
                "belongs to uid {} with mode {:04o}, so others may write it",
                stat.st_uid,
                stat.st_mode & 0o7777
            ),
            hint: "find out who made it before anything in it is trusted",
        });
    }
    Ok(StateDir { fd, made: Vec::new() })
}

pub(crate) fn open_in(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, name, flags, Mode::empty())
}

/// Makes a folder and syncs its parent. False when it was there already. The folder's own mode is synced with the first
/// name that is put into it.
pub(crate) fn make_folder(parent: &OwnedFd, name: &str, mode: u32) -> Result<bool, Errno> {
    match fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(error) => return Err(error),
    }
    // The caller's umask may have taken bits away.
    fs::fchmod(open_in(parent, name)?, Mode::from_raw_mode(mode))?;
    fs::fsync(parent)?;
    Ok(true)
}

pub(crate) fn list(folder: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        // Every name that we make is ASCII; another one is not ours, and the folder then is not empty and stays.
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
    if let Err(trouble) = written {
        remove(folder, &new).ok();
        return Err(trouble);
    }
    fs::fsync(folder).map_err(io("sync the folder of"))
}

/// Writes and syncs a file of the owner's alone. One of that name from an earlier run goes first.
fn create(folder: &OwnedFd, name: &str, bytes: &[u8], shown: &str) -> Result<(), NodeError> {
    let io = |action| NodeError::io(action, shown);
    remove(folder, name).map_err(io("clear the way for"))?;
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
        hint: "it was not written by this tool",
    })
}
