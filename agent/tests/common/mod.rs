//! A node in a temporary directory, the program as an operator runs it, and golden text.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, of which each test program uses its part"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) const CONFIG: &str = "/etc/containerd/config.toml";
pub(crate) const VERSION: &str = "1.7.24";

/// A node's files in a temporary directory.
pub(crate) struct Node {
    dir: tempfile::TempDir,
    root: PathBuf,
}

/// The result of one run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Node {
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("node");
        fs::create_dir(&root).unwrap();
        Self { dir, root }
    }

    /// A node with this root configuration.
    pub(crate) fn new(config: impl AsRef<[u8]>) -> Self {
        let node = Self::empty();
        node.write(CONFIG, config);
        node
    }

    /// A copy of the example node.
    pub(crate) fn example() -> Self {
        let node = Self::empty();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/node");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(from.join("etc"))
            .arg(node.root())
            .status()
            .unwrap();
        assert!(copied.success());
        node
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Runs the command on this node with the usual version of containerd.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.run_as(VERSION, words)
    }

    pub(crate) fn run_as(&self, version: &str, words: &[&str]) -> Ran {
        let mut command = mirrorshift();
        command
            .args(words)
            .arg("--root")
            .arg(self.root())
            .args(["--containerd-version", version]);
        ran(command.output().unwrap())
    }

    /// Returns the exit code and the output in a pipe. Names and dates of changes are replaced.
    pub(crate) fn shown(&self, words: &[&str]) -> String {
        self.shown_with(None, words)
    }

    /// Like [`Node::shown`], at a width.
    pub(crate) fn shown_at(&self, columns: usize, words: &[&str]) -> String {
        self.shown_with(Some(columns), words)
    }

    /// The root is a relative path, because the length of an absolute one would change where lines are wrapped.
    fn shown_with(&self, columns: Option<usize>, words: &[&str]) -> String {
        let mut command = mirrorshift();
        if let Some(columns) = columns {
            command.env("COLUMNS", columns.to_string());
        }
        command
            .current_dir(self.dir.path())
            .args(words)
            .args(["--root", "node", "--containerd-version", VERSION]);
        let ran = ran(command.output().unwrap());
        mask_changes(&format!("exit {}\n{}{}", ran.code, ran.out, ran.err))
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        walk(self.root(), &mut found);
        found
    }
}

pub(crate) fn mirrorshift() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirrorshift"));
    command.env_clear();
    command
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().expect("no signal ended it"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Replaces the names and dates of changes.
fn mask_changes(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive([' ', '\n', ',', '/', '"', '(', ')']) {
        let bare = word.trim_end_matches([' ', '\n', ',', ':', '/', '"', '(', ')']);
        let end = &word[bare.len()..];
        let digits = |text: &str| text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_change = bare
            .split_once('-')
            .is_some_and(|(time, pid)| time.len() == 10 && digits(time) && digits(pid));
        let is_date = bare.len() == 20 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T';
        out.push_str(if is_change {
            "CHANGE"
        } else if is_date {
            "DATE"
        } else {
            bare
        });
        out.push_str(end);
    }
    out
}

/// Records everything that a change could modify: kind, mode, owner, size, times, inode, and contents or target.
fn walk(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let content = match meta.file_type() {
        kind if kind.is_symlink() => fs::read_link(path).unwrap().display().to_string(),
        kind if kind.is_file() => format!("{:?}", fs::read(path).ok()),
        _ => String::new(),
    };
    let (mode, owner, ino) = (meta.mode(), meta.uid(), meta.ino());
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    found.insert(path.to_owned(), format!("{mode:o} {owner} {ino} {times:?} {content}"));
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), found);
        }
    }
}

/// Asserts that `act` changes nothing under the root.
pub(crate) fn untouched<T>(node: &Node, act: impl FnOnce() -> T) -> T {
    let before = node.snapshot();
    let done = act();
    let after = node.snapshot();
    assert!(
        before == after,
        "these paths under the root changed: {:?}",
        differing(&before, &after)
    );
    done
}

/// Compares a text with `tests/snapshots/NAME.txt`. With `MIRRORSHIFT_UPDATE=1` it writes the file instead.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/{name}.txt"));
    if std::env::var_os("MIRRORSHIFT_UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differing = expected.lines().zip(text.lines()).position(|(one, two)| one != two);
    assert!(
        expected == text,
        "{name} differs at line {:?}; MIRRORSHIFT_UPDATE=1 writes it. It is now:\n{text}",
        differing.map(|line| line + 1)
    );
}

/// Asserts that no line is longer than `columns`, except a line with a word that cannot be broken.
pub(crate) fn assert_fits(columns: usize, text: &str) {
    for line in text.lines() {
        let is_wrapped = line.chars().count() <= columns;
        let longest = line
            .split_whitespace()
            .map(|word| word.chars().count())
            .max()
            .unwrap_or(0);
        let is_one_word = line.split_whitespace().count() <= 6 && longest + 30 > columns;
        let is_command = line.trim_start().starts_with("mirrorshift ") || line.contains("sudo ");
        assert!(is_wrapped || is_one_word || is_command, "longer than {columns}: {line}");
    }
}

fn differing<'s>(one: &'s BTreeMap<PathBuf, String>, two: &'s BTreeMap<PathBuf, String>) -> Vec<&'s PathBuf> {
    one.keys()
        .chain(two.keys())
        .filter(|path| one.get(*path) != two.get(*path))
        .collect()
}

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The registry table of a version 2 file.
pub(crate) fn registry(body: &str) -> String {
    let table = "plugins.\"io.containerd.grpc.v1.cri\".registry";
    format!("version = 2\n{}", body.replace("[r", &format!("[{table}")))
}
