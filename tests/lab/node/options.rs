//! What a node is like before its first boot.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::lab::{Files, Scene};

/// Settings that every configuration of a node needs here: the image that the root has, and a score that only a machine's
/// own root may set lower. Tables for CRI may follow; schema 2 is read by every release.
pub const BASE: &str = "version = 2\n\
    [plugins.\"io.containerd.grpc.v1.cri\"]\n\
    sandbox_image = \"lab.test/tools:1\"\n\
    restrict_oom_score_adj = true\n";

/// The configuration that the node's containerd starts with.
pub(super) const CONFIG: &str = "/etc/containerd/config.toml";

/// What a node is like before its first boot.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// Files by absolute path. The placeholders of [`crate::lab::Pki::fill`] are filled in.
    pub files: Files,
    /// The registries that answer in the node's network. Hosts that it does not name cannot be resolved.
    pub scene: Scene,
    /// Folders of the node that are disks of their own, with mount options of a tmpfs: `size=1m,noexec`. They keep their
    /// files when the node is reset.
    pub disks: BTreeMap<String, String>,
    /// Folders of the node that are on a real file system, as containerd's own always is, and not on layers.
    pub folders: Vec<String>,
    /// Programs of the machine by their path in the node. They must be on the file system of the cache.
    pub programs: BTreeMap<String, PathBuf>,
    /// Where the node stands among others; alone in its network without it.
    pub(in crate::lab) link: Option<Link>,
}

/// A node's place in a network that it shares: a wire from its own network to a bridge in another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::lab) struct Link {
    /// The process whose network has the bridge.
    pub(in crate::lab) to: u32,
    /// The bridge.
    pub(in crate::lab) bridge: String,
    /// What the wire's other end is called there.
    pub(in crate::lab) name: String,
    /// The node's address, without its length, and the length.
    pub(in crate::lab) address: (String, u8),
    /// The bridge's address, by which everything else is reached.
    pub(in crate::lab) gateway: String,
    /// The addresses of the node's pods, which the others reach by the node.
    pub(in crate::lab) pods: String,
}

impl NodeOptions {
    /// A node whose `config.toml` is [`BASE`] followed by this.
    pub fn new(tables: &str) -> Self {
        Self::default().file(CONFIG, &format!("{BASE}{tables}"))
    }

    /// With one more file, or another one in its place.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }

    /// With a drop-in of a unit.
    #[must_use]
    pub fn drop_in(self, unit: &str, name: &str, text: &str) -> Self {
        self.file(&format!("/etc/systemd/system/{unit}.d/{name}.conf"), text)
    }

    /// With these registries around it.
    #[must_use]
    pub fn scene(self, scene: Scene) -> Self {
        Self { scene, ..self }
    }

    /// With a folder on a real file system.
    #[must_use]
    pub fn folder(mut self, folder: &str) -> Self {
        self.folders.push(folder.into());
        self
    }

    /// With a program of the machine.
    #[must_use]
    pub fn program(mut self, inside: &str, program: impl Into<PathBuf>) -> Self {
        self.programs.insert(inside.into(), program.into());
        self
    }

    /// With a folder that is a disk of its own.
    #[must_use]
    pub fn disk(mut self, folder: &str, options: &str) -> Self {
        self.disks.insert(folder.into(), options.into());
        self
    }
}
