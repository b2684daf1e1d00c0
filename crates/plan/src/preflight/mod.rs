//! What must hold of a running node before anything on it is touched, and what is worth waiting for.
//!
//! A fact that nobody could observe counts as the worse of what it could be: whoever cannot say that a node is fit for a
//! restart does not restart it.

use mirrorshift_containerd::{Rule, Version};

/// Every obstacle by name, with what to do about it.
pub(crate) mod obstacle;
pub use crate::preflight::obstacle::{Obstacle, OngoingWork};
#[cfg(test)]
mod tests;

/// A running node, as far as a change of it depends on that. `None` is what could not be observed.
#[derive(Clone, Debug)]
pub struct NodeConditions {
    /// The version of systemd, such as 252.
    pub systemd: Option<u32>,
    /// What its containerd prints as its version.
    pub version: Version,
    /// How many containerd daemons the node itself runs.
    pub daemons: Option<usize>,
    /// Whether the daemon that serves CRI is the main process of the unit.
    pub serves_from_unit: Option<bool>,
    /// The configuration file that the unit starts it with.
    pub configured_by: Option<String>,
    /// The configuration file that the plan was made for.
    pub planned_for: String,
    /// The unit's `KillMode`.
    pub kill_mode: Option<String>,
    /// How many shims a restart of the unit would kill.
    pub shims_in_unit: Option<usize>,
    /// The operator has said that containers may be killed by a restart.
    pub containers_may_restart: bool,
    /// How the unit has been doing.
    pub unit: Unit,
    /// Who else writes the configuration file.
    pub owner: Option<Owner>,
    /// The operator has said that a file which a distribution wrote is theirs to edit.
    pub owned_may_be_edited: bool,
    /// Every file that the plan replaces or that the daemon read.
    pub files: Vec<FileConditions>,
    /// File systems that are written to.
    pub space: Vec<Space>,
    /// How CRI serves.
    pub cri: Option<Cri>,
    /// What goes on at this moment; nothing when it is not known.
    pub busy: Option<Vec<OngoingWork>>,
}

/// How the unit has been doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// It is active, and not about to be started or stopped.
    pub runs: Option<bool>,
    /// Seconds since it failed or was restarted by systemd itself; nothing where it never did.
    pub troubled: Option<u64>,
}

/// Who writes the configuration file beside its operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The distribution.
    pub name: String,
    /// Its own way to set mirrors, as a sentence without its full stop.
    pub way: String,
    /// Whether an operator may take the file over.
    pub may_be_edited: bool,
}

/// A file, as far as it can be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConditions {
    /// As the plan names it.
    pub path: String,
    /// It was written after the daemon was started, which runs on other bytes.
    pub newer_than_daemon: Option<bool>,
    /// It is a mount of its own.
    pub mounted: Option<bool>,
    /// It is marked immutable or append-only.
    pub protected: Option<bool>,
    /// It lies on a file system that is read-only.
    pub read_only: Option<bool>,
    /// It lies on a file system that is gone after a reboot.
    pub volatile: Option<bool>,
    /// It lies where links lead out of the folders that belong to containerd.
    pub outside: Option<bool>,
}

/// What is left on a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// A folder on it.
    pub path: String,
    /// Bytes free; nothing when nobody could tell.
    pub free: Option<u64>,
    /// Bytes that must be free.
    pub needed: u64,
}

/// How CRI serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cri {
    /// It is ready.
    Ready,
    /// It did not load, because of the very settings that the plan mends.
    DeadOfSettings,
    /// It did not load, or is not ready, for another reason.
    Dead,
}

/// Whether a change may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreflightResult {
    /// Now.
    Go,
    /// Not at this moment.
    Wait(Vec<OngoingWork>),
    /// Not before somebody has changed something. At least one.
    Refuse(Vec<Obstacle>),
}

/// The oldest systemd that knows what the change relies on (`Type=exec` has a substitute, `ExecStopPost` of a transient
/// unit and `TemporaryFileSystem` have none).
const OLDEST_SYSTEMD: u32 = 239;
/// A unit that failed or restarted by itself this recently is not touched: seconds.
const CALM: u64 = 600;

