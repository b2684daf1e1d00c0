//! The folders under `/run/mirrorshift`: one per run, readable only by root, removed by a reboot.

use crate::error::CommandError;
use crate::exit::Exit;
use mirrorshift_node::RUN_DIR;
use std::fs::{
    DirBuilder, OpenOptions, {self},
};
use std::io::{
    Write, {self},
};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// The file of a change request. A folder with this file belongs to a change.
pub(crate) const REQUEST: &str = mirrorshift_node::RUN_REQUEST;
/// The file with the identifier of the run that was started last.
const LAST: &str = "last";

/// The path of a file of a run.
pub(crate) fn path(run: &str, name: &str) -> PathBuf {
    [RUN_DIR, run, name].iter().collect()
}

/// Creates the folder of a new run.
pub(crate) fn make(run: &str) -> Result<(), CommandError> {
    let private = |path: PathBuf| match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    private(RUN_DIR.into())
        .and_then(|()| private([RUN_DIR, run].iter().collect()))
        .map_err(|error| failed("create a folder in", &error))
}

/// Records the run as the last started run, and removes the folders of earlier runs.
pub(crate) fn mark_started(run: &str) -> Result<(), CommandError> {
    replace(&[RUN_DIR, LAST].iter().collect::<PathBuf>(), run.as_bytes())
        .map_err(|error| failed("write to", &error))?;
    for entry in fs::read_dir(RUN_DIR).into_iter().flatten().flatten() {
        let is_run = entry.path().join(REQUEST).exists();
        if is_run && entry.file_name().to_str() != Some(run) {
            // The next boot removes a folder that cannot be removed now.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(())
}

/// Removes the folder of a run.
pub(crate) fn remove(run: &str) {
    fs::remove_dir_all([RUN_DIR, run].iter().collect::<PathBuf>()).ok();
}

/// The run that was started last since the machine was booted.
pub(crate) fn latest_run() -> Option<String> {
    fs::read_to_string([RUN_DIR, LAST].iter().collect::<PathBuf>()).ok()
}

/// Writes a file and renames it into its place, so that a reader never sees half of it.
pub(crate) fn replace(path: &PathBuf, contents: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(contents)?;
    fs::rename(new, path)
}

pub(crate) fn failed(action: &str, error: &io::Error) -> CommandError {
    CommandError::new(Exit::Refused, "io", format!("cannot {action} `{RUN_DIR}`: {error}"))
        .hint("run the command as root; the folder is in memory and needs a few kilobytes")
}
