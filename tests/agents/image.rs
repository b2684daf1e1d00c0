//! The agent's image, as the Dockerfile makes it: one program and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::static_program;

/// An archive that containerd imports.
#[derive(Debug)]
pub struct AgentImage {
    folder: tempfile::TempDir,
}

/// The name of it that the manifests have.
pub(super) const NAME: &str = "docker.io/library/mirrorshift:0.1.0";

impl AgentImage {
    /// Makes it of the static program.
    pub fn made() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("root");
        fs::create_dir(&root)?;
        fs::copy(static_program()?, root.join("mirrorshift"))?;
        tar(&root, &folder.path().join("layer.tar"), &["mirrorshift"])?;
        let layer = mirrorshift_plan::Digest::of(&fs::read(folder.path().join("layer.tar"))?);
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": ["/mirrorshift"], "Cmd": ["agent"], "User": "0:0"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        });
        fs::write(folder.path().join("config.json"), config.to_string())?;
        let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]);
        fs::write(folder.path().join("manifest.json"), manifest.to_string())?;
        let made = Self { folder };
        tar(
            made.folder.path(),
            &made.archive(),
            &["config.json", "layer.tar", "manifest.json"],
        )?;
        Ok(made)
    }

    pub(super) fn archive(&self) -> PathBuf {
        self.folder.path().join("image.tar")
    }
}

fn tar(of: &Path, to: &Path, names: &[&str]) -> io::Result<()> {
    let ran = Command::new("tar")
        .arg("-cf")
        .arg(to)
        .arg("-C")
        .arg(of)
        .args(names)
        .status()?;
    if ran.success() {
        return Ok(());
    }
    Err(io::Error::other("`tar` failed"))
}
