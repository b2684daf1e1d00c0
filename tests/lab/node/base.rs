//! What nodes are made of: the root that `tests/lab/prepare` makes, and the programs of one containerd over it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Containerd, Missing, cache};

/// The root's folder in the cache. Another recipe is another name, so that an old root is not taken for it; `prepare` and
/// `tests/run` read the name from here.
pub(super) const ROOT: &str = "bookworm-1";

/// What a release is made of beside containerd itself.
const PROGRAMS: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];

/// The root, when nodes can be made of it.
pub(super) fn root() -> Result<PathBuf, Missing> {
    let root = cache().join("node").join(ROOT);
    if root.is_dir() {
        Ok(root)
    } else {
        Err(Missing::NodeRoot(root))
    }
}

/// Whether a container with an init can be started here at all: a few milliseconds against a page of guesses later.
pub(super) fn tried(root: &Path) -> Result<(), Missing> {
    let script = "mount -t tmpfs lab /run && exec systemd-nspawn --quiet --register=no --keep-unit --private-network \
                  --link-journal=no --volatile=overlay -D \"$1\" /bin/true";
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private", "--"])
        .args(["sh", "-c", script, "sh"])
        .arg(root)
        .output()
        .map_err(|error| Missing::Nspawn(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Missing::Nspawn(String::from_utf8_lossy(&output.stderr).trim().into()))
    }
}

/// The containerd of a release line, with its shim and ctr.
pub(super) fn containerd(line: &str) -> Result<Containerd, Missing> {
    let containerd = Containerd::line(line)?;
    match PROGRAMS.iter().find(|name| !beside(&containerd, name).exists()) {
        None => Ok(containerd),
        Some(name) => Err(Missing::Part(beside(&containerd, name))),
    }
}

/// Makes `folder` a layer that has the programs of a release. They are links, as copying them takes longer than a boot;
/// a node that writes to one writes to a copy of its own.
pub(super) fn layer(containerd: &Containerd, folder: &Path) -> io::Result<()> {
    let bin = folder.join("usr/bin");
    fs::create_dir_all(&bin)?;
    for name in PROGRAMS {
        let from = beside(containerd, name);
        fs::hard_link(&from, bin.join(name))
            .map_err(|error| io::Error::new(error.kind(), format!("cannot link {}: {error}", from.display())))?;
    }
    Ok(())
}

fn beside(containerd: &Containerd, name: &str) -> PathBuf {
    containerd.program.with_file_name(name)
}
