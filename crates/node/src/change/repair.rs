//! Puts back what this tool wrote into hosts.toml files, where somebody wrote over it or took it away.
//!
//! The journal knows what was written by its digest alone, and backups hold what stood there before. So whoever keeps a node has
//! copies made while the files are as they were written, and those are what is put back.

use crate::change::outcome::OpenError;
use crate::change::session::ChangePlan;
use crate::error::NodeError;
use crate::files::root::{Root, join, split};
use crate::files::stage::remove;
use crate::journal::file::Journal;
use crate::journal::lock::{
    NotLocked, {self},
};
use crate::journal::state_dir::{COPIES, STATE_DIR, StateDir, list, make_folder, open_in, read, write};
use crate::journal::status::Status;
use mirrorshift_containerd::Entry;
use mirrorshift_plan::{Digest, Expect, Step};
use rustix::fs::{
    AtFlags, {self},
};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// containerd reads these at every pull, so that putting one back takes no restart.
const MENDED: &str = "/hosts.toml";
/// Of a file that is gone and whose change is forgotten.
const PRIVATE: u32 = 0o600;

/// A file that does not hold what this tool wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The file, by the path of the plan that wrote it.
    pub path: String,
    /// Whose it is now and when it was written last, in seconds since 1970; nothing when it is gone.
    pub now: Option<(u32, i64)>,
    /// [`Session::mend`](crate::change::session::Session::mend) would put it back.
    pub mendable: bool,
}

/// The files of `status` that do not hold what was written, by path. Writes nothing.
pub fn drifted(root: &Root, status: &Status) -> Vec<Drift> {
    let state = StateDir::open_existing(root).ok().flatten();
    let drift = |path: &str, digest: Digest| {
        let entry = root.entry(path);
        let there = match &entry {
            Entry::File(bytes) if Digest::of(bytes) == digest => return None,
            Entry::File(_) | Entry::Absent => true,
            _ => false,
        };
        let copy = state.as_ref().and_then(|state| copy(state, digest).ok().flatten());
        let (folder, name) = split(path);
        let stat = root
            .folder(folder)
            .and_then(|folder| fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW));
        Some(Drift {
            path: path.to_owned(),
            now: stat.ok().map(|stat| (stat.st_uid, stat.st_mtime)),
            mendable: there && path.ends_with(MENDED) && copy.is_some(),
        })
    };
    let owned = status.owned.iter();
    owned.filter_map(|(path, owned)| drift(path, owned.digest)).collect()
}

/// Makes a copy of every hosts.toml that holds what this tool wrote and of which there is none, for root alone, and takes
/// away those that nobody needs. While somebody changes the node nothing is done, and the next call does it.
///
/// # Guarantees
/// Writes in [`STATE`] alone.
///
/// # Errors
/// [`OpenError`], without what was not copied yet.
pub fn retain_copies(root: &Root) -> Result<(), OpenError> {
    let Some(state) = StateDir::open_existing(root)? else {
        return Ok(());
    };
    if wanting(root, &state, &Journal::load(&state)?)?.is_empty() {
        return Ok(());
    }
    let (state, _lock) = match lock::take(root) {
        Ok(taken) => taken,
        Err(NotLocked::Held(_)) => return Ok(()),
        Err(NotLocked::Trouble(trouble)) => return Err(trouble.into()),
    };
    let shown = join(STATE_DIR, COPIES);
    let io = |action| NodeError::io(action, shown.as_str());
    make_folder(&state.fd, COPIES, 0o700).map_err(io("make"))?;
    let folder = open_in(&state.fd, COPIES).map_err(io("open"))?;
    for (name, wanted) in wanting(root, &state, &Journal::load(&state)?)? {
        match wanted {
            Some(bytes) => write(&folder, &name, &bytes, &join(&shown, &name))?,
            None => remove(&folder, &name).map_err(io("clear"))?,
        }
    }
    Ok(())
}

/// What is to be done to the copies: bytes to write, or a file to take away, by name.
fn wanting(root: &Root, state: &StateDir, journal: &Journal) -> Result<BTreeMap<String, Option<Vec<u8>>>, NodeError> {
    let mut wanting: BTreeMap<String, Option<Vec<u8>>> = names(state)?.into_iter().map(|name| (name, None)).collect();
    for (path, owned) in journal.owned.iter().filter(|(path, _)| path.ends_with(MENDED)) {
        let name = owned.digest.to_string();
        if copy(state, owned.digest)?.is_some() {
            wanting.remove(&name);
        } else if let Entry::File(bytes) = root.entry(path)
            && Digest::of(&bytes) == owned.digest
        {
            wanting.insert(name, Some(bytes));
        }
    }
    Ok(wanting)
}

fn names(state: &StateDir) -> Result<Vec<String>, NodeError> {
    match open_in(&state.fd, COPIES).and_then(|folder| list(&folder)) {
        Err(Errno::NOENT) => Ok(Vec::new()),
        other => other.map_err(NodeError::io("list", join(STATE_DIR, COPIES))),
    }
}

/// The bytes of a digest, where there is a copy that holds them.
fn copy(state: &StateDir, digest: Digest) -> Result<Option<Vec<u8>>, NodeError> {
    let name = digest.to_string();
    let shown = join(&join(STATE_DIR, COPIES), &name);
    let folder = match open_in(&state.fd, COPIES) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(NodeError::io("open", shown)(error)),
    };
    Ok(read(&folder, &name, &shown)?.filter(|bytes| Digest::of(bytes) == digest))
}

/// What puts them back; nothing when all hold what was written, or what holds something else has no copy.
pub(crate) fn plan(
    root: &Root,
    state: &StateDir,
    journal: &Journal,
    containerd: &str,
) -> Result<Option<ChangePlan>, NodeError> {
    let (mut steps, mut mode, mut named) = (Vec::new(), 0o777, vec!["mending".to_owned()]);
    for (path, owned) in journal.owned.iter().filter(|(path, _)| path.ends_with(MENDED)) {
        let expect = match root.entry(path) {
            Entry::File(bytes) if Digest::of(&bytes) == owned.digest => continue,
            Entry::File(bytes) => Expect::File(Digest::of(&bytes)),
            Entry::Absent => Expect::Absent,
            _ => continue,
        };
        let Some(content) = copy(state, owned.digest)? else {
            continue;
        };
        let wrote = |change: &&crate::journal::file::Change| change.steps.iter().any(|step| step.path == *path);
        let before = journal.history.iter().rfind(wrote);
        mode &= before.map_or(PRIVATE, |change| change.new_file_mode);
        named.push(format!("{path} {expect:?} {}", owned.digest));
        steps.push(Step {
            path: path.clone(),
            expect,
            content: Some(content),
            why: "somebody wrote over what was migrated".to_owned(),
        });
    }
    Ok((!steps.is_empty()).then(|| ChangePlan {
        digest: Digest::of(named.join("\n").as_bytes()),
        containerd: containerd.to_owned(),
        new_file_mode: mode,
        steps,
    }))
}
