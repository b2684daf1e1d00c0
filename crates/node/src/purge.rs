//! Removes Mirrorshift's own files from a node, and keeps the migrated configuration.
//!
//! Each removed file is named here: the names that Mirrorshift uses in its own folders. Any other file in them belongs to another
//! program. It stays, with its folder, and is reported.

use crate::change::outcome::OpenError;
use crate::error::NodeError;
use crate::files::root::{Root, join, split};
use crate::journal::file as journal_file;
use crate::journal::file::Journal;
use crate::journal::lock::{
    NotLocked, {self},
};
use crate::journal::state_dir::{self, StateDir};
use crate::paths::{self, RUN_DIR, RUN_EVENTS, RUN_REQUEST, RUN_RESULT, RUN_RESULT_NEW, STATE_DIR};
use crate::runtime::boot_guard::{PROOF_FILE, SUPERVISED_MARKER, remove_guards};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, {self},
};
use rustix::io::Errno;

/// The files of one run of the change unit, in the run's folder under [`RUN_DIR`].
const RUN_FILES: [&str; 4] = [RUN_REQUEST, RUN_EVENTS, RUN_RESULT, RUN_RESULT_NEW];
/// The folder of the program's copy in the state directory.
const BIN: &str = "bin";

/// The result of a purge. Paths are as the node sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// The removed files, in the order of their removal.
    pub gone: Vec<String>,
    /// Files in the same folders that do not belong to Mirrorshift.
    pub left: Vec<String>,
}

impl Purged {
    /// Records the files that are left in a folder. A subfolder is not recorded if a file in it is.
    fn record_left(&mut self, folder: &str, names: &[String]) {
        let is_recorded = |path: &String| self.left.iter().any(|left| left.starts_with(&format!("{path}/")));
        let paths = names.iter().map(|name| join(folder, name));
        let left: Vec<String> = paths.filter(|path| !is_recorded(path)).collect();
        self.left.extend(left);
    }
}

/// An error because of which not everything was purged.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The lock is held, or the journal cannot be trusted. Nothing was removed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A change is unsettled, and its undo needs the files. Nothing was removed.
    #[error("the change `{0}` is not settled, and its undo needs mirrorshift's files")]
    Unsettled(String),
    /// A file could not be removed. The files before it were removed.
    #[error("not all files could be removed")]
    Node(#[from] NodeError),
}

impl PurgeError {
    /// Returns advice as a sentence without its full stop.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open(error) => error.hint(),
            Self::Unsettled(_) => Some("finish it with `mirrorshift migrate` or `mirrorshift rollback` first"),
            Self::Node(trouble) => trouble.hint(),
        }
    }
}

/// Removes leftover units of the boot guard, the journal, the backups, the program's copy, the lock, `/run/mirrorshift`, and the
/// folders that are then empty. The migrated files stay. No change can be rolled back afterwards.
///
/// # Guarantees
/// The journal is removed before the files that it names. An interrupted purge therefore leaves files that the next purge removes,
/// and never a journal without its backups. No symbolic link is followed.
///
/// # Errors
/// [`PurgeError`].
pub fn purge(root: &Root) -> Result<Purged, PurgeError> {
    let mut purged = Purged::default();
    if StateDir::open_existing(root).map_err(OpenError::from)?.is_some() {
        let (state, lock) = lock::acquire(root).map_err(|reason| match reason {
            NotLocked::Held(pid) => OpenError::Locked { pid },
            NotLocked::Error(error) => error.into(),
        })?;
        let journal = Journal::load(&state).map_err(OpenError::from)?;
        if let Some(open) = &journal.open {
            return Err(PurgeError::Unsettled(open.id.clone()));
        }
        let units: Vec<&str> = journal
            .history
            .iter()
            .filter_map(|change| change.service.as_ref())
            .map(|service| &*service.unit)
            .collect();
        purged.gone.extend(remove_guards(root, &units)?);
        own(&state, &mut purged)?;
        // The lock is removed last. A process that waits for it starts again with a new lock file.
        lock::remove_file(&state).map_err(NodeError::io("remove", join(STATE_DIR, lock::NAME)))?;
        drop(lock);
        folder(root, STATE_DIR, &state.fd, &mut purged)?;
    } else {
        purged.gone.extend(remove_guards(root, &[])?);
    }
    runtime(root, &mut purged)?;
    Ok(purged)
}

