//! What a node is like before its first boot.

use std::collections::BTreeMap;

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

    /// With a folder that is a disk of its own.
    #[must_use]
    pub fn disk(mut self, folder: &str, options: &str) -> Self {
        self.disks.insert(folder.into(), options.into());
        self
    }
}
