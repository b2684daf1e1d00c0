//! Helpers of the tests of whole runs: the example program, a root to run it on, and the allowed states of that root.

use rustix::fs::{XattrFlags, setxattr};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The three files of the example, under its root.
pub(crate) const CREATED: &str = "etc/containerd/certs.d/docker.io/hosts.toml";
pub(crate) const REPLACED: [&str; 2] = ["etc/containerd/conf.d/mirrors.toml", "etc/containerd/config.toml"];

/// Prints the reason why a test did not run. This is not a failure, because the machine lacks a prerequisite.
#[expect(clippy::print_stdout, reason = "the suite collects these lines")]
pub(crate) fn skip(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
}

/// Prints a result of a test.
#[expect(clippy::print_stdout, reason = "the figures are the result of the test")]
pub(crate) fn show(text: &str) {
    println!("{text}");
}

/// Builds the example program with the profile of the tests, and returns its path.
pub(crate) fn example() -> PathBuf {
    // `cargo test --test it` does not build examples, and a test of an old build would prove nothing.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "mirrorshift-node",
            "--example",
            "offline_change",
        ])
        .status()
        .unwrap();
    assert!(built.success());
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples/offline_change")
}

/// Returns true if strace is installed and permitted.
pub(crate) fn strace_works() -> bool {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success())
}

/// Creates the files of a node before the change: two files with different modes and attributes.
pub(crate) fn old_root(dir: &Path) {
    let containerd = dir.join("etc/containerd");
    fs::create_dir_all(containerd.join("conf.d")).unwrap();
    let texts = [
        "version = 2\n# mirrors in a drop-in\n",
        "version = 2\n# the old settings\n",
    ];
    for ((path, text), mode) in REPLACED.iter().zip(texts).zip([0o600, 0o640]) {
        let path = dir.join(path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    // Some file systems for temporary files do not support attributes.
    setxattr(dir.join(REPLACED[1]), "user.note", b"keep me", XattrFlags::empty()).ok();
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
}

/// The state of every file under a folder: contents, mode, owner and attributes, by path.
pub(crate) type Snapshot = BTreeMap<PathBuf, (String, u32, u32, u32, Vec<(String, Vec<u8>)>)>;

pub(crate) fn snapshot(dir: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "a folder".to_owned()
        } else if meta.is_file() {
            format!("{:?}", fs::read(&path).unwrap())
        } else {
            format!("{:?}", fs::read_link(&path).ok())
        };
        let relative = path.strip_prefix(dir).unwrap().to_owned();
        found.insert(
            relative,
            (content, meta.mode(), meta.uid(), meta.gid(), attributes(&path)),
        );
    }
    found
}

pub(crate) fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let Ok(length) = rustix::fs::llistxattr(path, &mut *names) else {
        return Vec::new();
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut *value).unwrap();
            value.truncate(length);
            (name, value)
        })
        .collect();
    // The kernel lists them in the order in which they were set.
    found.sort();
    found
}
