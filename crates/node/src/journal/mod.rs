//! The journal: what was changed, what is being changed, and the original files.
//!
//! The records, the file that holds them, the state folder around it and the lock of its one writer are here. Nothing here
//! changes a file of the node.

/// The journal's file: loading, saving and pruning it.
pub(crate) mod file;
/// The lock that admits one writer at a time.
pub(crate) mod lock;
/// The records: changes, steps, files and the causes of an undo.
pub(crate) mod record;
/// The folder that holds the journal, the backups and the lock.
pub(crate) mod state_dir;
/// The state of the journal, read without the lock.
pub(crate) mod status;
