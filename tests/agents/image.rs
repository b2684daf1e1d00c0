//! The agent's image: built from the Dockerfile, or an equivalent image that contains only the program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::node_tests::small;
use crate::{Tool, folder_of, static_program};

/// The variable that names the archive of the built image: `tests/run package` builds it with `packaging/image` and
/// sets the variable.
pub const BUILT: &str = "MIRRORSHIFT_IMAGE";

/// An image archive that containerd can import.
#[derive(Debug)]
pub struct AgentImage {
    archive: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

/// The image's name in the manifests.
pub(super) const NAME: &str = "docker.io/library/mirrorshift:0.1.0";

impl AgentImage {
    /// Returns the built image, or creates one with the static program.
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
        Self::of(&[], |root| {
            fs::copy(static_program()?, root.join("mirrorshift"))?;
            Ok(())
        })
    }

    /// Creates an image whose program has a clock that is an hour ahead. The program is linked dynamically, because
    /// the clock is changed by a library that is loaded before the C library.
    pub fn an_hour_ahead() -> io::Result<Self> {
        Self::of(&ahead("/libfaketime.so.1"), |root| {
            let (program, shim) = (small(Tool::built()?)?, another_time()?);
            for library in [libraries(&program)?, libraries(&shim)?].concat() {
                let there = root.join(library.trim_start_matches('/'));
                fs::create_dir_all(folder_of(&there))?;
                fs::copy(&library, there)?;
            }
            fs::copy(program, root.join("mirrorshift"))?;
            fs::copy(shim, root.join("libfaketime.so.1"))?;
            Ok(())
        })
    }

    /// Creates an image with the files that `fill` writes to its root, and these environment variables.
    fn of(variables: &[String], fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("root");
        fs::create_dir(&root)?;
        fill(&root)?;
        tar(&root, &folder.path().join("layer.tar"), &["."])?;
        let layer = mirrorshift_plan::Digest::of(&fs::read(folder.path().join("layer.tar"))?);
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": ["/mirrorshift"], "Cmd": ["agent"], "User": "0:0", "Env": variables},
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

/// The environment variables with which a dynamically linked program runs an hour ahead, with the library at this
/// path.
pub(super) fn ahead(library: &str) -> Vec<String> {
    vec![
        format!("LD_PRELOAD={library}"),
        "FAKETIME=+1h".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ]
}

/// Returns the library that changes a program's clock, from Debian's package `libfaketime`.
pub(super) fn another_time() -> io::Result<PathBuf> {
    let library = format!(
        "/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1",
        std::env::consts::ARCH
    );
    if Path::new(&library).exists() {
        return Ok(library.into());
    }
    Err(io::Error::other(format!("no {library} (Debian: libfaketime)")))
}

/// Returns the libraries of a program, including its loader.
fn libraries(program: &Path) -> io::Result<Vec<String>> {
    let ran = Command::new("ldd").arg(program).output()?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let paths = said.split_whitespace().filter(|word| word.starts_with('/'));
    let paths: Vec<String> = paths.map(str::to_owned).collect();
    if paths.is_empty() {
        return Err(io::Error::other(format!("`ldd` names no library: {said}")));
    }
    Ok(paths)
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
