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

/// One change: its preconditions, its loop and its way back.
mod change;
/// containerd's socket: its own services and CRI.
mod containerd;
/// The errors of this crate, with advice.
mod error;
/// Facts about the running node.
mod facts;
/// Files under a root.
mod files;
/// The journal and the state folder.
mod journal;
/// The copy of the program on the node.
mod program;
/// Removes every file of Mirrorshift from a node.
mod purge;
/// Runs the node's containerd in a sandbox before a change.
mod rehearsal;
/// The running containerd of a change.
mod runtime;
/// systemd over D-Bus.
mod systemd;

pub use crate::change::outcome::{ChangeError, NodeErrorKind, OpenError, Outcome, Report};
pub use crate::change::repair::{Drift, drifted, retain_copies};
pub use crate::change::runtime::{Runtime, RuntimeState, ServiceRecord};
pub use crate::change::session::{ChangePlan, Session};
pub use crate::containerd::cri::{Condition, Container, CriStatus, PodSandbox};
pub use crate::containerd::messages::{ContainerState, SandboxState, TaskState};
pub use crate::containerd::services::{Deprecation, Ingest, Plugin, PluginStatus, Task};
pub use crate::containerd::socket::{CallError, Socket};
pub use crate::error::NodeError;
pub use crate::facts::baseline::{Baseline, HealthReport};
pub use crate::facts::boot::boot_id;
pub use crate::facts::daemons::{Daemon, Shim};
pub use crate::facts::distribution::{DISTRIBUTIONS, DetectionInput, Distribution, Marker, Owner, owner};
pub use crate::facts::fact::Fact;
pub use crate::facts::gather::observe;
pub use crate::facts::launch::Launch;
pub use crate::facts::mounts::Mount;
pub use crate::facts::node_facts::{Containerd, Cri, Facts, ObserveError, ObserveOptions, Serving};
pub use crate::facts::path_facts::{FileFact, FolderFact, FreeSpace, PathFacts};
pub use crate::facts::preflight_input::ChangeIntent;
pub use crate::facts::started::Started;
pub use crate::files::entry::{FILE_LIMIT, FOLDER_LIMIT};
pub use crate::files::root::{Root, RootError};
pub use crate::journal::file::{Change, FileRecord, JournalError, OwnedFile, StepRecord};
pub use crate::journal::state_dir::{RUN_DIR, STATE_DIR};
pub use crate::journal::status::{Status, StatusError, status};
pub use crate::journal::undo_cause::UndoCause;
pub use crate::program::{PROGRAM, install};
pub use crate::purge::{PurgeError, Purged, purge};
pub use crate::rehearsal::Rehearsal;
pub use crate::rehearsal::error::RehearsalError;
pub use crate::rehearsal::in_sandbox::{InsideError, inside};
pub use crate::rehearsal::request::SandboxTimeouts;
pub use crate::runtime::boot_guard::{Commands, PROOF, guard_is_left};
pub use crate::runtime::deadline::now as since_boot;
pub use crate::runtime::kill_change_unit::{CHANGE, change_is_left, kill_change_unit};
pub use crate::runtime::systemd_runtime::{Expectations, NoRuntime, RuntimeTimeouts, SystemdRuntime};
pub use crate::systemd::bus::Bus;
pub use crate::systemd::environment::Environment;
pub use crate::systemd::error::BusError;
pub use crate::systemd::job::Job;
pub use crate::systemd::job_stream::UnitJobs;
pub use crate::systemd::transient::{Exec, Property};
pub use crate::systemd::unit::{ExecStart, Unit, UnitTimestamps};

/// The messages of CRI and containerd, for the lab of the tests, which serves as kubelet.
#[doc(hidden)]
pub mod messages {
    pub use crate::containerd::messages::*;
}
