//! The layers of nodes: the root that `tests/lab/prepare` builds, and the programs of one containerd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::lab::{Containerd, Missing, cache};

/// The folder of the root in the cache. It has a new name when the recipe changes, so that an old root is not used.
/// `prepare` and `tests/run` read the name from here.
pub(super) const ROOT: &str = "bookworm-1";

/// The programs of a containerd release.
const PROGRAMS: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];

/// Returns the root if nodes can be created from it.
pub(super) fn root() -> Result<PathBuf, Missing> {
    let root = cache().join("node").join(ROOT);
    if root.is_dir() {
        Ok(root)
    } else {
        Err(Missing::NodeRoot(root))
    }
}

/// Checks that a container with an init can be started here. The check takes milliseconds, and its error is clearer
/// than those of a node that fails later.
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

/// Raises the limit of inotify instances, which all nodes share with the machine. Six nodes use up the usual 128, and
/// their services then fail with misleading errors.
pub(super) fn enough_to_watch_with() -> Result<(), Missing> {
    const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
    const ENOUGH: u32 = 4096;
    let raise = || {
        let now: u32 = fs::read_to_string(LIMIT)?.trim().parse().map_err(io::Error::other)?;
        if now >= ENOUGH {
            return Ok(());
        }
        fs::write(LIMIT, ENOUGH.to_string())
    };
    raise().map_err(|error: io::Error| Missing::Nspawn(format!("{LIMIT} is too low and cannot be raised: {error}")))
}

/// Returns the containerd of a release line that has its shim and `ctr`.
pub(super) fn containerd(line: &str) -> Result<Containerd, Missing> {
    let containerd = Containerd::line(line)?;
    match PROGRAMS.iter().find(|name| !beside(&containerd, name).exists()) {
        None => Ok(containerd),
        Some(name) => Err(Missing::Part(beside(&containerd, name))),
    }
}

/// Creates a layer in `folder` with the programs of a release, and others by their path in the node. They are hard
/// links, because copying them takes longer than a boot. A node that writes to one writes to its own copy.
pub(super) fn layer(containerd: &Containerd, others: &BTreeMap<String, PathBuf>, folder: &Path) -> io::Result<()> {
    let own = PROGRAMS.map(|name| (format!("/usr/bin/{name}"), beside(containerd, name)));
    let others = others.iter().map(|(inside, from)| (inside.clone(), from.clone()));
    for (inside, from) in own.into_iter().chain(others) {
        let target = folder.join(inside.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap_or(folder))?;
        fs::hard_link(&from, target)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot link {}: {error}", from.display())))?;
    }
    Ok(())
}

fn beside(containerd: &Containerd, name: &str) -> PathBuf {
    containerd.program.with_file_name(name)
}
