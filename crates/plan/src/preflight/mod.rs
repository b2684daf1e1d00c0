//! The preflight checks: the conditions that a running node must meet before a change may start.
//!
//! A condition that could not be observed is treated as the worst possible value, because a containerd whose state is
//! unknown must not be restarted. Observing the conditions does not belong here.

/// The conditions.
mod conditions;
/// Every obstacle, with its name, its message and its hint.
mod obstacle;
#[cfg(test)]
mod tests;

pub use crate::preflight::conditions::{Cri, FileConditions, NodeConditions, OngoingWork, Owner, Space, Unit};
pub use crate::preflight::obstacle::Obstacle;

use mirrorshift_containerd::Rule;

/// The result of [`preflight`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreflightResult {
    /// The change may start now.
    Go,
    /// The change may start when this work has ended.
    Wait(Vec<OngoingWork>),
    /// The change may not start before the operator has removed these obstacles. There is at least one.
    Refuse(Vec<Obstacle>),
}

/// The oldest systemd that has what a change relies on: `ExecStopPost` of a transient unit, and `TemporaryFileSystem`.
/// (`Type=exec` has a substitute.)
const OLDEST_SYSTEMD: u32 = 239;
/// The seconds for which a unit must have run without a failure, or a restart by systemd.
const STABLE_SECONDS: u64 = 600;

/// Decides whether a change may start on a node with these conditions.
pub fn preflight(node: &NodeConditions) -> PreflightResult {
    let mut obstacles = daemon(node);
    obstacles.extend(unit(node));
    obstacles.extend(node.files.iter().flat_map(file));
    obstacles.extend(node.space.iter().filter_map(space));
    match node.cri {
        Some(Cri::Ready | Cri::DeadOfSettings) => {}
        Some(Cri::Dead) => obstacles.push(Obstacle::CriDead),
        None => obstacles.push(Obstacle::Unknown("the state of CRI")),
    }
    match (&node.busy, obstacles.is_empty()) {
        (_, false) => PreflightResult::Refuse(obstacles),
        (None, true) => PreflightResult::Refuse(vec![Obstacle::Unknown("the work of containerd that is in progress")]),
        (Some(busy), true) if busy.is_empty() => PreflightResult::Go,
        (Some(busy), true) => PreflightResult::Wait(busy.clone()),
    }
}

fn daemon(node: &NodeConditions) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    match node.systemd {
        Some(version) if version < OLDEST_SYSTEMD => obstacles.push(Obstacle::OldSystemd { version }),
        Some(_) => {}
        None => obstacles.push(Obstacle::Unknown("the version of systemd")),
    }
    if node.version.has(Rule::LosesSandboxAddresses) {
        obstacles.push(Obstacle::LosesSandboxAddresses {
            version: node.version.to_string(),
        });
    }
    match node.daemons {
        Some(1) => {}
        Some(0) => obstacles.push(Obstacle::NoDaemon),
        Some(count) => obstacles.push(Obstacle::ManyDaemons { count }),
        None => obstacles.push(Obstacle::Unknown("the number of containerd daemons")),
    }
    match node.serves_from_unit {
        Some(true) => {}
        Some(false) => obstacles.push(Obstacle::NotUnderSystemd),
        None => obstacles.push(Obstacle::Unknown("the unit that serves CRI")),
    }
    match &node.configured_by {
        Some(path) if *path == node.planned_for => {}
        Some(path) => obstacles.push(Obstacle::OtherFile {
            unit: path.clone(),
            plan: node.planned_for.clone(),
        }),
        None => obstacles.push(Obstacle::Unknown("the file that containerd was started with")),
    }
    obstacles.extend(node.owner.clone().map(Obstacle::Owned));
    obstacles
}

fn unit(node: &NodeConditions) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    // With `process` a restart spares the shims wherever they are. The other modes kill those in the unit's control group.
    match (node.kill_mode.as_deref(), node.shims_in_unit) {
        _ if node.containers_may_restart => {}
        (Some("process" | "none"), _) | (Some(_), Some(0)) => {}
        (Some(mode), Some(shims)) => obstacles.push(Obstacle::KillsContainers {
            mode: mode.to_owned(),
            shims,
        }),
        (Some(_), None) => obstacles.push(Obstacle::Unknown("the number of shims in the unit's control group")),
        (None, _) => obstacles.push(Obstacle::Unknown("the unit's KillMode")),
    }
    match node.unit.runs {
        Some(true) => {}
        Some(false) => obstacles.push(Obstacle::UnitDown),
        None => obstacles.push(Obstacle::Unknown("the state of the unit")),
    }
    if let Some(seconds) = node.unit.troubled.filter(|seconds| *seconds < STABLE_SECONDS) {
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
            what: "the free space of",
        }),
    }
}
