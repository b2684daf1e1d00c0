//! Modified hosts.toml files are repaired, and no other file changes.

use crate::common::snapshot;
use mirrorshift_node::{ChangePlan, Outcome, Root, STATE_DIR, Session, drifted, purge, retain_copies, status};
use mirrorshift_plan::change::Phase;
use mirrorshift_plan::{Digest, Expect, Step};
use std::fs;
use std::path::{Path, PathBuf};

const CONFIG: &str = "/etc/containerd/config.toml";
const HOSTS: &str = "/etc/containerd/certs.d/docker.io/hosts.toml";
const OTHER: &str = "/etc/containerd/certs.d/quay.io/hosts.toml";

struct Node {
    dir: tempfile::TempDir,
    root: Root,
}

impl Node {
    /// Returns a node with a settled change of config.toml and two hosts.toml files, and with copies of the new files.
    fn migrated() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/containerd")).unwrap();
        fs::create_dir_all(dir.path().join("var/lib")).unwrap();
        fs::write(dir.path().join("etc/containerd/config.toml"), "old").unwrap();
        let node = Self {
            root: Root::open(dir.path()).unwrap(),
            dir,
        };
        let mut session = Session::open(&node.root, 1, "one").unwrap();
        session.apply(&plan()).unwrap();
        drop(session);
        retain_copies(&node.root).unwrap();
        node
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn files(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        snapshot(&self.at("/etc/containerd"))
    }

    /// Returns the drifted paths, and true for each that can be repaired.
    fn drifted(&self) -> Vec<(String, bool)> {
        let drifted = drifted(&self.root, &status(&self.root).unwrap());
        drifted
            .into_iter()
            .map(|drift| (drift.path, drift.repairable))
            .collect()
    }

    fn repair(&self, id: &str) -> Outcome {
        Session::open(&self.root, 2, id).unwrap().repair("1.7.24").unwrap()
    }

    fn rollback(&self, id: &str) -> Outcome {
        Session::open(&self.root, 3, id).unwrap().rollback().unwrap()
    }
}

fn plan() -> ChangePlan {
    let new = |path: &str| Step {
        path: path.to_owned(),
        expect: Expect::Absent,
        content: Some(path.as_bytes().to_vec()),
        why: "a test".to_owned(),
    };
    let config = Step {
        expect: Expect::File(Digest::of(b"old")),
        content: Some(b"new".to_vec()),
        ..new(CONFIG)
    };
    ChangePlan {
        digest: Digest::of(b"plan"),
        containerd: "1.7.24".to_owned(),
        new_file_mode: 0o640,
        steps: vec![new(HOSTS), new(OTHER), config],
    }
}

fn copies(node: &Node) -> usize {
    fs::read_dir(node.at(STATE_DIR).join("copies")).map_or(0, Iterator::count)
}

#[test]
fn repair_restores_a_modified_file_and_backs_it_up() {
    let node = Node::migrated();
    let migrated = node.files();
    assert_eq!(node.drifted(), []);
    assert!(matches!(node.repair("nothing"), Outcome::Nothing));

    fs::write(node.at(HOSTS), "theirs").unwrap();
    fs::remove_dir_all(node.at(OTHER).parent().unwrap()).unwrap();
    assert_eq!(node.drifted(), [(HOSTS.to_owned(), true), (OTHER.to_owned(), true)]);
    let Outcome::Settled(report) = node.repair("two") else {
        panic!("the files were not repaired");
    };
    assert_eq!(report.files, [HOSTS, OTHER]);
    assert_eq!(node.files(), migrated);
    assert_eq!(node.drifted(), []);
    assert_eq!(fs::read(node.at(STATE_DIR).join("changes/two/0")).unwrap(), b"theirs");

    let status = status(&node.root).unwrap();
    assert_eq!(status.in_force().unwrap().id, "one");
    assert_eq!(status.history.last().unwrap().id, "two");
}

