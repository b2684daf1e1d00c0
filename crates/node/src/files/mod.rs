//! Files under a root: opening, reading, staging and swapping them.
//!
//! Everything here works on paths and contents and follows no link out of the root. Nothing here knows of a change, a
//! journal, systemd or containerd.

/// Reads one path as containerd would find it.
pub(crate) mod entry;
/// Folders that a change creates and removes.
pub(crate) mod folders;
/// Follows links under the root by hand, to name what is wrong with them.
pub(crate) mod resolve;
/// Opens paths under a root without leaving it.
pub(crate) mod root;
/// One file's contents and attributes at one moment, and whether the file may be replaced.
pub(crate) mod snapshot;
/// Writes a finished copy next to a file.
pub(crate) mod stage;
/// Exchanges a file with the copy next to it, and checks the result.
pub(crate) mod swap;
