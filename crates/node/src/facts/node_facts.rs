//! The facts of a running node, as one value.

use crate::containerd::cri::{Container, CriStatus, PodSandbox};
use crate::containerd::services::{Deprecation, Ingest, Plugin, Task};
use crate::facts::daemons::{Daemon, Shim};
use crate::facts::distribution::{DetectionInput, Owner};
use crate::facts::fact::Fact;
use crate::facts::path_facts::{FileFact, FolderFact};
use crate::facts::started::Started;
use crate::systemd::bus::number;
use crate::systemd::job::Job;
use crate::systemd::unit::Unit;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// What to look at, and how long to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObserveOptions {
    /// For each call to systemd or containerd. The first one that containerd does not answer in time is the last that it
    /// is asked, so a daemon that hangs costs this once or twice and not for every fact.
    pub patience: Duration,
    /// The socket that CRI is served at; `None` for the usual one, or else the one of the only daemon.
    pub address: Option<String>,
    /// More files to look at than the daemon's config.toml: imports, hosts.toml files, CAs.
    pub files: Vec<String>,
}

impl Default for ObserveOptions {
    /// Two seconds a call, no more files.
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(2),
            address: None,
            files: Vec::new(),
        }
    }
}

/// Why there are no facts at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// What lies in a folder has no processes, units and sockets.
    #[error("only the running machine's own `/` can be observed")]
    NotLive,
}

/// A node at one moment. It holds no secret and can be printed whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Another one after each boot.
    pub boot_id: Fact<String>,
    /// systemd's version.
    pub systemd: Fact<String>,
    /// Every containerd daemon whose process is seen, those of containers too. Two of the node's own are a reason to
    /// refuse.
    pub daemons: Fact<Vec<Daemon>>,
    /// The socket at which CRI is served, and by whom.
    pub serving: Fact<Serving>,
    /// The unit that the serving daemon runs in; `containerd.service` while none serves.
    pub unit: Fact<Unit>,
    /// All that systemd is about to do, for whatever unit.
    pub jobs: Fact<Vec<Job>>,
    /// When the serving daemon was started.
    pub started: Fact<Started>,
    /// What containerd says of itself.
    pub containerd: Containerd,
    /// What CRI says.
    pub cri: Cri,
    /// The FIFOs of containers that the serving daemon reads, `ID-stdout` and `ID-stderr`: their logs flow.
    pub outputs: Fact<BTreeSet<String>>,
    /// Every shim whose process is seen.
    pub shims: Fact<Vec<Shim>>,
    /// The pids of those shims of the serving daemon that are in the unit's control group, and die when it is killed.
    pub shims_in_unit: Fact<Vec<u32>>,
    /// config.toml and whatever else was asked for.
    pub files: Vec<FileFact>,
    /// `/etc/containerd`, the folder of config.toml if it is another, and containerd's root.
    pub folders: Vec<FolderFact>,
    /// Who writes config.toml, when it is somebody of the table.
    pub owner: Option<Owner>,
    /// What the table was asked with.
    pub evidence: DetectionInput,
}

/// Who serves CRI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// The socket.
    pub address: String,
    /// The process that listens there, as the kernel says it.
    pub pid: Fact<u32>,
}

/// What containerd says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Containerd {
    /// As its build names it.
    pub version: Fact<String>,
    /// Every plugin, and whether it loaded.
    pub plugins: Fact<Vec<Plugin>>,
    /// The deprecated settings that it saw; unknown for a release without that list.
    pub deprecations: Fact<Vec<Deprecation>>,
    /// What is being downloaded for CRI.
    pub ingests: Fact<Vec<Ingest>>,
    /// The processes of CRI's sandboxes and containers, under their ids.
    pub tasks: Fact<Vec<Task>>,
    /// The folder that it keeps its data in.
    pub root: Fact<String>,
}

/// What CRI says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cri {
    /// Whether containerd serves CRI at all: when its plugin did not load it does not, and everything else here is
    /// unknown. `Containerd::plugins` has the reason.
    pub served: Fact<bool>,
    /// Whether it is ready.
    pub status: Fact<CriStatus>,
    /// The runtime's name and version.
    pub version: Fact<(String, String)>,
    /// Every sandbox.
    pub sandboxes: Fact<Vec<PodSandbox>>,
    /// Every container.
    pub containers: Fact<Vec<Container>>,
    /// The ids of sandboxes and containers that are being made and that CRI does not list yet.
    pub in_creation: Fact<Vec<String>>,
}

impl Facts {
    /// The number of systemd's version, such as 252.
    pub fn systemd_number(&self) -> Option<u32> {
        number(self.systemd.known()?)
    }

    /// The daemon that serves CRI, when it is among those that are seen.
    pub fn serving_daemon(&self) -> Option<&Daemon> {
        let pid = *self.serving.known()?.pid.known()?;
        self.daemons.known()?.iter().find(|daemon| daemon.pid == pid)
    }

    /// The first process of a sandbox or container.
    pub fn pid_of(&self, id: &str) -> Option<u32> {
        let tasks = self.containerd.tasks.known()?;
        tasks.iter().find(|task| task.id == id).map(|task| task.pid)
    }

    /// The daemons that are processes of the node itself, or may be.
    pub fn daemons_of_the_node(&self) -> Option<usize> {
        let daemons = self.daemons.known()?;
        Some(
            daemons
                .iter()
                .filter(|daemon| daemon.of_the_node != Fact::Value(false))
                .count(),
        )
    }
}
