//! The facts of a running node, as one value.

use crate::containerd::cri::{Container, CriStatus, PodSandbox};
use crate::containerd::messages::{ContainerState, SandboxState};
use crate::containerd::services::{Deprecation, Ingest, Plugin, Task};
use crate::facts::daemons::{Daemon, Shim};
use crate::facts::distribution::{DetectionInput, Owner};
use crate::facts::fact::Fact;
use crate::facts::path_facts::{FileFact, FolderFact};
use crate::facts::started::Started;
use crate::systemd::bus::version_number;
use crate::systemd::job::Job;
use crate::systemd::unit::Unit;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Options of an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObserveOptions {
    /// The deadline of each call to systemd or containerd. After the first call that misses it, containerd is not
    /// called again, so that a containerd that hangs delays an observation once or twice and not for every fact.
    pub call_timeout: Duration,
    /// The socket of CRI; `None` for the usual one, or else the socket of the only daemon.
    pub address: Option<String>,
    /// Files to inspect in addition to the daemon's config.toml: imports, hosts.toml files, CAs.
    pub files: Vec<String>,
    /// True if to list the images on the node. It takes one more call, which is made only if CRI answers.
    pub images: bool,
}

impl Default for ObserveOptions {
    /// A deadline of two seconds per call, no additional files, and no images.
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(2),
            address: None,
            files: Vec::new(),
            images: false,
        }
    }
}

/// The reason why a node cannot be observed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The root is a folder, which has no processes, units and sockets.
    #[error("only the running machine's own `/` can be observed")]
    NotLive,
}

/// The facts of a node at one moment. They contain no secret and can be printed completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The id of the boot, which is different after each boot.
    pub boot_id: Fact<String>,
    /// systemd's version.
    pub systemd: Fact<String>,
    /// All visible containerd daemons, including those in containers. A change is refused if the node itself has two.
    pub daemons: Fact<Vec<Daemon>>,
    /// The socket at which CRI is served, and its process.
    pub serving: Fact<Serving>,
    /// The unit of the daemon that serves CRI; `containerd.service` if none does.
    pub unit: Fact<Unit>,
    /// The queued and running jobs of systemd, for all units.
    pub jobs: Fact<Vec<Job>>,
    /// The start time of the daemon that serves CRI.
    pub started: Fact<Started>,
    /// The facts that containerd's own services report.
    pub containerd: Containerd,
    /// The facts that CRI reports.
    pub cri: Cri,
    /// The log FIFOs that the daemon reads, as `ID-stdout` and `ID-stderr`. The logs of these containers flow.
    pub outputs: Fact<BTreeSet<String>>,
    /// All visible shims.
    pub shims: Fact<Vec<Shim>>,
    /// The ids of the daemon's shims in the unit's control group. They are killed together with that group.
    pub shims_in_unit: Fact<Vec<u32>>,
    /// config.toml and the requested files.
    pub files: Vec<FileFact>,
    /// `/etc/containerd`, the folder of config.toml if that is another folder, and containerd's data folder.
    pub folders: Vec<FolderFact>,
    /// The distribution that generates config.toml; `None` if it is not in the table.
    pub owner: Option<Owner>,
    /// The properties by which the distribution was recognised.
    pub evidence: DetectionInput,
}

/// The socket of CRI and the process that listens there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// The path of the socket.
    pub address: String,
    /// The id of the process, as the kernel reports it.
    pub pid: Fact<u32>,
}

/// The facts that containerd's own services report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Containerd {
    /// The version, as the build names it.
    pub version: Fact<String>,
    /// All plugins, and whether each loaded.
    pub plugins: Fact<Vec<Plugin>>,
    /// The deprecated settings that are in use; unavailable for a release without that list.
    pub deprecations: Fact<Vec<Deprecation>>,
    /// The downloads of CRI that are in progress.
    pub ingests: Fact<Vec<Ingest>>,
    /// The processes of CRI's sandboxes and containers.
    pub tasks: Fact<Vec<Task>>,
    /// The folder in which containerd keeps its data.
    pub root: Fact<String>,
}

/// The facts that CRI reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cri {
    /// True if containerd serves CRI. It does not if the CRI plugin did not load; all other facts here are then
    /// unavailable, and `Containerd::plugins` has the reason.
    pub served: Fact<bool>,
    /// The conditions of CRI.
    pub status: Fact<CriStatus>,
    /// The name and the version of the runtime.
    pub version: Fact<(String, String)>,
    /// All sandboxes, in any state.
    pub sandboxes: Fact<Vec<PodSandbox>>,
    /// All containers, in any state.
    pub containers: Fact<Vec<Container>>,
    /// The ids of sandboxes and containers that are being created and that CRI does not list yet.
    pub in_creation: Fact<Vec<String>>,
    /// The references of the images on the node; unavailable unless [`ObserveOptions::images`] requests them.
    pub images: Fact<Vec<String>>,
}

impl Facts {
    /// Returns the number of systemd's version, such as 252.
    pub fn systemd_number(&self) -> Option<u32> {
        version_number(self.systemd.value()?)
    }

    /// Returns the daemon that serves CRI, if its process is visible.
    pub fn serving_daemon(&self) -> Option<&Daemon> {
        let pid = *self.serving.value()?.pid.value()?;
        self.daemons.value()?.iter().find(|daemon| daemon.pid == pid)
    }

    /// Returns how long the last start of containerd's unit took; `None` if that is unknown. A deadline for the next
    /// start can be derived from it.
    pub fn last_start_duration(&self) -> Option<Duration> {
        self.unit.value()?.last_start_duration()
    }

    /// Returns the unit's `KillMode`: the processes that a restart kills.
    pub fn kill_mode(&self) -> Option<&str> {
        Some(self.unit.value()?.kill_mode.as_str())
    }

    /// Returns the number of sandboxes that serve, or `None` if CRI does not list them.
    pub fn ready_sandboxes(&self) -> Option<usize> {
        let sandboxes = self.cri.sandboxes.value()?.iter();
        Some(sandboxes.filter(|sandbox| sandbox.state == SandboxState::Ready).count())
    }

    /// Returns the number of containers that run, or `None` if CRI does not list them.
    pub fn running_containers(&self) -> Option<usize> {
        let containers = self.cri.containers.value()?.iter();
        Some(
            containers
                .filter(|container| container.state == ContainerState::Running)
                .count(),
        )
    }

    /// Returns the number of daemons that are, or may be, processes of the node itself.
    pub fn node_daemon_count(&self) -> Option<usize> {
        let daemons = self.daemons.value()?;
        Some(
            daemons
                .iter()
                .filter(|daemon| daemon.of_the_node != Fact::Value(false))
                .count(),
        )
    }
}
