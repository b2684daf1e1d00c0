//! The obstacles to changing a running node, each with a message and a hint for the operator.

use crate::preflight::conditions::Owner;
use std::fmt;

/// A reason why a running node is not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A required fact is unknown.
    Unknown(&'static str),
    /// A required fact about a file or folder is unknown.
    UnknownFile {
        /// The file or folder.
        path: String,
        /// The fact, as a phrase that the path follows.
        what: &'static str,
    },
    /// systemd lacks features that the undo relies on.
    OldSystemd {
        /// Its version.
        version: u32,
    },
    /// This release loses the addresses of its sandboxes at a restart, and the kubelet creates every pod again.
    LosesSandboxAddresses {
        /// The release.
        version: String,
    },
    /// No containerd runs.
    NoDaemon,
    /// More than one containerd runs on the node itself.
    ManyDaemons {
        /// The number of daemons.
        count: usize,
    },
    /// The process that serves CRI is not the main process of a unit.
    NotUnderSystemd,
    /// The unit starts containerd with another file than the plan's.
    OtherFile {
        /// The file of the unit.
        unit: String,
        /// The file of the plan.
        plan: String,
    },
    /// A distribution writes the file.
    Owned(Owner),
    /// A restart of the unit would kill containers.
    KillsContainers {
        /// The `KillMode` of the unit.
        mode: String,
        /// The number of shims in its control group.
        shims: usize,
    },
    /// The unit is not active.
    UnitDown,
    /// The unit failed, or systemd restarted it, a short time ago.
    UnitTroubled {
        /// The seconds since then.
        seconds: u64,
    },
    /// A file was modified after containerd was started.
    Newer {
        /// The file.
        path: String,
    },
    /// A file is a mount point.
    Mounted {
        /// The file.
        path: String,
    },
    /// A file is immutable or append-only.
    Protected {
        /// The file.
        path: String,
    },
    /// A file is on a read-only file system.
    ReadOnly {
        /// The file.
        path: String,
    },
    /// A file is on a file system in memory.
    Volatile {
        /// The file.
        path: String,
    },
    /// A file is outside of the folders that belong to containerd.
    Outside {
        /// The file.
        path: String,
    },
    /// A file system has too little free space.
    Space {
        /// A folder on the file system.
        path: String,
        /// The free bytes.
        free: u64,
        /// The required bytes.
        needed: u64,
    },
    /// CRI is not ready, and the plan does not repair that.
    CriDead,
}

/// The fact that follows from a file's times and the start of containerd, unless a clock was set in between.
const IS_LOADED: &str = "whether containerd has read the current";