/// Whether a change of `ground` may begin.
pub fn preflight(ground: &NodeConditions) -> PreflightResult {
    let mut obstacles = daemon(ground);
    obstacles.extend(unit(ground));
    obstacles.extend(ground.files.iter().flat_map(file));
    obstacles.extend(ground.space.iter().filter_map(space));
    match ground.cri {
        Some(Cri::Ready | Cri::DeadOfSettings) => {}
        Some(Cri::Dead) => obstacles.push(Obstacle::CriDead),
        None => obstacles.push(Obstacle::Unknown("how CRI serves")),
    }
    match (&ground.busy, obstacles.is_empty()) {
        (_, false) => PreflightResult::Refuse(obstacles),
        (None, true) => PreflightResult::Refuse(vec![Obstacle::Unknown("what containerd is doing")]),
        (Some(busy), true) if busy.is_empty() => PreflightResult::Go,
        (Some(busy), true) => PreflightResult::Wait(busy.clone()),
    }
}

fn daemon(ground: &NodeConditions) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    match ground.systemd {
        Some(version) if version < OLDEST_SYSTEMD => obstacles.push(Obstacle::OldSystemd { version }),
        Some(_) => {}
        None => obstacles.push(Obstacle::Unknown("the version of systemd")),
    }
    if ground.version.has(Rule::LosesSandboxAddresses) {
        obstacles.push(Obstacle::LosesSandboxAddresses {
            version: ground.version.to_string(),
        });
    }
    match ground.daemons {
        Some(1) => {}
        Some(0) => obstacles.push(Obstacle::NoDaemon),
        Some(count) => obstacles.push(Obstacle::ManyDaemons { count }),
        None => obstacles.push(Obstacle::Unknown("how many containerds run")),
    }
    match ground.serves_from_unit {
        Some(true) => {}
        Some(false) => obstacles.push(Obstacle::NotUnderSystemd),
        None => obstacles.push(Obstacle::Unknown("which unit serves CRI")),
    }
    match &ground.configured_by {
        Some(path) if *path == ground.planned_for => {}
        Some(path) => obstacles.push(Obstacle::OtherFile {
            unit: path.clone(),
            plan: ground.planned_for.clone(),
        }),
        None => obstacles.push(Obstacle::Unknown("which file containerd was started with")),
    }
    match &ground.owner {
        Some(owner) if !(owner.may_be_edited && ground.owned_may_be_edited) => {
            obstacles.push(Obstacle::Owned(owner.clone()));
        }
        _ => {}
    }
    obstacles
}

fn unit(ground: &NodeConditions) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    // What matters is who dies. `process` spares the shims wherever they are; the other modes kill what is in the unit.
    match (ground.kill_mode.as_deref(), ground.shims_in_unit) {
        _ if ground.containers_may_restart => {}
        (Some("process" | "none"), _) | (Some(_), Some(0)) => {}
        (Some(mode), Some(shims)) => obstacles.push(Obstacle::KillsContainers {
            mode: mode.to_owned(),
            shims,
        }),
        (Some(_), None) => obstacles.push(Obstacle::Unknown("whether a restart kills containers")),
        (None, _) => obstacles.push(Obstacle::Unknown("the unit's KillMode")),
    }
    match ground.unit.runs {
        Some(true) => {}
        Some(false) => obstacles.push(Obstacle::UnitDown),
        None => obstacles.push(Obstacle::Unknown("whether the unit runs")),
    }
    if let Some(seconds) = ground.unit.troubled.filter(|seconds| *seconds < CALM) {
        obstacles.push(Obstacle::UnitTroubled { seconds });
    }
    obstacles
}

fn file(file: &FileConditions) -> Vec<Obstacle> {
    let path = || file.path.clone();
    let checks = [
        (file.newer_than_daemon, Obstacle::Newer { path: path() }),
        (file.mounted, Obstacle::Mounted { path: path() }),
        (file.protected, Obstacle::Protected { path: path() }),
        (file.read_only, Obstacle::ReadOnly { path: path() }),
        (file.volatile, Obstacle::Volatile { path: path() }),
        (file.outside, Obstacle::Outside { path: path() }),
    ];
    let raised = |(fact, obstacle): (Option<bool>, Obstacle)| match fact {
        Some(true) => Some(obstacle),
        Some(false) => None,
        None => Some(Obstacle::UnknownFile {
            path: path(),
            what: obstacle.missing_fact(),
        }),
    };
    checks.into_iter().filter_map(raised).collect()
}

fn space(space: &Space) -> Option<Obstacle> {
    match space.free {
        Some(free) if free >= space.needed => None,
        Some(free) => Some(Obstacle::Space {
            path: space.path.clone(),
            free,
            needed: space.needed,
        }),
        None => Some(Obstacle::UnknownFile {
            path: space.path.clone(),
            what: "how much space is left",
        }),
    }
}
