//! Reads and changes a Linux machine: a node's files under a root, and its running containerd.
//!
//! [`Root`] opens files. [`Session`] holds the lock and makes changes: it observes the files, calls
//! [`mirrorshift_plan::change::decide`] for the next move, performs the move and observes again. A crash at any point leaves
//! the original or the new file in each place. [`status()`] reads the journal. Everything that Mirrorshift keeps on a node is
//! in [`STATE_DIR`] under the root.
//!
//! [`observe`] gathers the facts of a running node. [`SystemdRuntime`] restarts and checks containerd during a change, and
//! [`Rehearsal`] starts it in a sandbox before a change.
//!
//! This crate never decides what to change, never leaves the root, never writes a file in place, never follows a link while
//! writing, never deletes a file that the journal does not record as created, and never reads the time of day or the
//! environment: it measures durations by the clock since boot. Programs run as units of systemd at the caller's request. The
//! programs that this crate starts itself are `systemctl`, if D-Bus disappears during a change, and containerd, in the
//! sandbox of a rehearsal. It requires `openat2` (Linux 5.6 or newer).

/// One change: its preconditions, its loop and its way back.
mod change;
/// containerd's socket: its own services and CRI.
mod containerd;
/// The errors of this crate, with advice.
mod error;
/// Text of errors and of other programs' messages.
mod error_text;
/// Facts about the running node.
mod facts;
/// Files under a root.
mod files;
/// The journal and the state folder.
mod journal;
/// The paths and file names that Mirrorshift keeps on a node.
mod paths;
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

pub use crate::change::change_plan::ChangePlan;
pub use crate::change::outcome::{ChangeError, NodeErrorKind, OpenError, Outcome, Report};
pub use crate::change::repair::{Drift, drifted, retain_copies};
pub use crate::change::runtime::{Runtime, RuntimeState};
pub use crate::change::session::Session;
pub use crate::containerd::cri::{Condition, Container, CriStatus, PodSandbox};
pub use crate::containerd::messages::{ContainerState, SandboxState, TaskState};
pub use crate::containerd::services::{Deprecation, Ingest, Plugin, PluginStatus, Task};
pub use crate::containerd::socket::{CallError, Socket};
pub use crate::error::NodeError;
pub use crate::error_text::error_chain;
pub use crate::facts::baseline::{Baseline, HealthReport};
pub use crate::facts::boot::boot_id;
pub use crate::facts::daemons::{Daemon, Shim};
pub use crate::facts::distribution::{DISTRIBUTIONS, DetectionInput, Distribution, Marker, Owner, owner};
pub use crate::facts::fact::Fact;
pub use crate::facts::gather::{inspect_files, list_images, observe};
pub use crate::facts::launch::Launch;
pub use crate::facts::mounts::Mount;
pub use crate::facts::node_facts::{Containerd, Cri, Facts, ObserveError, ObserveOptions, Serving};
pub use crate::facts::path_facts::{FileFact, FolderFact, FreeSpace, PathFacts};
pub use crate::facts::preflight_input::ChangeIntent;
pub use crate::facts::started::Started;
pub use crate::files::entry::{FILE_LIMIT, FOLDER_LIMIT};
pub use crate::files::root::{Root, RootError};
pub use crate::journal::file::JournalError;
pub use crate::journal::record::{Change, FileRecord, OwnedFile, ServiceRecord, StepRecord, UndoCause};
pub use crate::journal::status::{Status, StatusError, status};
pub use crate::paths::{RUN_DIR, RUN_EVENTS, RUN_REQUEST, RUN_RESULT, RUN_RESULT_NEW, STATE_DIR};
pub use crate::program::{PROGRAM, install};
pub use crate::purge::{PurgeError, Purged, purge};
pub use crate::rehearsal::Rehearsal;
pub use crate::rehearsal::error::RehearsalError;
pub use crate::rehearsal::in_sandbox::{InSandboxError, run_in_sandbox};
pub use crate::rehearsal::request::SandboxTimeouts;
pub use crate::runtime::boot_guard::{Commands, PROOF_FILE, boot_guard_exists};
pub use crate::runtime::deadline::now as since_boot;
pub use crate::runtime::kill_change_unit::{CHANGE_UNIT, is_change_running, kill_change_unit};
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
