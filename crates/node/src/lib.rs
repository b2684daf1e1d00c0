//! Performs moves on a Linux machine: reads a node's files below a root, and changes them so that a crash at any point
//! leaves the old bytes or the new bytes of each.
//!
//! [`Root`] reads. [`Session`] holds the lock and changes files: it looks, asks [`mirrorshift_plan::change::decide`] for
//! the next move, performs it and looks again. [`status()`] tells what the journal says. Everything the tool keeps lies in
//! [`STATE`] below the root.
//!
//! [`live`] holds what a running node is: facts, and the one connection over which systemd is asked to act.
//!
//! This crate never decides what to change, never leaves the root, never writes a file in place, never follows a link
//! while writing, never deletes what the journal does not say it made, and never reads the time of day or the environment:
//! what it times, it times by the clock that counts since boot. What runs is started by systemd at its caller's word; the
//! programs that it starts itself are `systemctl`, when the bus is gone in the middle of a change, and containerd, in the
//! sandbox of a rehearsal. Fatal for it are only kernels without `openat2` (before Linux 5.6).

/// Opens what lies below a root without leaving it.
mod root;
pub use root::{Root, RootError};
/// Reads one path as containerd would find it.
mod entry;
/// Follows links below the root by hand, to name what is wrong with them.
mod resolve;
pub use entry::{FILE_LIMIT, FOLDER_LIMIT};
/// What can go wrong, with advice.
mod trouble;
pub use trouble::NodeError;
/// One file's bytes and attributes at one moment, and whether it may be replaced.
mod snapshot;
/// Writes a finished copy beside a file.
mod stage;
/// The folder in which the tool keeps its journal, backups and lock.
mod state;
/// Exchanges a file with the copy beside it, and checks what came out.
mod swap;
pub use state::{RUN_DIR, STATE_DIR};
/// The copy of the program that everything on the node runs from.
mod program;
pub use program::{PROGRAM, install};
/// What was changed, is being changed, and what stood there before.
mod journal;
/// One writer at a time.
mod lock;
pub use journal::{Change, FileRecord, JournalError, OwnedFile, StepRecord};
/// Performs one move.
mod act;
/// Folders that a change has to make, and those that are taken away with it.
mod folders;
/// Looks at a change's files, for the next decision.
mod observe;
/// Takes a settled change back by another one.
mod rollback;
/// The loop: look, decide, act, again.
mod run;
/// The running containerd of a change.
mod runtime;
/// What callers see of it.
mod session;
pub use runtime::{Runtime, RuntimeState, ServiceRecord};
/// Looks at a plan's files before anything is touched.
mod survey;
pub use session::{ChangePlan, Session};
/// How a session ends.
mod outcome;
pub use outcome::{ChangeError, NodeErrorKind, OpenError, Outcome, Report};
/// What the journal says, without a lock.
mod status;
pub use status::{Status, StatusError, status};
/// Why a change was undone, and whether it would be again.
mod undone;
pub use undone::UndoCause;
/// Puts back what this tool wrote, where somebody wrote over it.
mod mend;
pub use mend::{Drift, drifted, retain_copies};
/// Takes every trace of the tool off a node.
mod purge;
pub use purge::{PurgeError, Purged, purge};
/// What systemd, containerd and the kernel say of a running node.
pub mod live;
