//! The conditions of a running node that preflight checks.

use mirrorshift_containerd::Version;
use std::fmt;

/// The conditions that decide whether a change may start. `None` means that the value could not be observed.
#[derive(Clone, Debug)]
pub struct NodeConditions {
    /// The version of systemd, such as 252.
    pub systemd: Option<u32>,
    /// The version that containerd reports.
    pub version: Version,
    /// The number of containerd daemons that run on the node itself.
    pub daemons: Option<usize>,
    /// True when the daemon that serves CRI is the main process of the unit.
    pub serves_from_unit: Option<bool>,
    /// The configuration file that the unit starts it with.
    pub configured_by: Option<String>,
    /// The configuration file that the plan was made for.
    pub planned_for: String,
    /// The unit's `KillMode`.
    pub kill_mode: Option<String>,
    /// The number of shims that a restart of the unit would kill.
    pub shims_in_unit: Option<usize>,
    /// True when the operator accepts that a restart kills containers.
    pub containers_may_restart: bool,
    /// The state of the unit.
    pub unit: Unit,
    /// The distribution that writes the configuration file.
    pub owner: Option<Owner>,
    /// Every file that the plan replaces or that the daemon has read.
    pub files: Vec<FileConditions>,
    /// The file systems that a change writes to.
    pub space: Vec<Space>,
    /// The state of CRI.
    pub cri: Option<Cri>,
    /// The work that is in progress.
    pub busy: Option<Vec<OngoingWork>>,
}

/// The state of containerd's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// True when the unit is active, and no start or stop is pending.
    pub runs: Option<bool>,
    /// The seconds since the unit failed or systemd restarted it, or `None` when neither ever happened.
    pub troubled: Option<u64>,
}

/// A distribution that writes the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The name of the distribution.
    pub name: String,
    /// The distribution's own way to set mirrors, as a sentence without its full stop.
    pub way: String,
}

/// The properties of a file that decide whether it can be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConditions {
    /// The path, as the plan names it.
    pub path: String,
    /// True when the file was modified after the daemon was started, so that the daemon runs with other contents.
    pub newer_than_daemon: Option<bool>,
    /// True when the file itself is a mount point.
    pub mounted: Option<bool>,
    /// True when the file is marked immutable or append-only.
    pub protected: Option<bool>,
    /// True when the file is on a read-only file system.
    pub read_only: Option<bool>,
    /// True when the file is on a file system that a reboot empties.
    pub volatile: Option<bool>,
    /// True when links lead out of the folders that belong to containerd.
    pub outside: Option<bool>,
}

/// The free space of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// A folder on the file system.
    pub path: String,
    /// The number of free bytes.
    pub free: Option<u64>,
    /// The number of bytes that must be free.
    pub needed: u64,
}

/// The state of CRI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cri {
    /// CRI is ready.
    Ready,
    /// CRI did not load, because of the settings that the plan repairs.
    DeadOfSettings,
    /// CRI did not load, or is not ready, for another reason.
    Dead,
}

/// Work in progress that is worth waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OngoingWork {
    /// Images are being pulled.
    Pulls(usize),
    /// Sandboxes or containers are being created.
    Creating(usize),
    /// A job of systemd for the unit is pending.
    Job(String),
}

impl fmt::Display for OngoingWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pulls(count) => write!(f, "{count} images are being pulled"),
            Self::Creating(count) => write!(f, "{count} sandboxes or containers are being created"),
            Self::Job(job) => write!(f, "systemd is about to {job}"),
        }
    }
}
