//! The facts of a running node as far as it depends on them whether a change may begin. Nothing is decided here.

use crate::facts::fact::Fact;
use crate::facts::node_facts::Facts;
use crate::facts::path_facts::FileFact;
use crate::files::root::split;
use mirrorshift_containerd::Version;
use mirrorshift_plan::preflight::{Cri, FileConditions, NodeConditions, OngoingWork, Owner, Space, Unit};

/// What the caller knows beside the facts.
#[derive(Clone, Debug)]
pub struct ChangeIntent {
    /// The configuration file that the plan was made for.
    pub planned_for: String,
    /// Bytes that the change writes below `/etc`.
    pub bytes: u64,
    /// The plan brings a CRI back that died of its settings.
    pub heals: bool,
    /// The operator accepts that a restart kills containers.
    pub containers_may_restart: bool,
    /// The operator takes a file over that a distribution wrote.
    pub owned_may_be_edited: bool,
    /// Time since boot, without sleep: microseconds.
    pub now_monotonic_us: u64,
    /// The time of day: seconds since 1970.
    pub now_s: u64,
}

/// A download that has not moved for this long is what an earlier one left: seconds. containerd itself gives a pull up that
/// brings nothing for 5 minutes (`image_pull_progress_timeout`), and keeps what it had.
const LEFT_OVER: u64 = 330;

/// What must be left on containerd's own file system for a restart to be safe: bytes.
const ROOT_SPACE: u64 = 64 << 20;

impl Facts {
    /// The node as a change of it sees it; `version` is that of its containerd.
    pub fn ground(&self, version: Version, intent: &ChangeIntent) -> NodeConditions {
        let unit = self.unit.known();
        let launched = self
            .serving_daemon()
            .map(|daemon| daemon.launch.config_path().to_owned());
        NodeConditions {
            systemd: self.systemd_number(),
            version,
            daemons: self.daemons_of_the_node(),
            serves_from_unit: self.serves_from_unit(),
            configured_by: launched.or_else(|| unit?.launch().map(|launch| launch.config_path().to_owned())),
            planned_for: intent.planned_for.clone(),
            kill_mode: unit.map(|unit| unit.kill_mode.clone()),
            shims_in_unit: self.shims_in_unit.known().map(Vec::len),
            containers_may_restart: intent.containers_may_restart,
            unit: Unit {
                runs: unit.map(|unit| unit.active_state == "active" && unit.sub_state == "running"),
                troubled: unit.and_then(|unit| troubled(unit, intent.now_monotonic_us)),
            },
            owner: self.owner.as_ref().map(|owner| Owner {
                name: owner.name.to_owned(),
                way: owner.way.to_owned(),
                may_be_edited: owner.may_override,
            }),
            owned_may_be_edited: intent.owned_may_be_edited,
            files: self.files.iter().filter_map(|file| self.file(file)).collect(),
            space: self.space(intent),
            cri: self.cri(intent.heals),
            busy: self.busy(intent.now_s),
        }
    }

    fn serves_from_unit(&self) -> Option<bool> {
        let pid = *self.serving.known()?.pid.known()?;
        Some(self.unit.known()?.main_pid == Some(pid))
    }

    /// A file that is there; where none is, the folder counts.
    fn file(&self, file: &FileFact) -> Option<FileConditions> {
        if file.digest == Fact::Value(None) {
            return None;
        }
        let ground = file.ground.known();
        let mount = ground.and_then(|ground| ground.mount.known());
        Some(FileConditions {
            path: file.path.clone(),
            newer_than_daemon: file.newer_than_daemon.known().copied(),
            mounted: ground.and_then(|ground| ground.is_mount.known().copied()),
            protected: ground.and_then(|ground| ground.is_protected.known().copied()),
            read_only: mount.map(|mount| mount.read_only),
            volatile: mount.map(crate::facts::mounts::Mount::is_volatile),
            outside: ground.map(|ground| !self.is_ours(&ground.real)),
        })
    }

    /// Whether a file lies in a folder that was looked at, or below: `/etc/containerd`, or where the unit has its file.
    fn is_ours(&self, real: &str) -> bool {
        let root = self.containerd.root.known();
        self.folders
            .iter()
            .filter(|folder| Some(&folder.path) != root)
            .any(|folder| split(real).0 == folder.path || real.starts_with(&format!("{}/", folder.path)))
    }

    fn space(&self, intent: &ChangeIntent) -> Vec<Space> {
        let root = self.containerd.root.known();
        let of = |folder: &crate::facts::path_facts::FolderFact| Space {
            path: folder.path.clone(),
            free: folder.space.known().map(|space| space.free_bytes),
            needed: if Some(&folder.path) == root {
                ROOT_SPACE
            } else {
                4 * intent.bytes
            },
        };
        self.folders.iter().map(of).collect()
    }

    fn cri(&self, heals: bool) -> Option<Cri> {
        match (self.cri.served.known(), self.cri.status.known()) {
            (Some(false), _) if heals => Some(Cri::DeadOfSettings),
            // A network that is not ready is compared with itself afterwards: nodes without pods have none.
            (Some(true), Some(status)) if status.runtime.ready => Some(Cri::Ready),
            (Some(false), _) | (Some(true), Some(_)) => Some(Cri::Dead),
            _ => None,
        }
    }

    /// What goes on. A CRI that is not served makes nothing.
    fn busy(&self, now_s: u64) -> Option<Vec<OngoingWork>> {
        let unit = self.unit.known()?;
        let mut busy = Vec::new();
        let moves = |ingest: &&crate::containerd::services::Ingest| {
            let updated = ingest.updated.and_then(|at| u64::try_from(at).ok());
            updated.is_none_or(|at| now_s.saturating_sub(at) < LEFT_OVER)
        };
        let pulls = self.containerd.ingests.known()?.iter().filter(moves).count();
        if pulls > 0 {
            busy.push(OngoingWork::Pulls(pulls));
        }
        if self.cri.served.known() != Some(&false) {
            let creating = self.cri.in_creation.known()?.len();
            if creating > 0 {
                busy.push(OngoingWork::Creating(creating));
            }
        }
        let jobs = self.jobs.known()?.iter().filter(|job| job.unit == unit.id);
        busy.extend(jobs.map(|job| OngoingWork::Job(format!("{} {}", job.kind, job.unit))));
        Some(busy)
    }
}

/// Seconds since the unit failed, or systemd restarted it by itself, while it has not been started by hand since.
fn troubled(unit: &crate::systemd::unit::Unit, now_us: u64) -> Option<u64> {
    if unit.restarts == 0 && unit.result == "success" {
        return None;
    }
    let since = unit.main_started.or(unit.state_changed)?;
    Some(now_us.saturating_sub(since.monotonic_us) / 1_000_000)
}