#[test]
fn rollback_after_repairs_restores_the_original_files() {
    let node = Node::migrated();
    for round in 0..9 {
        fs::write(node.at(HOSTS), "theirs").unwrap();
        assert!(matches!(node.repair(&format!("repair-{round}")), Outcome::Settled(_)));
    }
    let ids = |node: &Node| -> Vec<String> {
        let history = status(&node.root).unwrap().history;
        history.into_iter().map(|change| change.id).collect()
    };
    assert_eq!(ids(&node), ["one", "repair-8"]);

    assert!(matches!(node.rollback("back"), Outcome::RolledBack(_)));
    assert_eq!(fs::read_to_string(node.at(CONFIG)).unwrap(), "old");
    assert!(!node.at("/etc/containerd/certs.d").exists());
    assert!(matches!(node.rollback("further"), Outcome::Nothing));
    // The copies are no longer needed.
    assert_eq!(copies(&node), 2);
    retain_copies(&node.root).unwrap();
    assert_eq!(copies(&node), 0);
    assert_eq!(node.drifted(), []);
}

#[test]
fn repair_skips_files_without_an_intact_copy() {
    let node = Node::migrated();
    fs::write(node.at(CONFIG), "theirs").unwrap();
    assert_eq!(
        node.drifted(),
        [(CONFIG.to_owned(), false)],
        "a repair of config.toml would need a restart"
    );
    assert!(matches!(node.repair("a"), Outcome::Nothing));

    fs::write(node.at(HOSTS), "theirs").unwrap();
    let copy = node
        .at(STATE_DIR)
        .join("copies")
        .join(Digest::of(HOSTS.as_bytes()).to_string());
    let bytes = fs::read(&copy).unwrap();
    fs::write(&copy, "damaged").unwrap();
    assert!(matches!(node.repair("b"), Outcome::Nothing));
    retain_copies(&node.root).unwrap();
    assert!(
        matches!(node.repair("c"), Outcome::Nothing),
        "the modified file was copied"
    );

    fs::write(&copy, bytes).unwrap();
    assert!(matches!(node.repair("d"), Outcome::Settled(_)));
    assert_eq!(fs::read(node.at(HOSTS)).unwrap(), HOSTS.as_bytes());
    assert_eq!(fs::read(node.at(CONFIG)).unwrap(), b"theirs");

    // Another program replaced the file by a folder.
    let elsewhere = node.at("/etc/containerd/mine.toml");
    fs::write(&elsewhere, "mine").unwrap();
    fs::remove_file(node.at(HOSTS)).unwrap();
    fs::create_dir(node.at(HOSTS)).unwrap();
    assert!(node.drifted().contains(&(HOSTS.to_owned(), false)));
    assert!(matches!(node.repair("e"), Outcome::Nothing));
}

#[test]
fn repair_keeps_a_file_modified_after_its_plan() {
    let node = Node::migrated();
    fs::write(node.at(HOSTS), "theirs").unwrap();
    let theirs = node.files();
    let repair_with_stale_plan = |node: &Node| {
        let mut session = Session::open(&node.root, 2, "cut").unwrap();
        let plan = session.repair_plan("1.7.24").unwrap().unwrap();
        // Another program writes the file after the plan was made.
        fs::write(node.at(HOSTS), "newer").unwrap();
        session.apply(&plan).unwrap_err();
        fs::write(node.at(HOSTS), "theirs").unwrap();
    };
    repair_with_stale_plan(&node);
    assert_eq!(node.files(), theirs);
    assert_eq!(status(&node.root).unwrap().in_force().unwrap().phase, Phase::Settled);
    assert!(matches!(node.repair("two"), Outcome::Settled(_)));
}

#[test]
fn purge_removes_the_retained_copies() {
    let node = Node::migrated();
    assert_eq!(copies(&node), 2);
    fs::write(node.at(STATE_DIR).join("copies/.0.new"), "cut off").unwrap();
    let purged = purge(&node.root).unwrap();
    assert_eq!(purged.left, Vec::<String>::new());
    assert!(!node.at(STATE_DIR).exists());
    assert!(Path::new(&node.at(HOSTS)).exists());
}
