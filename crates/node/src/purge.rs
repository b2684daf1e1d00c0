//! Takes every trace of the tool off a node, and nothing of what it migrated.
//!
//! What is taken away is named here one by one: the tool's names in its own folders. Whatever else lies there is somebody
//! else's; it is left, with the folder that it lies in, and told.

use crate::change::outcome::OpenError;
use crate::error::NodeError;
use crate::files::root::{Root, join, split};
use crate::journal::file as journal_file;
use crate::journal::file::Journal;
use crate::journal::lock::{
    NotLocked, {self},
};
use crate::journal::state_dir::{self, StateDir};
use crate::paths::{self, RUN_DIR, STATE_DIR};
use crate::runtime::boot_guard::{ARMED, PROOF, take_away_guards};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, {self},
};
use rustix::io::Errno;

/// What a run of the unit that changes a node keeps there, in a folder of its own.
const RUN_FILES: [&str; 4] = ["order.json", "events", "end.json", "end.new"];
/// Where the copy of the program lies that runs on the node.
const BIN: &str = "bin";

/// What a purge did: paths as the node sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// What was taken away, in that order.
    pub gone: Vec<String>,
    /// What lies among it and is not the tool's.
    pub left: Vec<String>,
}

impl Purged {
    /// What is left in a folder. Folders of it whose content is told already stay because of that.
    fn tell(&mut self, folder: &str, names: &[String]) {
        let told = |path: &String| self.left.iter().any(|left| left.starts_with(&format!("{path}/")));
        let paths = names.iter().map(|name| join(folder, name));
        let left: Vec<String> = paths.filter(|path| !told(path)).collect();
        self.left.extend(left);
    }
}

/// Why nothing was purged, or not all.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The lock is held, or the journal cannot be trusted. Nothing was taken away.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A change is unsettled: what would be purged is what undoes it. Nothing was taken away.
    #[error("the change `{0}` is not over, and what undoes it is not taken away")]
    Unsettled(String),
    /// Something could not be taken away; what was named before it is gone.
    #[error("not everything could be taken away")]
    Trouble(#[from] NodeError),
}

impl PurgeError {
    /// What to do about it, as a sentence without its full stop.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open(error) => error.hint(),
            Self::Unsettled(_) => Some("bring it to an end with `migrate` or `rollback` first"),
            Self::Trouble(trouble) => trouble.hint(),
        }
    }
}

/// Takes away the guard's units where they were left over a change that is over, the journal, the backups, the program's
/// copy, the lock, `/run/mirrorshift`, and the folders that are empty then. Files that were migrated stay as they are; no
/// change can be rolled back afterwards.
///
/// # Guarantees
/// The journal goes before what it names, so a purge that is cut short leaves files that the next one takes away, and no
/// journal of backups that are gone. No symbolic link is followed.
///
/// # Errors
/// [`PurgeError`].
pub fn purge(root: &Root) -> Result<Purged, PurgeError> {
    let mut purged = Purged::default();
    if StateDir::open_existing(root).map_err(OpenError::from)?.is_some() {
        let (state, lock) = lock::acquire(root).map_err(|not| match not {
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
        purged.gone.extend(take_away_guards(root, &units)?);
        own(&state, &mut purged)?;
        // The last thing that is needed: whoever waits for it begins anew.
        lock::remove_file(&state).map_err(NodeError::io("take away", join(STATE_DIR, lock::NAME)))?;
        drop(lock);
        folder(root, STATE_DIR, &state.fd, &mut purged)?;
    } else {
        purged.gone.extend(take_away_guards(root, &[])?);
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
            // The program, and a copy of it that was never finished.
            if name.trim_start_matches('.').starts_with("mirrorshift") {
                file(bin, &name, shown, purged)?;
            }
        }
        Ok(())
    })
}

/// What lies in memory: the folder with whatever the tool put into it, and the proof that the guard works.
fn runtime(root: &Root, purged: &mut Purged) -> Result<(), NodeError> {
    let (outer, name) = split(PROOF);
    if let Some(fd) = opened(root, outer)? {
        file(&fd, name, outer, purged)?;
        file(&fd, split(ARMED).1, outer, purged)?;
        inner(&fd, split(RUN_DIR).1, outer, purged, |folder, shown, purged| {
            for name in names(folder, shown)? {
                file(folder, &name, shown, purged)?;
                // One for each run of the unit that changes the node.
                inner(folder, &name, shown, purged, |run, shown, purged| {
                    RUN_FILES.iter().try_for_each(|name| file(run, name, shown, purged))
                })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Does `clear` in a folder of this name, then takes it away if it is empty.
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
        // Something else of that name is not the tool's.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(error) => return Err(NodeError::io("open", shown)(error)),
    };
    clear(&fd, &shown, purged)?;
    match fs::unlinkat(outer, name, AtFlags::REMOVEDIR) {
        Ok(()) => purged.gone.push(shown),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            purged.tell(&shown, &names(&fd, &shown)?);
        }
        Err(Errno::NOENT) => {}
        Err(error) => return Err(NodeError::io("take away", shown)(error)),
    }
    Ok(())
}

/// Takes the state folder itself away, or tells what is left in it.
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
        // A link to it is somebody's arrangement; the folder that it names may be a mount.
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => {
            fs::fsync(fd).map_err(NodeError::io("sync", path))?;
            purged.tell(path, &names(fd, path)?);
            Ok(())
        }
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(NodeError::io("take away", path)(error)),
    }
}

/// Takes a regular file, socket or FIFO away. Anything else of that name was not made by the tool.
fn file(folder: &OwnedFd, name: &str, above: &str, purged: &mut Purged) -> Result<(), NodeError> {
    let shown = join(above, name);
    let kind = match fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(NodeError::io("look at", shown)(error)),
    };
    if !matches!(kind, FileType::RegularFile | FileType::Socket | FileType::Fifo) {
        return Ok(());
    }
    fs::unlinkat(folder, name, AtFlags::empty()).map_err(NodeError::io("take away", shown.as_str()))?;
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
