//! What stands in the way of changing a running node, in words for the one who can take it away.

use crate::preflight::Owner;
use std::fmt;

/// Why a running node is not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Something that must be known is not.
    Unknown(&'static str),
    /// Something that must be known of a file is not.
    UnknownFile {
        /// The file or folder.
        path: String,
        /// What.
        what: &'static str,
    },
    /// systemd lacks what the undo relies on.
    OldSystemd {
        /// Its version.
        version: u32,
    },
    /// This release forgets the addresses of its sandboxes at a restart, and kubelet makes every pod anew.
    LosesSandboxAddresses {
        /// The release.
        version: String,
    },
    /// No containerd runs.
    NoDaemon,
    /// More than one containerd runs on the node itself.
    ManyDaemons {
        /// How many.
        count: usize,
    },
    /// What serves CRI is not the main process of a unit.
    NotUnderSystemd,
    /// The unit starts containerd with another file.
    OtherFile {
        /// The unit's.
        unit: String,
        /// The plan's.
        plan: String,
    },
    /// A distribution writes the file.
    Owned(Owner),
    /// A restart of the unit would kill containers.
    KillsContainers {
        /// Its `KillMode`.
        mode: String,
        /// How many shims are inside.
        shims: usize,
    },
    /// The unit is not active.
    UnitDown,
    /// The unit failed or restarted by itself a short while ago.
    UnitTroubled {
        /// Seconds ago.
        seconds: u64,
    },
    /// A file was written after containerd was started.
    Newer {
        /// The file.
        path: String,
    },
    /// A file is mounted by itself.
    Mounted {
        /// The file.
        path: String,
    },
    /// A file is immutable or append-only.
    Protected {
        /// The file.
        path: String,
    },
    /// A file lies on a read-only file system.
    ReadOnly {
        /// The file.
        path: String,
    },
    /// A file lies on a file system in memory.
    Volatile {
        /// The file.
        path: String,
    },
    /// A file lies elsewhere than where containerd's files belong.
    Outside {
        /// The file.
        path: String,
    },
    /// Too little space is left.
    Space {
        /// A folder on the file system.
        path: String,
        /// Bytes free.
        free: u64,
        /// Bytes wanted.
        needed: u64,
    },
    /// CRI is not ready, and the plan does not mend that.
    CriDead,
}

/// Of a file: told by its times and when containerd was started, unless a clock was set in between.
const READ: &str = "whether containerd has read it as it is";

impl Obstacle {
    /// Its stable name.
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

    /// What to do about it, as a sentence without its full stop.
    pub fn hint(&self) -> String {
        let text = match self {
            Self::UnknownFile { what, .. } if *what == READ => {
                "where the clock was set since: `touch` the file, so that its time is of this clock, and restart containerd \
                 yourself, so that it has read it"
            }
            Self::Unknown(_) | Self::UnknownFile { .. } => {
                "find out why it cannot be told: a denied bus or socket, a policy of SELinux or AppArmor"
            }
            Self::OldSystemd { .. } => "use `--no-restart` and restart containerd in a maintenance window",
            Self::LosesSandboxAddresses { .. } => {
                "upgrade to 1.6.14 or newer first; any restart of this release does that"
            }
            Self::NoDaemon => "start containerd, or use `--no-restart`",
            Self::ManyDaemons { .. } => {
                "stop the one that does not serve kubelet, or migrate each with `--root` and `--no-restart`"
            }
            Self::NotUnderSystemd => "use `--no-restart`, and restart containerd in the way that started it",
            Self::OtherFile { unit, .. } => return format!("plan for that file: `--config {unit}`"),
            Self::Owned(owner) => return owner.way.clone(),
            Self::KillsContainers { .. } => {
                "set `KillMode=process` in a drop-in of the unit, or accept it with `--accept-restart-of-containers`"
            }
            Self::UnitDown => "bring the unit up first: what does not run cannot be compared with anything",
            Self::UnitTroubled { .. } => "find out why, and wait until it has been calm for ten minutes",
            Self::Newer { .. } => {
                "restart containerd yourself first: this restart would activate somebody else's edit as well"
            }
            Self::Mounted { .. } => "change the file where it is mounted from, or mount its folder instead",
            Self::Protected { .. } => "take the mark away with `chattr -i -a`, if whoever set it agrees",
            Self::ReadOnly { .. } | Self::Volatile { .. } => {
                "change it where the image or the node's configuration is made: what is written here does not last"
            }
            Self::Outside { .. } => "put the file itself in the place of the link, or migrate what the link leads to",
            Self::Space { .. } => "free some space",
            Self::CriDead => "mend it first: `crictl info` and the journal of containerd say what is wrong",
        };
        text.to_owned()
    }

