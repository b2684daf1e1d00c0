//! Cases that need mounts: a file that is a mount, and a file system that is read-only, full, or another file system.
//!
//! The test runs itself again in a separate mount namespace, so that nothing is mounted on the machine.

use crate::common::{CREATED, REPLACED, example, old_root, show, skip, snapshot, strace_works};
use mirrorshift_node::{ChangeError, ChangePlan, NodeError, NodeErrorKind, Outcome, Root, STATE_DIR, Session};
use mirrorshift_plan::{Digest, Expect, Step};
use std::fs;
use std::path::Path;
use std::process::Command;

type Case = fn(&Path);

const INSIDE: &str = "MIRRORSHIFT_TEST_INSIDE";
const CONFIG: &str = "/etc/containerd/config.toml";

#[test]
fn mounts() {
    if std::env::var_os(INSIDE).is_some() {
        let cases: [(&str, Case); 8] = [
            ("a mounted file", mounted_file_is_refused),
            ("a protected file", immutable_file_is_refused),
            ("a read-only root", read_only_root_is_refused),
            ("a read-only /etc", read_only_etc_is_refused),
            ("no space", too_little_space_is_refused),
            ("no inodes", too_few_inodes_are_refused),
            ("a separate /var", change_settles_with_state_on_another_file_system),
            ("an undo on a full disk", undo_succeeds_on_a_full_disk),
        ];
        for (name, case) in cases {
            let dir = tempfile::tempdir().unwrap();
            case(dir.path());
            show(&format!("mounts: {name}"));
        }
        return;
    }
    let possible = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "mount",
            "-t",
            "tmpfs",
            "none",
            "/mnt",
        ])
        .output()
        .is_ok_and(|output| output.status.success());
    if !possible {
        return skip("mounts", "a mount namespace needs root and `unshare`");
    }
    let inside = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "mounts::mounts", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(inside.success());
}

fn mount(arguments: &[&str], at: &Path) {
    let status = Command::new("mount").args(arguments).arg(at).status().unwrap();
    assert!(status.success(), "mount {arguments:?} {}", at.display());
}

fn tmpfs(options: &str, at: &Path) {
    fs::create_dir_all(at).unwrap();
    mount(&["-t", "tmpfs", "-o", options, "none"], at);
}

fn apply(dir: &Path, content: &[u8]) -> Result<Outcome, Result<ChangeError, mirrorshift_node::OpenError>> {
    let root = Root::open(dir).unwrap();
    let old = fs::read(dir.join(REPLACED[1])).unwrap();
    let plan = ChangePlan {
        digest: Digest::of(content),
        containerd: "1.7.24".to_owned(),
        new_file_mode: 0o644,
        steps: vec![Step {
            path: CONFIG.to_owned(),
            expect: Expect::File(Digest::of(&old)),
            content: Some(content.to_vec()),
            why: "a test".to_owned(),
        }],
    };
    Session::open(&root, 0, "mounted")
        .map_err(Err)?
        .apply(&plan)
        .map_err(Ok)
}

fn refused(dir: &Path, content: &[u8]) -> NodeError {
    let before = snapshot(dir);
    let error = match apply(dir, content) {
        Err(Ok(error)) => {
            assert_eq!(error.kind(), NodeErrorKind::Refused);
            match error {
                ChangeError::Refused(error) => error,
                other => panic!("{other:?}"),
            }
        }
        Err(Err(mirrorshift_node::OpenError::Node(error))) => error,
        other => panic!("{other:?}"),
    };
    assert!(error.hint().is_some(), "{error:?}");
    assert_eq!(snapshot(dir), before);
    error
}

fn mounted_file_is_refused(dir: &Path) {
    old_root(dir);
    let config = dir.join(REPLACED[1]);
    mount(&["--bind", config.to_str().unwrap()], &config);
    let text = refused(dir, b"new\n").to_string();
    assert!(text.contains("is a separate mount"), "{text}");
}

