//! The files of each set, as the sandbox shall see them, in a folder of /run that only root can enter. It goes when the
//! rehearsal ends; what a killed one has left goes with the next.

use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, join, split};
use crate::paths::RUN_DIR;
use crate::rehearsal::error::RehearsalError;
use crate::rehearsal::private_paths::{is_below, outermost};
use mirrorshift_containerd::Entry;
use mirrorshift_plan::Step;
use rustix::fs::{FlockOperation, flock};
use std::fs::{
    DirBuilder, File, OpenOptions, {self},
};
use std::io::{
    Write, {self},
};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

const PREFIX: &str = "rehearsal-";
/// What a folder may hold altogether: bytes, and names. Far above any real one, and little enough for /run.
const MOST_BYTES: usize = 32 << 20;
const MOST_NAMES: usize = 10_000;
/// Folders in folders.
const DEEPEST: usize = 16;

/// A folder of one rehearsal. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct StagingDir {
    path: PathBuf,
    /// Held with a lock while this lives, so that nobody takes it for one that was left.
    _lock: File,
}

impl StagingDir {
    /// Makes it, and clears away what was left behind.
    pub(super) fn make(id: &str) -> Result<Self, RehearsalError> {
        folder(Path::new(RUN_DIR)).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(RehearsalError::io("make", RUN_DIR)(error)),
        })?;
        clear();
        let path = Path::new(RUN_DIR).join(format!("{PREFIX}{id}"));
        let shown = path.display().to_string();
        folder(&path).map_err(RehearsalError::io("make", &shown))?;
        let lock = File::open(&path).map_err(RehearsalError::io("open", &shown))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| RehearsalError::io("lock", &shown)(error.into()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Makes a folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, RehearsalError> {
        let path = self.path.join(name);
        folder(&path).map_err(RehearsalError::io("make", path.display().to_string()))?;
        Ok(path)
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next rehearsal, and at a reboot.
        fs::remove_dir_all(&self.path).ok();
        fs::remove_dir(RUN_DIR).ok();
    }
}

/// Removes the folders of rehearsals that were killed: those that nobody holds.
fn clear() {
    let Ok(entries) = fs::read_dir(RUN_DIR) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Writes a new file that only root can read.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RehearsalError> {
    let shown = || path.display().to_string();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(RehearsalError::io("write", shown()))
}

/// The folders that a set of files replaces as a whole: containerd's own, and the nearest one that is there above each other
/// file of the change. None lies below another.
pub(super) fn homes(root: &Root, own: &str, steps: &[Step]) -> Result<Vec<String>, RehearsalError> {
    let mut homes = Vec::new();
    if matches!(root.entry(own), Entry::Folder(_)) {
        homes.push(own.to_owned());
    }
    for step in steps {
        if homes.iter().any(|home| is_below(&step.path, home)) {
            continue;
        }
        let mut above = split(&step.path).0;
        while !matches!(root.entry(above), Entry::Folder(_)) && above != "/" {
            above = split(above).0;
        }
        // Half of the system would have to be copied, passwords included.
        if above.matches('/').count() < 2 {
            return Err(RehearsalError::Place {
                path: step.path.clone(),
                why: "lies in a folder that is not there yet, directly below the system's own",
            });
        }
        homes.push(above.to_owned());
    }
    outermost(&mut homes);
    Ok(homes)
}

/// Copies the folder `home` of the node to `to`, with the files of `steps` in it as the steps leave them.
pub(super) fn copy(root: &Root, home: &str, to: &Path, steps: &[&Step]) -> Result<(), RehearsalError> {
    let mut left = Left {
        bytes: MOST_BYTES,
        names: MOST_NAMES,
    };
    folder(to).map_err(RehearsalError::io("make", to.display().to_string()))?;
    left.copy(root, home, to, DEEPEST)?;
    for step in steps.iter().filter(|step| is_below(&step.path, home)) {
        put(home, to, step)?;
    }
    Ok(())
}

fn put(home: &str, to: &Path, step: &Step) -> Result<(), RehearsalError> {
    let below = step.path[home.len()..].trim_start_matches('/');
    let target = to.join(below);
    let shown = || step.path.clone();
    // All folders here are real ones, links having been followed when they were copied.
    if below.split('/').any(|name| name == "..") {
        return Err(RehearsalError::Place {
            path: shown(),
            why: "has `..` in it",
        });
    }
    match fs::remove_file(&target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(RehearsalError::io("stage", shown())(error));
        }
        _ => {}
    }
    let Some(content) = &step.content else { return Ok(()) };
    if let Some(parent) = target.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(RehearsalError::io("stage", shown()))?;
    }
    write(&target, content)
}

/// How much may still be copied.
struct Left {
    bytes: usize,
    names: usize,
}

