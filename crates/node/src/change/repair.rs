//! Repairs hosts.toml files that Mirrorshift wrote and that another program modified or removed.
//!
//! The journal has only the digests of written files, and the backups hold the original files. So the agent has copies made
//! while the files are unmodified, and a repair restores these copies.

use crate::change::change_plan::ChangePlan;
use crate::change::outcome::OpenError;
use crate::error::NodeError;
use crate::files::root::{Root, join, split};
use crate::files::stage::remove;
use crate::journal::file::Journal;
use crate::journal::lock::{
    NotLocked, {self},
};
use crate::journal::record::Change;
use crate::journal::state_dir::{StateDir, list, make_folder, open_in, read, write};
use crate::journal::status::Status;
use crate::paths::{COPIES, STATE_DIR};
use mirrorshift_containerd::Entry;
use mirrorshift_plan::{Digest, Expect, Step};
use rustix::fs::{
    AtFlags, {self},
};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// The name of the files that can be repaired. containerd reads them at every pull, so that a repair needs no restart.
const REPAIRED: &str = "/hosts.toml";
/// The mode of a restored file whose change is no longer recorded.
const PRIVATE: u32 = 0o600;

/// A file that no longer holds what Mirrorshift wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The file, by the path of the plan that wrote it.
    pub path: String,
    /// The owner's uid and the time of the last modification, in seconds since 1970. `None` if the file does not exist.
    pub now: Option<(u32, i64)>,
    /// True if [`Session::repair`](crate::change::session::Session::repair) can restore the file.
    pub repairable: bool,
}

/// Returns the files of `status` that no longer hold what was written, by path. Writes nothing.
pub fn drifted(root: &Root, status: &Status) -> Vec<Drift> {
    let state = StateDir::open_existing(root).ok().flatten();
    let drift = |path: &str, digest: Digest| {
        let entry = root.entry(path);
        let there = match &entry {
            Entry::File(bytes) if Digest::of(bytes) == digest => return None,
            Entry::File(_) | Entry::Absent => true,
            _ => false,
        };
        let copy = state.as_ref().and_then(|state| read_copy(state, digest).ok().flatten());
        let (folder, name) = split(path);
        let stat = root
            .folder(folder)
            .and_then(|folder| fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW));
        Some(Drift {
            path: path.to_owned(),
            now: stat.ok().map(|stat| (stat.st_uid, stat.st_mtime)),
            repairable: there && path.ends_with(REPAIRED) && copy.is_some(),
        })
    };
    let owned = status.owned.iter();
    owned.filter_map(|(path, owned)| drift(path, owned.digest)).collect()
}

/// Copies every unmodified hosts.toml that Mirrorshift wrote and that has no copy yet, readable only by root. Removes copies that
/// are no longer needed. While another process changes the node it does nothing, and the next call makes the copies.
///
/// # Guarantees
/// Writes only in [`STATE_DIR`].
///
/// # Errors
/// [`OpenError`]. Files that were not copied yet have no copy.
pub fn retain_copies(root: &Root) -> Result<(), OpenError> {
    let Some(state) = StateDir::open_existing(root)? else {
        return Ok(());
    };
    if copies_to_change(root, &state, &Journal::load(&state)?)?.is_empty() {
        return Ok(());
    }
    let (state, _lock) = match lock::acquire(root) {
        Ok(taken) => taken,
        Err(NotLocked::Held(_)) => return Ok(()),
        Err(NotLocked::Error(error)) => return Err(error.into()),
    };
    let shown = join(STATE_DIR, COPIES);
    let io = |action| NodeError::io(action, shown.as_str());
    make_folder(&state.fd, COPIES, 0o700).map_err(io("create"))?;
    let folder = open_in(&state.fd, COPIES).map_err(io("open"))?;
    for (name, wanted) in copies_to_change(root, &state, &Journal::load(&state)?)? {
        match wanted {
            Some(bytes) => write(&folder, &name, &bytes, &join(&shown, &name))?,
            None => remove(&folder, &name).map_err(io("remove"))?,
        }
    }
    Ok(())
}

/// Returns the changes that the copies need, by name: contents to write, or `None` for a copy to remove.
fn copies_to_change(
    root: &Root,
    state: &StateDir,
    journal: &Journal,
) -> Result<BTreeMap<String, Option<Vec<u8>>>, NodeError> {
    let mut pending: BTreeMap<String, Option<Vec<u8>>> =
        copy_names(state)?.into_iter().map(|name| (name, None)).collect();
    for (path, owned) in journal.owned.iter().filter(|(path, _)| path.ends_with(REPAIRED)) {
        let name = owned.digest.to_string();
        if read_copy(state, owned.digest)?.is_some() {
            pending.remove(&name);
        } else if let Entry::File(bytes) = root.entry(path)
            && Digest::of(&bytes) == owned.digest
        {
            pending.insert(name, Some(bytes));
        }
    }
    Ok(pending)
}

fn copy_names(state: &StateDir) -> Result<Vec<String>, NodeError> {
    match open_in(&state.fd, COPIES).and_then(|folder| list(&folder)) {
        Err(Errno::NOENT) => Ok(Vec::new()),
        other => other.map_err(NodeError::io("list", join(STATE_DIR, COPIES))),
    }
}

/// Reads the copy of a digest. Returns `None` if there is no valid copy.
fn read_copy(state: &StateDir, digest: Digest) -> Result<Option<Vec<u8>>, NodeError> {
    let name = digest.to_string();
    let shown = join(&join(STATE_DIR, COPIES), &name);
    let folder = match open_in(&state.fd, COPIES) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(NodeError::io("open", shown)(error)),
    };
    Ok(read(&folder, &name, &shown)?.filter(|bytes| Digest::of(bytes) == digest))
}

/// Returns the plan that restores the drifted files. `None` if no file has drifted, or no drifted file has a copy.
pub(crate) fn plan(
    root: &Root,
    state: &StateDir,
    journal: &Journal,
    containerd: &str,
) -> Result<Option<ChangePlan>, NodeError> {
    let (mut steps, mut mode, mut named) = (Vec::new(), 0o777, vec!["mending".to_owned()]);
    for (path, owned) in journal.owned.iter().filter(|(path, _)| path.ends_with(REPAIRED)) {
        let expect = match root.entry(path) {
            Entry::File(bytes) if Digest::of(&bytes) == owned.digest => continue,
            Entry::File(bytes) => Expect::File(Digest::of(&bytes)),
            Entry::Absent => Expect::Absent,
            _ => continue,
        };
        let Some(content) = read_copy(state, owned.digest)? else {
            continue;
        };
        let wrote = |change: &&Change| change.steps.iter().any(|step| step.path == *path);
        let before = journal.history.iter().rfind(wrote);
        mode &= before.map_or(PRIVATE, |change| change.new_file_mode);
        named.push(format!("{path} {expect:?} {}", owned.digest));
        steps.push(Step {
            path: path.clone(),
            expect,
            content: Some(content),
            why: "another program modified a file that was migrated".to_owned(),
        });
    }
    Ok((!steps.is_empty()).then(|| ChangePlan {
        digest: Digest::of(named.join("\n").as_bytes()),
        containerd: containerd.to_owned(),
        new_file_mode: mode,
        steps,
    }))
}
