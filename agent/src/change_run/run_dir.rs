//! What lies in `/run/mirrorshift`: a folder for each run of the unit, for root alone, gone with a reboot.

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

/// The file that names the run which was started last.
const LAST: &str = "last";

/// A file of a run.
pub(crate) fn path(run: &str, name: &str) -> PathBuf {
    [RUN_DIR, run, name].iter().collect()
}

/// Makes the folder of a run that begins.
pub(crate) fn make(run: &str) -> Result<(), CommandError> {
    let private = |path: PathBuf| match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    private(RUN_DIR.into())
        .and_then(|()| private([RUN_DIR, run].iter().collect()))
        .map_err(|error| failed("make a folder in", &error))
}

/// Names the run that was started last, and takes away what earlier ones have left.
pub(crate) fn mark_started(run: &str) -> Result<(), CommandError> {
    replace(&[RUN_DIR, LAST].iter().collect::<PathBuf>(), run.as_bytes())
        .map_err(|error| failed("write to", &error))?;
    for entry in fs::read_dir(RUN_DIR).into_iter().flatten().flatten() {
        let is_run = entry.path().join("order.json").exists();
        if is_run && entry.file_name().to_str() != Some(run) {
            // What stays is gone with the next boot.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(())
}

/// Takes away the folder of a run that did not begin.
pub(crate) fn take_away(run: &str) {
    fs::remove_dir_all([RUN_DIR, run].iter().collect::<PathBuf>()).ok();
}

/// The run that was started last since the machine was booted.
pub(crate) fn latest_run() -> Option<String> {
    fs::read_to_string([RUN_DIR, LAST].iter().collect::<PathBuf>()).ok()
}

/// Puts a file in place whole, so that nobody reads half of it.
pub(crate) fn replace(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    fs::rename(new, path)
}

pub(crate) fn failed(action: &str, error: &io::Error) -> CommandError {
    CommandError::new(Exit::Refused, "io", format!("cannot {action} `{RUN_DIR}`: {error}"))
        .hint("it is a folder of root's in memory, and needs a few kilobytes")
}
