//! The files of each set, as the sandbox sees them, in a folder of /run that only root can enter. The folder is removed
//! when the rehearsal ends. If the process is killed, the next rehearsal removes it.

use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, join, split};
use crate::paths::RUN_DIR;
use crate::rehearsal::error::RehearsalError;
use crate::rehearsal::private_paths::{is_below, outermost};
use mirrorshift_containerd::Entry;
use mirrorshift_plan::Step;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

const PREFIX: &str = "rehearsal-";
/// Limits of one copied folder: bytes, names, and depth. A real folder is far smaller, and /run has room for these.
const MAX_BYTES: usize = 32 << 20;
const MAX_NAMES: usize = 10_000;
const MAX_DEPTH: usize = 16;

/// The folder of one rehearsal. It is removed when the value is dropped.
#[derive(Debug)]
pub(super) struct StagingDir {
    path: PathBuf,
    /// Locked while the value exists, so that another rehearsal does not remove the folder.
    _lock: File,
}

impl StagingDir {
    /// Creates the folder, and removes the folders of rehearsals that were killed.
    pub(super) fn create(id: &str) -> Result<Self, RehearsalError> {
        create_private_folder(Path::new(RUN_DIR)).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(RehearsalError::io("create", RUN_DIR)(error)),
        })?;
        remove_abandoned();
        let path = Path::new(RUN_DIR).join(format!("{PREFIX}{id}"));
        let shown = path.display().to_string();
        create_private_folder(&path).map_err(RehearsalError::io("create", &shown))?;
        let lock = File::open(&path).map_err(RehearsalError::io("open", &shown))?;
        lock.try_lock()
            .map_err(|error| RehearsalError::io("lock", &shown)(error.into()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Creates a folder in it.
    pub(super) fn create_folder(&self, name: &str) -> Result<PathBuf, RehearsalError> {
        let path = self.path.join(name);
        create_private_folder(&path).map_err(RehearsalError::io("create", path.display().to_string()))?;
        Ok(path)
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        // If this fails, the next rehearsal or a reboot removes the folder.
        fs::remove_dir_all(&self.path).ok();
        fs::remove_dir(RUN_DIR).ok();
    }
}

/// Removes the folders of rehearsals that were killed, which no process has locked.
fn remove_abandoned() {
    let Ok(entries) = fs::read_dir(RUN_DIR) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if folder.try_lock().is_ok() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Writes a new file that only root can read.
pub(super) fn write(path: &Path, contents: &[u8]) -> Result<(), RehearsalError> {
    let shown = || path.display().to_string();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(contents));
    written.map_err(RehearsalError::io("write", shown()))
}

/// Returns the folders that a set of files replaces completely: containerd's own, and for each other file of the change
/// the nearest existing folder above it. No folder is under another.
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
        // Otherwise a large part of the system would be copied, including passwords.
        if above.matches('/').count() < 2 {
            return Err(RehearsalError::Place {
                path: step.path.clone(),
                why: "is in a folder that does not exist, directly under a folder of the system",
            });
        }
        homes.push(above.to_owned());
    }
    outermost(&mut homes);
    Ok(homes)
}

/// Copies the node's folder `home` to `to`, and applies `steps` to the copy.
pub(super) fn copy(root: &Root, home: &str, to: &Path, steps: &[&Step]) -> Result<(), RehearsalError> {
    let mut budget = CopyBudget {
        bytes: MAX_BYTES,
        names: MAX_NAMES,
    };
    create_private_folder(to).map_err(RehearsalError::io("create", to.display().to_string()))?;
    budget.copy(root, home, to, MAX_DEPTH)?;
    for step in steps.iter().filter(|step| is_below(&step.path, home)) {
        apply_step(home, to, step)?;
    }
    Ok(())
}

fn apply_step(home: &str, to: &Path, step: &Step) -> Result<(), RehearsalError> {
    let relative = step.path[home.len()..].trim_start_matches('/');
    let target = to.join(relative);
    let shown = || step.path.clone();
    // The copy has no links to folders, because links were followed. Only `..` could lead out of it.
    if relative.split('/').any(|name| name == "..") {
        return Err(RehearsalError::Place {
            path: shown(),
            why: "has `..` in it",
        });
    }
    match fs::remove_file(&target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(RehearsalError::io("copy", shown())(error));
        }
        _ => {}
    }
    let Some(content) = &step.content else { return Ok(()) };
    if let Some(parent) = target.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(RehearsalError::io("copy", shown()))?;
    }
    write(&target, content)
}

/// The bytes and names that may still be copied.
struct CopyBudget {
    bytes: usize,
    names: usize,
}

impl CopyBudget {
    /// Copies a folder. Links are followed, so that no later write can lead out of the copy. Sockets, devices and the
    /// like are skipped. A link to a missing file stays such a link, because containerd's import patterns match it.
    fn copy(&mut self, root: &Root, from: &str, to: &Path, depth: usize) -> Result<(), RehearsalError> {
        let too_much = |path: &str| RehearsalError::Place {
            path: path.to_owned(),
            why: "is too large for a copy in /run",
        };
        let Entry::Folder(names) = root.entry(from) else {
            return Ok(());
        };
        if depth == 0 || names.len() > self.names {
            return Err(too_much(from));
        }
        self.names -= names.len();
        for name in names {
            let (path, target) = (join(from, &name), to.join(&name));
            match root.entry(&path) {
                Entry::File(contents) => {
                    self.bytes = self.bytes.checked_sub(contents.len()).ok_or_else(|| too_much(from))?;
                    write(&target, &contents)?;
                }
                Entry::Folder(_) => {
                    create_private_folder(&target).map_err(RehearsalError::io("copy", &path))?;
                    self.copy(root, &path, &target, depth - 1)?;
                }
                Entry::Absent => {
                    symlink("/nowhere", &target).map_err(RehearsalError::io("copy", &path))?;
                }
                Entry::Unusable(_) => {}
            }
        }
        Ok(())
    }
}

/// Returns true if `path` exists after links were followed.
pub(super) fn exists(root: &Root, path: &str) -> bool {
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
    fn copy_has_the_steps_applied_and_no_links_out_of_it() {
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
        // The node's own files are unchanged.
        assert_eq!(
            fs::read_to_string(at("etc/docker/certs.d/b/hosts.toml")).unwrap(),
            "old b"
        );
        assert_eq!(fs::read_to_string(at("etc/containerd/config.toml")).unwrap(), "old");
    }

    #[test]
    fn homes_are_the_nearest_existing_folders() {
        let node = node(&[("etc/containerd/config.toml", ""), ("opt/x/conf.d/y.toml", "")]);
        let root = Root::open(node.path()).unwrap();
        let homes_of = |path: &str| homes(&root, "/etc/containerd", &[step(path, Some(""))]);
        assert_eq!(
            homes_of("/opt/x/conf.d/y.toml").unwrap(),
            ["/etc/containerd", "/opt/x/conf.d"]
        );
        assert_eq!(
            homes_of("/opt/x/new/y/hosts.toml").unwrap(),
            ["/etc/containerd", "/opt/x"]
        );
        assert!(matches!(
            homes_of("/etc/new/hosts.toml"),
            Err(RehearsalError::Place { .. })
        ));
    }

    #[test]
    fn apply_step_refuses_a_path_with_parent_components() {
        let to = tempfile::tempdir().unwrap();
        let climbing = step("/etc/containerd/../x", Some(""));
        assert!(matches!(
            apply_step("/etc/containerd", to.path(), &climbing),
            Err(RehearsalError::Place { .. })
        ));
    }
}
