//! The paths and file names that Mirrorshift keeps on a node, in one place.

/// The state directory: journal, backups, copies and the program.
pub const STATE_DIR: &str = "/var/lib/mirrorshift";
/// The directory of files that may be lost at a reboot.
pub const RUN_DIR: &str = "/run/mirrorshift";

/// The request of a run, in its folder under [`RUN_DIR`].
pub const RUN_REQUEST: &str = "order.json";
/// The progress of a run, in the same folder.
pub const RUN_EVENTS: &str = "events";
/// The result of a run, in the same folder.
pub const RUN_RESULT: &str = "end.json";
/// The result of a run while it is being written.
pub const RUN_RESULT_NEW: &str = "end.new";

/// The backups of the recorded changes, one folder per change, in the state directory.
pub(crate) const CHANGES: &str = "changes";
/// The contents that Mirrorshift wrote to hosts.toml files, by digest, in the state directory. A repair restores them.
pub(crate) const COPIES: &str = "copies";
/// Space that is reserved in the state directory while a change is open, so that an undo can write the journal on a full
/// disk.
pub(crate) const RESERVE: &str = "reserve";

/// Returns the path of a backup.
pub(crate) fn backup_path(change: &str, step: usize) -> String {
    format!("{STATE_DIR}/{CHANGES}/{change}/{step}")
}
