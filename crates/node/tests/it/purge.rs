//! A purge removes Mirrorshift's files and no others.

use crate::common::{old_root, snapshot};
use crate::runtime::{CONFIG, FakeRuntime, KilledAt, NEW, OLD};
use mirrorshift_node::{ChangePlan, NodeErrorKind, OpenError, PurgeError, Purged, Root, STATE_DIR, Session, purge};
use mirrorshift_plan::{Digest, Expect, Step};
use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const UNITS: &str = "/etc/systemd/system";

struct Node {
    dir: tempfile::TempDir,
    root: Root,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        old_root(dir.path());
        // The other folders in which Mirrorshift writes.
        for folder in ["run", "var/lib", "etc/systemd/system"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        Self { dir, root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), "x").unwrap();
    }

    /// Adds a settled change, and every other file that Mirrorshift may leave on a node.
    fn settled(&self) {
        let mut fake = FakeRuntime::new(self.dir.path(), &[OLD, NEW]);
        let session = Session::open(&self.root, 1, "one").unwrap();
        session.with_runtime(&mut fake).apply(&plan()).unwrap();
        for path in [
            "/var/lib/mirrorshift/bin/mirrorshift",
            "/var/lib/mirrorshift/bin/.mirrorshift.new",
            "/var/lib/mirrorshift/reserve",
            "/run/mirrorshift/progress",
            "/run/mirrorshift-proof",
            "/etc/systemd/system/mirrorshift-guard.service",
            "/etc/systemd/system/mirrorshift-look.service",
        ] {
            self.write(path);
        }
        let wants = self.at("/etc/systemd/system/containerd.service.wants");
        fs::create_dir(&wants).unwrap();
        symlink("../mirrorshift-guard.service", wants.join("mirrorshift-guard.service")).unwrap();
    }
}

fn plan() -> ChangePlan {
    ChangePlan {
        digest: Digest::of(b"plan"),
        containerd: "1.7.24".to_owned(),
        new_file_mode: 0o644,
        steps: vec![Step {
            path: CONFIG.to_owned(),
            expect: Expect::File(Digest::of(OLD.as_bytes())),
            content: Some(NEW.as_bytes().to_vec()),
            why: "a test".to_owned(),
        }],
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn purge_removes_its_own_files_and_keeps_the_migrated_ones() {
    let node = Node::new();
    node.settled();
    let migrated = snapshot(&node.at("/etc/containerd"));
    let purged = purge(&node.root).unwrap();
    assert_eq!(purged.left, Vec::<String>::new());
    for removed in [
        "/etc/systemd/system/mirrorshift-guard.service",
        "/var/lib/mirrorshift/bin/mirrorshift",
        "/var/lib/mirrorshift/changes/one/0",
        "/var/lib/mirrorshift/journal.json",
        STATE_DIR,
        "/run/mirrorshift",
    ] {
        assert!(
            purged.gone.iter().any(|path| path == removed),
            "{removed}: {:?}",
            purged.gone
        );
    }
    assert_eq!(names(&node.at("/var/lib")), Vec::<String>::new());
    assert_eq!(names(&node.at("/run")), Vec::<String>::new());
    assert_eq!(names(&node.at(UNITS)), Vec::<String>::new());
    assert_eq!(snapshot(&node.at("/etc/containerd")), migrated);
    assert_eq!(fs::read_to_string(node.at(CONFIG)).unwrap(), NEW);
    // A second purge creates nothing.
    let before = snapshot(node.dir.path());
    assert_eq!(purge(&node.root).unwrap(), Purged::default());
    assert_eq!(snapshot(node.dir.path()), before);
}

#[test]
fn purge_keeps_and_reports_files_of_other_programs() {
    let node = Node::new();
    node.settled();
    let theirs = [
        "/var/lib/mirrorshift/bin/tool",
        "/var/lib/mirrorshift/changes/one/notes.txt",
        "/var/lib/mirrorshift/backup.tar",
        "/run/mirrorshift/deep/theirs",
        "/etc/systemd/system/containerd.service.wants/other.service",
    ];
    for path in theirs {
        node.write(path);
    }
    symlink(
        "/etc/containerd/config.toml",
        node.at("/var/lib/mirrorshift/changes/one/7"),
    )
    .unwrap();
    let mut left = purge(&node.root).unwrap().left;
    left.sort();
    assert_eq!(
        left,
        [
            "/run/mirrorshift/deep/theirs",
            "/var/lib/mirrorshift/backup.tar",
            "/var/lib/mirrorshift/bin/tool",
            "/var/lib/mirrorshift/changes/one/7",
            "/var/lib/mirrorshift/changes/one/notes.txt",
        ]
    );
    for path in theirs {
        assert!(node.at(path).exists(), "{path}");
    }
    assert_eq!(
        fs::read_to_string(node.at(CONFIG)).unwrap(),
        NEW,
        "the link was not followed"
    );
    assert!(!node.at("/var/lib/mirrorshift/journal.json").exists());
}

#[test]
fn purge_is_refused_with_an_unsettled_change_or_a_held_lock() {
    let node = Node::new();
    let mut fake = FakeRuntime::new(node.dir.path(), &[OLD, NEW]);
    let run = AssertUnwindSafe(|| {
        let mut runtime = KilledAt(&mut fake, "after the restart");
        let session = Session::open(&node.root, 1, "one").unwrap();
        drop(session.with_runtime(&mut runtime).apply(&plan()));
    });
    assert!(catch_unwind(run).is_err());
    let before = snapshot(node.dir.path());
    let error = purge(&node.root).unwrap_err();
    assert!(matches!(&error, PurgeError::Unsettled(id) if id == "one"), "{error:?}");
    assert!(error.hint().is_some());
    assert_eq!(snapshot(node.dir.path()), before);

    let session = Session::open(&node.root, 2, "two").unwrap();
    let error = purge(&node.root).unwrap_err();
    let PurgeError::Open(error @ OpenError::Locked { .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind(), NodeErrorKind::Locked);
    drop(session);

    // An unreadable journal may record an unsettled change.
    fs::write(node.at("/var/lib/mirrorshift/journal.json"), "{").unwrap();
    assert!(matches!(
        purge(&node.root),
        Err(PurgeError::Open(OpenError::Journal(_)))
    ));
}
