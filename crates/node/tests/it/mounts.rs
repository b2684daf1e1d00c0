//! Cases that need mounts: a file that is a mount, and a file system that is read-only, full, or another file system.
//!
//! The test runs itself again in a separate mount namespace, so that nothing is mounted on the machine.

use crate::common::{CREATED, REPLACED, example, old_root, picture, show, skip, strace_works};
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
            ("a mounted file", a_mounted_file_is_refused),
            ("a protected file", a_protected_file_is_refused),
            ("a read-only root", a_read_only_root_is_refused),
            ("a read-only /etc", a_read_only_etc_is_refused),
            ("no space", too_little_space_is_refused),
            ("no inodes", too_few_inodes_are_refused),
            ("/var of its own", a_state_folder_elsewhere_works),
            ("an undo on a full disk", an_undo_needs_no_space),
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
    let before = picture(dir);
    let trouble = match apply(dir, content) {
        Err(Ok(error)) => {
            assert_eq!(error.kind(), NodeErrorKind::Refused);
            match error {
                ChangeError::Refused(trouble) => trouble,
                other => panic!("{other:?}"),
            }
        }
        Err(Err(mirrorshift_node::OpenError::Node(trouble))) => trouble,
        other => panic!("{other:?}"),
    };
    assert!(trouble.hint().is_some(), "{trouble:?}");
    assert_eq!(picture(dir), before);
    trouble
}

fn a_mounted_file_is_refused(dir: &Path) {
    old_root(dir);
    let config = dir.join(REPLACED[1]);
    mount(&["--bind", config.to_str().unwrap()], &config);
    let text = refused(dir, b"new\n").to_string();
    assert!(text.contains("is a separate mount"), "{text}");
}

fn a_protected_file_is_refused(dir: &Path) {
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

fn a_read_only_root_is_refused(dir: &Path) {
    tmpfs("size=1m", dir);
    old_root(dir);
    mount(&["-o", "remount,ro"], dir);
    let trouble = refused(dir, b"new\n");
    assert!(trouble.hint().unwrap().contains("read-only"), "{trouble:?}");
}

fn a_read_only_etc_is_refused(dir: &Path) {
    tmpfs("size=1m", &dir.join("etc"));
    old_root(dir);
    mount(&["-o", "remount,ro"], &dir.join("etc"));
    let trouble = refused(dir, b"new\n");
    assert!(trouble.hint().unwrap().contains("read-only"), "{trouble:?}");
}

fn too_little_space_is_refused(dir: &Path) {
    tmpfs("size=128k", &dir.join("etc"));
    old_root(dir);
    let trouble = refused(dir, "#".repeat(40_000).as_bytes());
    assert!(
        matches!(trouble, NodeError::Space { needed: 160_000, .. }),
        "{trouble:?}"
    );
}

fn too_few_inodes_are_refused(dir: &Path) {
    tmpfs("size=1m,nr_inodes=20", &dir.join("etc"));
    old_root(dir);
    let text = refused(dir, b"new\n").to_string();
    assert!(text.contains("inodes"), "{text}");
}

fn a_state_folder_elsewhere_works(dir: &Path) {
    tmpfs("size=1m", &dir.join("var"));
    old_root(dir);
    let before = picture(&dir.join("etc"));
    assert!(matches!(apply(dir, b"new\n"), Ok(Outcome::Settled(_))));
    assert_eq!(fs::read(dir.join(REPLACED[1])).unwrap(), b"new\n");
    let root = Root::open(dir).unwrap();
    assert!(matches!(
        Session::open(&root, 0, "back").unwrap().rollback(),
        Ok(Outcome::RolledBack(_))
    ));
    assert_eq!(picture(&dir.join("etc")), before);
}

/// Killed between two swaps, then the disk fills up to its last byte: the undo exchanges what is there already, and its
/// journal fits into what was held back.
fn an_undo_needs_no_space(dir: &Path) {
    if !strace_works() {
        return skip("an undo on a full disk", "strace is not there or may not trace");
    }
    tmpfs("size=1m", dir);
    old_root(dir);
    let before = picture(&dir.join("etc"));
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
    assert!(dir.join(CREATED).exists(), "nothing was swapped yet");
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
    assert_eq!(picture(&dir.join("etc")), before);
}