fn immutable_file_is_refused(dir: &Path) {
    old_root(dir);
    let config = dir.join(REPLACED[1]);
    let chattr = |flag: &str| {
        Command::new("chattr")
            .arg(flag)
            .arg(&config)
            .output()
            .is_ok_and(|out| out.status.success())
    };
    if !chattr("+i") {
        return skip("a protected file", "this file system has no `chattr +i`");
    }
    let text = refused(dir, b"new\n").to_string();
    assert!(chattr("-i"));
    assert!(text.contains("immutable"), "{text}");
}

fn read_only_root_is_refused(dir: &Path) {
    tmpfs("size=1m", dir);
    old_root(dir);
    mount(&["-o", "remount,ro"], dir);
    let error = refused(dir, b"new\n");
    assert!(error.hint().unwrap().contains("read-only"), "{error:?}");
}

fn read_only_etc_is_refused(dir: &Path) {
    tmpfs("size=1m", &dir.join("etc"));
    old_root(dir);
    mount(&["-o", "remount,ro"], &dir.join("etc"));
    let error = refused(dir, b"new\n");
    assert!(error.hint().unwrap().contains("read-only"), "{error:?}");
}

fn too_little_space_is_refused(dir: &Path) {
    tmpfs("size=128k", &dir.join("etc"));
    old_root(dir);
    let error = refused(dir, "#".repeat(40_000).as_bytes());
    assert!(matches!(error, NodeError::Space { needed: 160_000, .. }), "{error:?}");
}

fn too_few_inodes_are_refused(dir: &Path) {
    tmpfs("size=1m,nr_inodes=20", &dir.join("etc"));
    old_root(dir);
    let text = refused(dir, b"new\n").to_string();
    assert!(text.contains("inodes"), "{text}");
}

fn change_settles_with_state_on_another_file_system(dir: &Path) {
    tmpfs("size=1m", &dir.join("var"));
    old_root(dir);
    let before = snapshot(&dir.join("etc"));
    assert!(matches!(apply(dir, b"new\n"), Ok(Outcome::Settled(_))));
    assert_eq!(fs::read(dir.join(REPLACED[1])).unwrap(), b"new\n");
    let root = Root::open(dir).unwrap();
    assert!(matches!(
        Session::open(&root, 0, "back").unwrap().rollback(),
        Ok(Outcome::RolledBack(_))
    ));
    assert_eq!(snapshot(&dir.join("etc")), before);
}

/// A change is killed between two exchanges, and then the disk is filled to its last byte. The undo exchanges existing files,
/// and its journal fits into the reserve.
fn undo_succeeds_on_a_full_disk(dir: &Path) {
    if !strace_works() {
        return skip("an undo on a full disk", "strace is missing or not permitted");
    }
    tmpfs("size=1m", dir);
    old_root(dir);
    let before = snapshot(&dir.join("etc"));
    let killed = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=renameat2",
            "-e",
            "inject=renameat2:signal=KILL:when=3",
        ])
        .arg(example())
        .args(["apply".as_ref(), dir.as_os_str()])
        .status()
        .unwrap();
    assert!(!killed.success());
    assert!(dir.join(CREATED).exists(), "no file was exchanged yet");
    let mut filler = fs::File::create(dir.join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[0; 512]).is_ok() {}
    assert!(
        fs::write(dir.join(STATE_DIR.trim_start_matches('/')).join("probe"), [0; 4096]).is_err(),
        "there is space left"
    );
    fs::remove_file(dir.join(STATE_DIR.trim_start_matches('/')).join("probe")).unwrap();
    let root = Root::open(dir).unwrap();
    let outcome = Session::open(&root, 0, "back").unwrap().rollback().unwrap();
    assert!(matches!(outcome, Outcome::Undone(_)), "{outcome:?}");
    assert_eq!(snapshot(&dir.join("etc")), before);
}
