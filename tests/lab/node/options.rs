//! The options of a node before its first boot.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::lab::{Files, Scene};

/// Settings that every configuration of a node needs here: the sandbox image that the root has, and an OOM score,
/// because only the machine's own root may set a lower one. Tables for CRI may follow. Every release reads schema 2.
pub const BASE: &str = "version = 2\n\
    [plugins.\"io.containerd.grpc.v1.cri\"]\n\
    sandbox_image = \"lab.test/tools:1\"\n\
    restrict_oom_score_adj = true\n";

/// The file that the node's containerd reads.
pub(super) const CONFIG: &str = "/etc/containerd/config.toml";

/// The options of a node before its first boot.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// Files by absolute path. The placeholders of [`crate::lab::Pki::fill`] are filled in.
    pub files: Files,
    /// The registries in the node's network. A host that the scene does not name cannot be resolved.
    pub scene: Scene,
    /// Folders of the node that are separate file systems, with mount options of a tmpfs: `size=1m,noexec`. They keep
    /// their files when the node is reset.
    pub disks: BTreeMap<String, String>,
    /// Folders of the node that are on a real file system, as containerd's folder always is, and not on layers.
    pub folders: Vec<String>,
    /// Programs of the machine by their path in the node. They must be on the file system of the cache.
    pub programs: BTreeMap<String, PathBuf>,
    /// The node's connection to a shared network. Without it, the node has a network without other nodes.
    pub(in crate::lab) link: Option<Link>,
}

/// A node's connection to a shared network: a veth pair from its own network to a bridge in another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::lab) struct Link {
    /// The process whose network namespace has the bridge.
    pub(in crate::lab) to: u32,
    pub(in crate::lab) bridge: String,
    /// The name of the interface at the bridge.
    pub(in crate::lab) name: String,
    /// The node's address and its prefix length.
    pub(in crate::lab) address: (String, u8),
    /// The bridge's address, which is the node's default gateway.
    pub(in crate::lab) gateway: String,
    /// The addresses of the node's pods, which other nodes reach through this node.
    pub(in crate::lab) pods: String,
}

impl NodeOptions {
    /// Options for a node whose `config.toml` is [`BASE`] followed by `tables`.
    pub fn new(tables: &str) -> Self {
        Self::default().file(CONFIG, &format!("{BASE}{tables}"))
    }

    /// Adds or replaces a file.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }

    /// Adds a drop-in of a unit.
    #[must_use]
    pub fn drop_in(self, unit: &str, name: &str, text: &str) -> Self {
        self.file(&format!("/etc/systemd/system/{unit}.d/{name}.conf"), text)
    }

    /// Sets the registries around the node.
    #[must_use]
    pub fn scene(self, scene: Scene) -> Self {
        Self { scene, ..self }
    }

    /// Puts a folder on a real file system.
    #[must_use]
    pub fn folder(mut self, folder: &str) -> Self {
        self.folders.push(folder.into());
        self
    }

    /// Adds a program of the machine.
    #[must_use]
    pub fn program(mut self, inside: &str, program: impl Into<PathBuf>) -> Self {
        self.programs.insert(inside.into(), program.into());
        self
    }

    /// Makes a folder a separate file system.
    #[must_use]
    pub fn disk(mut self, folder: &str, options: &str) -> Self {
        self.disks.insert(folder.into(), options.into());
        self
    }
}