/// Everything of the tool in its folder but the lock.
fn own(state: &StateDir, purged: &mut Purged) -> Result<(), NodeError> {
    for name in [
        journal_file::NAME.to_owned(),
        state_dir::new_name(journal_file::NAME),
        paths::RESERVE.to_owned(),
    ] {
        file(&state.fd, &name, STATE_DIR, purged)?;
    }
    inner(
        &state.fd,
        paths::CHANGES,
        STATE_DIR,
        purged,
        |changes, shown, purged| {
            for change in names(changes, shown)? {
                inner(changes, &change, shown, purged, |backups, shown, purged| {
                    for name in names(backups, shown)? {
                        // They are named by the number of their step.
                        if name.bytes().all(|byte| byte.is_ascii_digit()) {
                            file(backups, &name, shown, purged)?;
                        }
                    }
                    Ok(())
                })?;
            }
            Ok(())
        },
    )?;
    inner(&state.fd, paths::COPIES, STATE_DIR, purged, |copies, shown, purged| {
        for name in names(copies, shown)? {
            // They are named by their digest.
            if name
                .trim_start_matches('.')
                .starts_with(|first: char| first.is_ascii_hexdigit())
            {
                file(copies, &name, shown, purged)?;
            }
        }
        Ok(())
    })?;
    inner(&state.fd, BIN, STATE_DIR, purged, |bin, shown, purged| {
        for name in names(bin, shown)? {
            // The program, and an unfinished copy of it.
            if name.trim_start_matches('.').starts_with("mirrorshift") {
                file(bin, &name, shown, purged)?;
            }
        }
        Ok(())
    })
}

/// Removes the files under `/run`: Mirrorshift's folder, and the proof of the boot guard.
fn runtime(root: &Root, purged: &mut Purged) -> Result<(), NodeError> {
    let (outer, name) = split(PROOF_FILE);
    if let Some(fd) = opened(root, outer)? {
        file(&fd, name, outer, purged)?;
        file(&fd, split(SUPERVISED_MARKER).1, outer, purged)?;
        inner(&fd, split(RUN_DIR).1, outer, purged, |folder, shown, purged| {
            for name in names(folder, shown)? {
                file(folder, &name, shown, purged)?;
                // One folder per run of the change unit.
                inner(folder, &name, shown, purged, |run, shown, purged| {
                    RUN_FILES.iter().try_for_each(|name| file(run, name, shown, purged))
                })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Calls `clear` for the folder `name`, then removes the folder if it is empty.
fn inner(
    outer: &OwnedFd,
    name: &str,
    above: &str,
    purged: &mut Purged,
    clear: impl FnOnce(&OwnedFd, &str, &mut Purged) -> Result<(), NodeError>,
) -> Result<(), NodeError> {
    let shown = join(above, name);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match fs::openat(outer, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        // A file of that name does not belong to Mirrorshift.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(error) => return Err(NodeError::io("open", shown)(error)),
    };
    clear(&fd, &shown, purged)?;
    match fs::unlinkat(outer, name, AtFlags::REMOVEDIR) {
        Ok(()) => purged.gone.push(shown),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            purged.record_left(&shown, &names(&fd, &shown)?);
        }
        Err(Errno::NOENT) => {}
        Err(error) => return Err(NodeError::io("remove", shown)(error)),
    }
    Ok(())
}

/// Removes the state folder, or records the files that are left in it.
fn folder(root: &Root, path: &str, fd: &OwnedFd, purged: &mut Purged) -> Result<(), NodeError> {
    let (outer, name) = split(path);
    let Some(outer) = opened(root, outer)? else {
        return Ok(());
    };
    match fs::unlinkat(&outer, name, AtFlags::REMOVEDIR) {
        Ok(()) => {
            purged.gone.push(path.to_owned());
            fs::fsync(&outer).map_err(NodeError::io("sync the folder of", path))
        }
        // The path may be a link that an operator made, and the folder may be a mount.
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => {
            fs::fsync(fd).map_err(NodeError::io("sync", path))?;
            purged.record_left(path, &names(fd, path)?);
            Ok(())
        }
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(NodeError::io("remove", path)(error)),
    }
}

/// Removes a regular file, socket or FIFO. Mirrorshift creates no other kind of file of that name.
fn file(folder: &OwnedFd, name: &str, above: &str, purged: &mut Purged) -> Result<(), NodeError> {
    let shown = join(above, name);
    let kind = match fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(NodeError::io("inspect", shown)(error)),
    };
    if !matches!(kind, FileType::RegularFile | FileType::Socket | FileType::Fifo) {
        return Ok(());
    }
    fs::unlinkat(folder, name, AtFlags::empty()).map_err(NodeError::io("remove", shown.as_str()))?;
    purged.gone.push(shown);
    Ok(())
}

fn names(folder: &OwnedFd, shown: &str) -> Result<Vec<String>, NodeError> {
    let io = || NodeError::io("list", shown);
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(io())? {
        let name = entry.map_err(io())?.file_name().to_string_lossy().into_owned();
        if !matches!(&*name, "." | "..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn opened(root: &Root, path: &str) -> Result<Option<OwnedFd>, NodeError> {
    match root.folder(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(NodeError::io("open", path)(error)),
    }
}