impl Left {
    /// Links are followed, so that nothing that is written afterwards can lead out of the copy. What is no file or folder
    /// stays outside; a link to nothing stays one, as containerd's import patterns match it.
    fn copy(&mut self, root: &Root, from: &str, to: &Path, deeper: usize) -> Result<(), RehearsalError> {
        let too_much = |path: &str| RehearsalError::Place {
            path: path.to_owned(),
            why: "holds more than fits in /run",
        };
        let Entry::Folder(names) = root.entry(from) else {
            return Ok(());
        };
        if deeper == 0 || names.len() > self.names {
            return Err(too_much(from));
        }
        self.names -= names.len();
        for name in names {
            let (path, target) = (join(from, &name), to.join(&name));
            match root.entry(&path) {
                Entry::File(bytes) => {
                    self.bytes = self.bytes.checked_sub(bytes.len()).ok_or_else(|| too_much(from))?;
                    write(&target, &bytes)?;
                }
                Entry::Folder(_) => {
                    folder(&target).map_err(RehearsalError::io("stage", &path))?;
                    self.copy(root, &path, &target, deeper - 1)?;
                }
                Entry::Absent => {
                    symlink("/nowhere", &target).map_err(RehearsalError::io("stage", &path))?;
                }
                Entry::Unusable(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether something stands at `path`, links followed.
pub(super) fn stands(root: &Root, path: &str) -> bool {
    matches!(resolve(root, path), Ok(ResolvedPath::Found(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorshift_plan::Expect;

    fn step(path: &str, content: Option<&str>) -> Step {
        Step {
            path: path.to_owned(),
            expect: Expect::Absent,
            content: content.map(|text| text.as_bytes().to_vec()),
            why: String::new(),
        }
    }

    fn node(files: &[(&str, &str)]) -> tempfile::TempDir {
        let node = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = node.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        node
    }

    #[test]
    fn a_copy_has_the_steps_in_it_and_links_lead_nowhere_out_of_it() {
        let node = node(&[
            ("etc/containerd/config.toml", "old"),
            ("etc/containerd/certs.d/a/hosts.toml", "old a"),
            ("etc/docker/certs.d/b/hosts.toml", "old b"),
        ]);
        let at = |path: &str| node.path().join(path);
        symlink("/etc/docker/certs.d", at("etc/containerd/linked.d")).unwrap();
        symlink("gone", at("etc/containerd/dangling.toml")).unwrap();
        let root = Root::open(node.path()).unwrap();
        let home = "/etc/containerd";
        let steps = [
            step("/etc/containerd/certs.d/c/hosts.toml", Some("new c")),
            step("/etc/containerd/linked.d/b/hosts.toml", Some("new b")),
            step("/etc/containerd/certs.d/a/hosts.toml", None),
            step("/etc/containerd/config.toml", Some("new")),
        ];
        assert_eq!(homes(&root, home, &steps).unwrap(), [home]);
        let to = tempfile::tempdir().unwrap();
        let copied = to.path().join("0");
        copy(&root, home, &copied, &steps.iter().collect::<Vec<_>>()).unwrap();
        let text = |path: &str| fs::read_to_string(copied.join(path)).ok();
        assert_eq!(text("config.toml").as_deref(), Some("new"));
        assert_eq!(text("certs.d/c/hosts.toml").as_deref(), Some("new c"));
        assert_eq!(text("linked.d/b/hosts.toml").as_deref(), Some("new b"));
        assert_eq!(text("certs.d/a/hosts.toml"), None);
        assert!(fs::symlink_metadata(copied.join("dangling.toml")).unwrap().is_symlink());
        // The node's own are as they were.
        assert_eq!(
            fs::read_to_string(at("etc/docker/certs.d/b/hosts.toml")).unwrap(),
            "old b"
        );
        assert_eq!(fs::read_to_string(at("etc/containerd/config.toml")).unwrap(), "old");
    }

    #[test]
    fn a_home_is_the_nearest_folder_that_is_there() {
        let node = node(&[("etc/containerd/config.toml", ""), ("opt/x/conf.d/y.toml", "")]);
        let root = Root::open(node.path()).unwrap();
        let of = |path: &str| homes(&root, "/etc/containerd", &[step(path, Some(""))]);
        assert_eq!(
            of("/opt/x/conf.d/y.toml").unwrap(),
            ["/etc/containerd", "/opt/x/conf.d"]
        );
        assert_eq!(of("/opt/x/new/y/hosts.toml").unwrap(), ["/etc/containerd", "/opt/x"]);
        assert!(matches!(of("/etc/new/hosts.toml"), Err(RehearsalError::Place { .. })));
    }

    #[test]
    fn a_step_that_climbs_is_refused() {
        let to = tempfile::tempdir().unwrap();
        let climbing = step("/etc/containerd/../x", Some(""));
        assert!(matches!(
            put("/etc/containerd", to.path(), &climbing),
            Err(RehearsalError::Place { .. })
        ));
    }
}
