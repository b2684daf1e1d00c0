//! The facts that decide whether a change may begin. Nothing is decided here.

use crate::containerd::services::Ingest;
use crate::facts::fact::Fact;
use crate::facts::mounts::Mount;
use crate::facts::node_facts::Facts;
use crate::facts::path_facts::{FileFact, FolderFact};
use crate::files::root::split;
use crate::systemd::unit::Unit as SystemdUnit;
use mirrorshift_containerd::Version;
use mirrorshift_plan::preflight::{Cri, FileConditions, NodeConditions, OngoingWork, Owner, Space, Unit};

/// The conditions of a change that the caller knows.
#[derive(Clone, Debug)]
pub struct ChangeIntent {
    /// The configuration file for which the plan was made.
    pub planned_for: String,
    /// The number of bytes that the change writes in `/etc`.
    pub written_bytes: u64,
    /// True if the plan repairs a CRI that is not served because of its settings.
    pub repairs_cri: bool,
    /// True if the operator accepts that a restart kills containers.
    pub containers_may_restart: bool,
    /// The time since boot, without the time in which the machine was suspended: microseconds.
    pub now_monotonic_us: u64,
    /// The time of day: seconds since 1970.
    pub now_s: u64,
}

/// The age in seconds after which a download without progress counts as abandoned. containerd itself cancels a pull
/// without progress after 5 minutes (`image_pull_progress_timeout`), and keeps what it has received.
const ABANDONED_AFTER_S: u64 = 330;

/// The free space in bytes that containerd's data folder needs for a safe restart.
const ROOT_SPACE: u64 = 64 << 20;

impl Facts {
    /// Returns the conditions of the node for a change. `version` is the release of its containerd.
    pub fn node_conditions(&self, version: Version, intent: &ChangeIntent) -> NodeConditions {
        let unit = self.unit.value();
        let launched = self
            .serving_daemon()
            .map(|daemon| daemon.launch.config_path().to_owned());
        NodeConditions {
            systemd: self.systemd_number(),
            version,
            daemons: self.node_daemon_count(),
            serves_from_unit: self.serves_from_unit(),
            configured_by: launched.or_else(|| unit?.launch().map(|launch| launch.config_path().to_owned())),
            planned_for: intent.planned_for.clone(),
            kill_mode: unit.map(|unit| unit.kill_mode.clone()),
            shims_in_unit: self.shims_in_unit.value().map(Vec::len),
            containers_may_restart: intent.containers_may_restart,
            unit: Unit {
                runs: unit.map(|unit| unit.active_state == "active" && unit.sub_state == "running"),
                troubled: unit.and_then(|unit| troubled(unit, intent.now_monotonic_us)),
            },
            owner: self.owner.as_ref().map(|owner| Owner {
                name: owner.name.to_owned(),
                way: owner.advice.to_owned(),
            }),
            files: self.files.iter().filter_map(|file| self.file(file)).collect(),
            space: self.space(intent),
            cri: self.cri(intent.repairs_cri),
            busy: self.busy(intent.now_s),
        }
    }

    fn serves_from_unit(&self) -> Option<bool> {
        let pid = *self.serving.value()?.pid.value()?;
        Some(self.unit.value()?.main_pid == Some(pid))
    }

    /// Returns the conditions of a file; `None` if it does not exist, because then its folder decides.
    fn file(&self, file: &FileFact) -> Option<FileConditions> {
        if file.digest == Fact::Value(None) {
            return None;
        }
        let ground = file.ground.value();
        let mount = ground.and_then(|ground| ground.mount.value());
        Some(FileConditions {
            path: file.path.clone(),
            newer_than_daemon: file.newer_than_daemon.value().copied(),
            mounted: ground.and_then(|ground| ground.is_mount.value().copied()),
            protected: ground.and_then(|ground| ground.is_protected.value().copied()),
            read_only: mount.map(|mount| mount.read_only),
            volatile: mount.map(Mount::is_volatile),
            outside: ground.map(|ground| !self.is_ours(&ground.real)),
        })
    }

    /// Returns true if a file is in, or under, a folder of the configuration: `/etc/containerd`, or the folder of
    /// config.toml.
    fn is_ours(&self, real: &str) -> bool {
        let root = self.containerd.root.value();
        self.folders
            .iter()
            .filter(|folder| Some(&folder.path) != root)
            .any(|folder| split(real).0 == folder.path || real.starts_with(&format!("{}/", folder.path)))
    }

    fn space(&self, intent: &ChangeIntent) -> Vec<Space> {
        let root = self.containerd.root.value();
        let space = |folder: &FolderFact| Space {
            path: folder.path.clone(),
            free: folder.space.value().map(|space| space.free_bytes),
            needed: if Some(&folder.path) == root {
                ROOT_SPACE
            } else {
                4 * intent.written_bytes
            },
        };
        self.folders.iter().map(space).collect()
    }

    fn cri(&self, repairs_cri: bool) -> Option<Cri> {
        match (self.cri.served.value(), self.cri.status.value()) {
            (Some(false), _) if repairs_cri => Some(Cri::DeadOfSettings),
            // A network that is not ready is compared with itself afterwards: a node without pods may have none.
            (Some(true), Some(status)) if status.runtime.ready => Some(Cri::Ready),
            (Some(false), _) | (Some(true), Some(_)) => Some(Cri::Dead),
            _ => None,
        }
    }

    /// Lists the work in progress. A CRI that is not served creates nothing.
    fn busy(&self, now_s: u64) -> Option<Vec<OngoingWork>> {
        let unit = self.unit.value()?;
        let mut busy = Vec::new();
        let is_in_progress = |ingest: &&Ingest| {
            let updated = ingest.updated.and_then(|at| u64::try_from(at).ok());
            updated.is_none_or(|at| now_s.saturating_sub(at) < ABANDONED_AFTER_S)
        };
        let pulls = self.containerd.ingests.value()?.iter().filter(is_in_progress).count();
        if pulls > 0 {
            busy.push(OngoingWork::Pulls(pulls));
        }
        if self.cri.served.value() != Some(&false) {
            let creating = self.cri.in_creation.value()?.len();
            if creating > 0 {
                busy.push(OngoingWork::Creating(creating));
            }
        }
        let jobs = self.jobs.value()?.iter().filter(|job| job.unit == unit.id);
        busy.extend(jobs.map(|job| OngoingWork::Job(format!("{} {}", job.kind, job.unit))));
        Some(busy)
    }
}

/// Returns the seconds since the unit failed or was restarted automatically; `None` if neither happened since it was
/// last started.
fn troubled(unit: &SystemdUnit, now_us: u64) -> Option<u64> {
    if unit.restarts == 0 && unit.result == "success" {
        return None;
    }
    let since = unit.main_started.or(unit.state_changed)?;
    Some(now_us.saturating_sub(since.monotonic_us) / 1_000_000)
}
