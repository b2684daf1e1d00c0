//! The agent's image: the one that was built from the Dockerfile, or one as it makes it, a program and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::static_program;

/// Names an image of the Dockerfile: `tests/run package` has `packaging/image` build it, and says where it is.
pub const BUILT: &str = "MIRRORSHIFT_IMAGE";

/// An archive that containerd imports.
#[derive(Debug)]
pub struct AgentImage {
    archive: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

/// The name of it that the manifests have.
pub(super) const NAME: &str = "docker.io/library/mirrorshift:0.1.0";

impl AgentImage {
    /// Takes the one that was built, or makes one of the static program.
    pub fn made() -> io::Result<Self> {
        match std::env::var_os(BUILT) {
            Some(archive) => Ok(Self {
                archive: archive.into(),
                _folder: None,
            }),
            None => Self::of_the_program(),
        }
    }

    fn of_the_program() -> io::Result<Self> {
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
        let archive = folder.path().join("image.tar");
        tar(folder.path(), &archive, &["config.json", "layer.tar", "manifest.json"])?;
        Ok(Self {
            archive,
            _folder: Some(folder),
        })
    }

    pub(super) fn archive(&self) -> &Path {
        &self.archive
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