    /// What has to be known of a file for this not to be raised.
    pub(super) fn missing_fact(&self) -> &'static str {
        match self {
            Self::Newer { .. } => READ,
            Self::Mounted { .. } => "whether it is a mount of its own",
            Self::Protected { .. } => "whether it is immutable",
            Self::ReadOnly { .. } => "whether it can be written",
            Self::Volatile { .. } => "whether it lasts",
            Self::Outside { .. } => "where it lies",
            _ => "what it is",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(what) => write!(f, "it cannot be told {what}"),
            Self::UnknownFile { path, what } => write!(f, "it cannot be told of `{path}` {what}"),
            Self::OldSystemd { version } => write!(f, "systemd {version} is older than 239"),
            Self::LosesSandboxAddresses { version } => {
                write!(
                    f,
                    "containerd {version} forgets the addresses of its sandboxes when it is restarted"
                )
            }
            Self::NoDaemon => f.write_str("no containerd runs"),
            Self::ManyDaemons { count } => write!(f, "{count} containerds run on this node"),
            Self::NotUnderSystemd => f.write_str("what serves CRI is not the main process of a systemd unit"),
            Self::OtherFile { unit, plan } => {
                write!(f, "containerd was started with `{unit}`, and the plan is for `{plan}`")
            }
            Self::Owned(owner) => write!(f, "{} writes this node's configuration", owner.name),
            Self::KillsContainers { mode, shims } => write!(
                f,
                "a restart would kill {shims} shims and their containers (`KillMode={mode}`)"
            ),
            Self::UnitDown => f.write_str("the unit is not active"),
            Self::UnitTroubled { seconds } => write!(f, "the unit failed or was restarted by systemd {seconds} s ago"),
            Self::Newer { path } => write!(f, "`{path}` was written after containerd was started"),
            Self::Mounted { path } => write!(f, "`{path}` is mounted by itself and cannot be replaced"),
            Self::Protected { path } => write!(f, "`{path}` is immutable or append-only"),
            Self::ReadOnly { path } => write!(f, "`{path}` lies on a read-only file system"),
            Self::Volatile { path } => write!(f, "`{path}` lies on a file system that a reboot empties"),
            Self::Outside { path } => write!(f, "`{path}` leads out of the folders that belong to containerd"),
            Self::Space { path, free, needed } => {
                write!(
                    f,
                    "the file system of `{path}` has {free} bytes free, and {needed} are wanted"
                )
            }
            Self::CriDead => f.write_str("CRI is not ready, for a reason that this change does not mend"),
        }
    }
}

/// What is worth waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OngoingWork {
    /// Images are being pulled.
    Pulls(usize),
    /// Sandboxes or containers are being made.
    Creating(usize),
    /// systemd has other things to do with the unit.
    Job(String),
}

impl fmt::Display for OngoingWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pulls(count) => write!(f, "{count} downloads of images are under way"),
            Self::Creating(count) => write!(f, "{count} sandboxes or containers are being made"),
            Self::Job(job) => write!(f, "systemd is about to {job}"),
        }
    }
}
