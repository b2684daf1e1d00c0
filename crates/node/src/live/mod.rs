//! The facts of a running node: what systemd, containerd and the kernel say at one moment.
//!
//! [`observe`] gathers them. Nothing here decides anything; what cannot be learnt is [`Known::Unknown`] with its reason.
//! [`Bus`] also asks systemd to act, at its caller's word: it is the only place from which a unit is started or stopped.
//!
//! Every call has a deadline. All of it blocks, and must not be called from within an asynchronous runtime's thread.

/// What is known, or why not.
mod known;
pub use known::Fact;
/// systemd over the system bus.
mod bus;
/// One thread that waits for answers, never longer than it was told.
mod patience;
/// The same by systemd's own program, where there is no bus.
mod systemctl;
pub use bus::{Bus, BusError, Environment, Exec, ExecStart, Job, Property, Unit, UnitJobs, UnitTimestamps};
/// Who listens at a socket.
mod peer;
/// Calls over containerd's socket.
mod socket;
pub use socket::{CallError, Socket};
/// containerd's own services.
mod containerd;
/// What goes over it.
mod messages;
pub use containerd::{Deprecation, Ingest, Plugin, PluginStatus, Task, TaskState};
/// CRI, as kubelet asks it.
mod cri;
pub use cri::{Condition, Container, ContainerState, CriStatus, PodSandbox, SandboxState};
/// Which processes are containerd, which of them serves, and its shims.
mod daemons;
/// One process, as the kernel describes it.
mod process;
pub use daemons::{Daemon, Shim};
/// What containerd was started with.
mod launch;
pub use launch::Launch;
/// When the daemon was started, and whether the clock was set since.
mod started;
pub use started::Started;
/// Mounts, as the kernel lists them.
mod mounts;
pub use mounts::Mount;
/// What stands in the way of changing a file or folder.
mod place;
pub use place::{FileFact, FolderFact, FreeSpace, PathFacts};
/// Who writes config.toml.
mod owner;
pub use owner::{DISTRIBUTIONS, DetectionInput, Distribution, Marker, Owner, owner};
/// All of it, as one value.
mod facts;
pub use facts::{Containerd, Cri, Facts, ObserveError, ObserveOptions, Serving};
/// Gathers it.
mod gather;
pub use gather::observe;
/// How a containerd serves, against what it did before.
mod baseline;
/// Which containers' output the daemon reads.
mod outputs;
pub use baseline::{Baseline, HealthReport};
/// What undoes a change at the next boot.
mod guard;
pub(crate) use guard::ARMED;
pub(crate) use guard::take_away_guards;
pub use guard::{Commands, PROOF, guard_is_left};
/// What is said to whoever is at the machine.
mod console;
/// Ends what is left of a change, before it is undone.
mod holder;
pub use holder::{CHANGE, change_is_left, kill_change_unit};
/// How long containerd is waited for.
mod deadline;
pub use deadline::now as since_boot;
/// Waits for one that was just started.
mod comes_up;
/// The containerd of a running node, as a change needs it.
mod service;
pub use service::{Expectations, NoRuntime, RuntimeTimeouts, SystemdRuntime};
/// What of it decides whether a change may begin.
mod ground;
pub use ground::ChangeIntent;
/// A change before it is made, in a sandbox.
mod rehearsal;
pub use rehearsal::{InsideError, Rehearsal, RehearsalError, RehearsalTimes, inside};