impl Obstacle {
    /// Returns the stable name.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::UnknownFile { .. } => "unknown",
            Self::OldSystemd { .. } => "old-systemd",
            Self::LosesSandboxAddresses { .. } => "loses-sandbox-addresses",
            Self::NoDaemon => "no-daemon",
            Self::ManyDaemons { .. } => "many-daemons",
            Self::NotUnderSystemd => "not-under-systemd",
            Self::OtherFile { .. } => "other-file",
            Self::Owned(_) => "owned",
            Self::KillsContainers { .. } => "kills-containers",
            Self::UnitDown => "unit-down",
            Self::UnitTroubled { .. } => "unit-troubled",
            Self::Newer { .. } => "newer-than-daemon",
            Self::Mounted { .. } => "mounted",
            Self::Protected { .. } => "protected",
            Self::ReadOnly { .. } => "read-only",
            Self::Volatile { .. } => "volatile",
            Self::Outside { .. } => "outside",
            Self::Space { .. } => "space",
            Self::CriDead => "cri-dead",
        }
    }

    /// Returns the action that removes the obstacle, as a sentence without its full stop.
    pub fn hint(&self) -> String {
        let text = match self {
            Self::UnknownFile { what, .. } if *what == IS_LOADED => {
                "if the clock was set since: `touch` the file, so that its time is of this clock, and restart containerd, so \
                 that it reads the file"
            }
            Self::Unknown(_) | Self::UnknownFile { .. } => {
                "find out why it is unknown: access to D-Bus or the socket may be denied, for example by SELinux or AppArmor"
            }
            Self::OldSystemd { .. } => "use `--no-restart`, and restart containerd in a maintenance window",
            Self::LosesSandboxAddresses { .. } => {
                "upgrade to 1.6.14 or newer first, because any restart of this release loses the addresses"
            }
            Self::NoDaemon => "start containerd, or use `--no-restart`",
            Self::ManyDaemons { .. } => {
                "stop the daemon that does not serve the kubelet, or migrate each with `--root` and `--no-restart`"
            }
            Self::NotUnderSystemd => "use `--no-restart`, and restart containerd in the way in which it was started",
            Self::OtherFile { unit, .. } => return format!("plan for the file of the unit: `--config {unit}`"),
            Self::Owned(owner) => return owner.way.clone(),
            Self::KillsContainers { .. } => {
                "set `KillMode=process` in a drop-in of the unit, or accept it with `--accept-restart-of-containers`"
            }
            Self::UnitDown => "start the unit first, because the change is verified against the running containerd",
            Self::UnitTroubled { .. } => {
                "find out why, and wait until the unit has run for ten minutes without a failure"
            }
            Self::Newer { .. } => {
                "restart containerd first, because the restart of this change would also activate that edit"
            }
            Self::Mounted { .. } => "change the file where it is mounted from, or mount its folder instead",
            Self::Protected { .. } => {
                "find out why the file is protected, then remove the attribute with `chattr -i -a`"
            }
            Self::ReadOnly { .. } | Self::Volatile { .. } => {
                "change the file where the node's image or configuration is built, because an edit on the node is lost"
            }
            Self::Outside { .. } => "replace the link by the file itself, or migrate the file that the link leads to",
            Self::Space { .. } => "free some space",
            Self::CriDead => "repair it first: `crictl info` and the journal of containerd show the cause",
        };
        text.to_owned()
    }

    /// Returns the fact about a file that must be known to rule this obstacle out, as a phrase that the path follows.
    pub(super) fn missing_fact(&self) -> &'static str {
        match self {
            Self::Newer { .. } => IS_LOADED,
            Self::Mounted { .. } => "the mounts of",
            Self::Protected { .. } => "the attributes of",
            Self::ReadOnly { .. } => "the file system of",
            Self::Volatile { .. } => "whether a reboot keeps",
            Self::Outside { .. } => "the real path of",
            _ => "the properties of",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(what) => write!(f, "cannot determine {what}"),
            Self::UnknownFile { path, what } => write!(f, "cannot determine {what} `{path}`"),
            Self::OldSystemd { version } => write!(f, "systemd {version} is older than 239"),
            Self::LosesSandboxAddresses { version } => {
                write!(
                    f,
                    "containerd {version} loses the addresses of its sandboxes when it restarts"
                )
            }
            Self::NoDaemon => f.write_str("no containerd runs"),
            Self::ManyDaemons { count } => write!(f, "{count} containerds run on this node"),
            Self::NotUnderSystemd => {
                f.write_str("the process that serves CRI is not the main process of a systemd unit")
            }
            Self::OtherFile { unit, plan } => {
                write!(f, "containerd was started with `{unit}`, and the plan is for `{plan}`")
            }
            Self::Owned(owner) => write!(f, "{} writes this node's configuration", owner.name),
            Self::KillsContainers { mode, shims } => write!(
                f,
                "a restart would kill {shims} shims and their containers (`KillMode={mode}`)"
            ),
            Self::UnitDown => f.write_str("the unit is not active"),
            Self::UnitTroubled { seconds } => write!(f, "the unit failed, or systemd restarted it, {seconds} s ago"),
            Self::Newer { path } => write!(f, "`{path}` was modified after containerd was started"),
            Self::Mounted { path } => write!(f, "`{path}` is a mount point and cannot be replaced"),
            Self::Protected { path } => write!(f, "`{path}` is immutable or append-only"),
            Self::ReadOnly { path } => write!(f, "`{path}` is on a read-only file system"),
            Self::Volatile { path } => write!(f, "`{path}` is on a file system that a reboot empties"),
            Self::Outside { path } => write!(f, "`{path}` leads out of the folders that belong to containerd"),
            Self::Space { path, free, needed } => {
                write!(
                    f,
                    "the file system of `{path}` has {free} bytes free, but {needed} are required"
                )
            }
            Self::CriDead => f.write_str("CRI is not ready, for a reason that this change does not repair"),
        }
    }
}
