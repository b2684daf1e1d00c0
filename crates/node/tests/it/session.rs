//! Changes and rollbacks through the public interface: the preserved attributes, the refusals, and the untouched files.

use crate::common::{attributes, snapshot};
use mirrorshift_node::{
    ChangeError, ChangePlan, NodeError, NodeErrorKind, OpenError, Outcome, Root, STATE_DIR, Session, status,
};
use mirrorshift_plan::change::Phase;
use mirrorshift_plan::{Digest, Expect, Step};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const CONFIG: &str = "/etc/containerd/config.toml";
const HOSTS: &str = "/etc/containerd/certs.d/ghcr.io/hosts.toml";

struct Node {
    dir: TempDir,
    root: Root,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/containerd")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let node = Self { dir, root };
        fs::write(node.at(CONFIG), "old\n").unwrap();
        node
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn open(&self, id: &str) -> Session<'_> {
        Session::open(&self.root, 1_700_000_000, id).unwrap()
    }

    fn apply(&self, id: &str, steps: Vec<Step>) -> Result<Outcome, ChangeError> {
        self.open(id).apply(&plan(steps))
    }

    fn rollback(&self) -> Result<Outcome, ChangeError> {
        self.open("back").rollback()
    }

    /// Checks that `steps` are refused for this reason, and that nothing under the root changes.
    fn refuses(&self, steps: Vec<Step>, why: &str) {
        let before = snapshot(self.dir.path());
        let error = self.apply("refused", steps).unwrap_err();
        assert_eq!(error.kind(), NodeErrorKind::Refused);
        assert!(error.cause().to_string().contains(why), "`{}`", error.cause());
        assert!(error.cause().hint().is_some(), "{error:?}");
        assert_eq!(snapshot(self.dir.path()), before);
    }
}

fn plan(steps: Vec<Step>) -> ChangePlan {
    let names = format!("{steps:?}");
    ChangePlan {
        digest: Digest::of(names.as_bytes()),
        containerd: "1.7.24".to_owned(),
        new_file_mode: 0o644,
        steps,
    }
}

fn step(path: &str, expect: Option<&str>, content: Option<&str>) -> Step {
    Step {
        path: path.to_owned(),
        expect: expect.map_or(Expect::Absent, |text| Expect::File(Digest::of(text.as_bytes()))),
        content: content.map(|text| text.as_bytes().to_vec()),
        why: "a test".to_owned(),
    }
}

fn replace() -> Vec<Step> {
    vec![
        step(HOSTS, None, Some("hosts\n")),
        step(CONFIG, Some("old\n"), Some("new\n")),
    ]
}

fn change(outcome: Outcome) -> String {
    match outcome {
        Outcome::Settled(report) | Outcome::Undone(report) | Outcome::RolledBack(report) => report.change,
        Outcome::Nothing => panic!("nothing was done"),
    }
}

#[test]
fn rollback_restores_contents_modes_and_attributes() {
    let node = Node::new();
    fs::set_permissions(node.at(CONFIG), fs::Permissions::from_mode(0o640)).unwrap();
    setxattr(node.at(CONFIG), "user.note", b"kept", XattrFlags::empty()).ok();
    setxattr(node.at(CONFIG), "user.empty", b"", XattrFlags::empty()).ok();
    let before = snapshot(&node.at("/etc"));
    let old = fs::metadata(node.at(CONFIG)).unwrap();

    assert!(matches!(node.apply("one", replace()), Ok(Outcome::Settled(_))));
    assert_eq!(
        (node.text(CONFIG), node.text(HOSTS)),
        ("new\n".to_owned(), "hosts\n".to_owned())
    );
    let new = fs::metadata(node.at(CONFIG)).unwrap();
    assert_eq!((new.mode(), new.uid(), new.gid()), (old.mode(), old.uid(), old.gid()));
    assert_eq!(
        attributes(&node.at(CONFIG)),
        before[&PathBuf::from("containerd/config.toml")].4
    );
    assert_ne!(new.ino(), old.ino(), "never in place");
    assert!(
        new.mtime_nsec() != old.mtime_nsec() || new.mtime() != old.mtime(),
        "watchers must see it"
    );
    assert_eq!(fs::metadata(node.at(HOSTS)).unwrap().mode() & 0o777, 0o644);

    assert!(matches!(node.rollback(), Ok(Outcome::RolledBack(_))));
    assert_eq!(snapshot(&node.at("/etc")), before);
}

#[test]
fn replaced_file_keeps_its_owner() {
    let node = Node::new();
    if std::os::unix::fs::chown(node.at(CONFIG), Some(1234), Some(2345)).is_err() {
        return crate::common::skip("keeping another owner", "chown needs root");
    }
    node.apply("one", replace()).unwrap();
    let meta = fs::metadata(node.at(CONFIG)).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (1234, 2345));
    node.rollback().unwrap();
    let meta = fs::metadata(node.at(CONFIG)).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (1234, 2345));
}

#[test]
fn backups_and_journal_are_readable_by_their_owner_only() {
    let node = Node::new();
    node.apply("one", replace()).unwrap();
    let mode = |path: &str| fs::metadata(node.at(path)).unwrap().mode() & 0o777;
    let at = |name: &str| format!("{STATE_DIR}/{name}");
    assert_eq!(mode(STATE_DIR), 0o700);
    assert_eq!(mode(&at("changes")), 0o700);
    assert_eq!(mode(&at("changes/one")), 0o700);
    assert_eq!(mode(&at("changes/one/1")), 0o600);
    assert_eq!(mode(&at("journal.json")), 0o600);
    assert_eq!(node.text(&at("changes/one/1")), "old\n");
}

#[test]
fn empty_change_writes_nothing() {
    let node = Node::new();
    let before = snapshot(node.dir.path());
    assert_eq!(node.apply("one", Vec::new()).unwrap(), Outcome::Nothing);
    assert_eq!(
        node.apply("one", vec![step(CONFIG, Some("old\n"), Some("old\n"))])
            .unwrap(),
        Outcome::Nothing
    );
    assert_eq!(node.rollback().unwrap(), Outcome::Nothing);
    assert_eq!(node.open("two").recover().unwrap(), Outcome::Nothing);
    assert_eq!(status(&node.root).unwrap().phase(), Phase::Idle);
    assert_eq!(snapshot(node.dir.path()), before);
}

#[test]
fn change_of_unexpected_files_is_refused() {
    let node = Node::new();
    let modified = "modified by another program";
    node.refuses(vec![step(CONFIG, Some("stale\n"), Some("new\n"))], modified);
    node.refuses(vec![step(CONFIG, None, Some("new\n"))], "the file exists now");
    node.refuses(vec![step("/etc/gone", Some("x"), Some("y"))], "it was removed");
    node.refuses(vec![step(CONFIG, Some("old\n"), None)], "not created by mirrorshift");
    node.refuses(vec![step("/etc/../x", None, Some("y"))], "not a clean absolute path");
    node.refuses(
        vec![step(&format!("{STATE_DIR}/x"), None, Some("y"))],
        "reserved for mirrorshift",
    );
}

#[test]
fn unsafe_links_and_file_types_are_refused() {
    let node = Node::new();
    symlink("nothing", node.at("/etc/dangling")).unwrap();
    symlink("../../../x", node.at("/etc/out")).unwrap();
    symlink("nowhere", node.at("/etc/folder")).unwrap();
    mknodat(CWD, node.at("/etc/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::create_dir(node.at("/etc/real")).unwrap();
    fs::write(node.at("/etc/one"), "x").unwrap();
    fs::hard_link(node.at("/etc/one"), node.at("/etc/two")).unwrap();
    node.refuses(vec![step("/etc/dangling", None, Some("y"))], "is a dangling link");
    node.refuses(
        vec![step("/etc/folder/hosts.toml", None, Some("y"))],
        "by the dangling link `/etc/folder`",
    );
    node.refuses(vec![step("/etc/out", None, Some("y"))], "leads out of the root");
    node.refuses(vec![step("/etc/fifo", None, Some("y"))], "is a FIFO");
    node.refuses(vec![step("/etc/real", None, Some("y"))], "is a folder");
    node.refuses(vec![step("/etc/one", Some("x"), Some("y"))], "has 2 names");
    let large = "#".repeat((1 << 20) + 1);
    node.refuses(vec![step(CONFIG, Some("old\n"), Some(&large))], "would be larger");
    symlink("config.toml", node.at("/etc/containerd/same.toml")).unwrap();
    let twice = vec![
        step(CONFIG, Some("old\n"), Some("new\n")),
        step("/etc/containerd/same.toml", Some("old\n"), Some("newer\n")),
    ];
    node.refuses(twice, "is the same file as another");
}

#[test]
fn change_through_a_link_replaces_its_target() {
    let node = Node::new();
    fs::create_dir_all(node.at("/opt/x")).unwrap();
    fs::rename(node.at(CONFIG), node.at("/opt/x/config.toml")).unwrap();
    symlink("/opt/x/config.toml", node.at(CONFIG)).unwrap();
    node.apply("one", replace()).unwrap();
    assert_eq!(node.text("/opt/x/config.toml"), "new\n");
    assert!(fs::symlink_metadata(node.at(CONFIG)).unwrap().is_symlink());
    // The link has another target now, so the path is no longer the file that the change replaced.
    fs::remove_file(node.at(CONFIG)).unwrap();
    symlink("/opt/y", node.at(CONFIG)).unwrap();
    let error = node.rollback().unwrap_err();
    assert!(
        error.cause().to_string().contains("a link to nothing now"),
        "{}",
        error.cause()
    );
}

#[test]
fn rollback_after_an_edit_is_refused_with_the_path() {
    let node = Node::new();
    node.apply("one", replace()).unwrap();
    fs::write(node.at(CONFIG), "edited\n").unwrap();
    let before = snapshot(node.dir.path());
    let error = node.rollback().unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Refused);
    assert!(matches!(error.cause(), NodeError::ModifiedExternally { path, .. } if path == CONFIG));
    assert_eq!(snapshot(node.dir.path()), before);
}

#[test]
fn rollback_with_a_damaged_backup_is_refused() {
    for damage in [Some("other\n"), None] {
        let node = Node::new();
        node.apply("one", replace()).unwrap();
        let backup = node.at(&format!("{STATE_DIR}/changes/one/1"));
        match damage {
            Some(text) => fs::write(&backup, text).unwrap(),
            None => fs::remove_file(&backup).unwrap(),
        }
        let before = snapshot(node.dir.path());
        let error = node.rollback().unwrap_err();
        assert_eq!(error.kind(), NodeErrorKind::Refused);
        assert!(
            matches!(error.cause(), NodeError::Backup { path, .. } if path == CONFIG),
            "{error:?}"
        );
        assert_eq!(snapshot(node.dir.path()), before);
    }
}

#[test]
fn session_with_an_invalid_journal_is_refused() {
    let node = Node::new();
    node.apply("one", replace()).unwrap();
    let path = node.at(&format!("{STATE_DIR}/journal.json"));
    let good = fs::read_to_string(&path).unwrap();
    let flipped = good.replacen("\"1.7.24\"", "\"1.7.25\"", 1);
    let newer = good.replacen("\"schema\":1", "\"schema\":2", 1);
    let unknown = r#"{"schema":9,"anything":{"else":true}}"#;
    let cases = [
        (good[..good.len() / 2].to_owned(), "is damaged"),
        (flipped, "its digest does not match its body"),
        (String::new(), "is damaged"),
        ("[]".to_owned(), "is damaged"),
        (newer, "has schema 2"),
        (unknown.to_owned(), "has schema 9"),
    ];
    for (text, why) in cases {
        fs::write(&path, &text).unwrap();
        let before = snapshot(node.dir.path());
        let error = Session::open(&node.root, 0, "two").unwrap_err();
        assert_eq!(error.kind(), NodeErrorKind::Refused);
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.hint().is_some());
        assert!(status(&node.root).unwrap_err().to_string().contains(why));
        // The lock contains the id of the process that holds it, which is the same process throughout.
        assert_eq!(snapshot(node.dir.path()), before, "{why}");
    }
}

#[test]
fn held_lock_is_reported_with_its_process() {
    let node = Node::new();
    let first = node.open("one");
    let error = Session::open(&node.root, 0, "two").unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Locked);
    assert!(
        matches!(error, OpenError::Locked { pid: Some(pid) } if pid == std::process::id()),
        "{error:?}"
    );
    // Reading the status needs no lock.
    assert_eq!(status(&node.root).unwrap().phase(), Phase::Idle);
    drop(first);
    assert!(Session::open(&node.root, 0, "two").is_ok());
}

#[test]
fn session_with_timeout_waits_for_the_lock() {
    let node = Node::new();
    let ms = std::time::Duration::from_millis;
    let first = node.open("one");
    let error = Session::open_with_timeout(&node.root, 0, "two", ms(50)).unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Locked);
    std::thread::scope(|scope| {
        let root = &node.root;
        let waits = scope.spawn(move || Session::open_with_timeout(root, 0, "two", ms(20_000)).is_ok());
        std::thread::sleep(ms(50));
        drop(first);
        assert!(waits.join().unwrap());
    });
}

#[test]
fn state_folder_writable_by_others_is_refused() {
    let node = Node::new();
    fs::create_dir_all(node.at(STATE_DIR)).unwrap();
    fs::set_permissions(node.at(STATE_DIR), fs::Permissions::from_mode(0o777)).unwrap();
    let error = Session::open(&node.root, 0, "one").unwrap_err();
    assert!(error.to_string().contains("other users may write it"), "{error}");
    assert_eq!(error.kind(), NodeErrorKind::Refused);
}

#[test]
fn rollback_undoes_one_change_at_a_time_of_five_kept() {
    let node = Node::new();
    let text = |number: u32| format!("{number}\n");
    fs::write(node.at(CONFIG), text(0)).unwrap();
    for number in 0..7 {
        let (old, new) = (text(number), text(number + 1));
        node.apply(&format!("c{number}"), vec![step(CONFIG, Some(&old), Some(&new))])
            .unwrap();
    }
    let state = status(&node.root).unwrap();
    assert_eq!(
        (state.phase(), state.history.len(), state.unfinished),
        (Phase::Settled, 5, None)
    );
    let mut kept: Vec<_> = fs::read_dir(node.at(&format!("{STATE_DIR}/changes")))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["c2", "c3", "c4", "c5", "c6"]);
    for number in (2..7).rev() {
        assert_eq!(change(node.rollback().unwrap()), format!("c{number}"));
        assert_eq!(node.text(CONFIG), text(number));
    }
    assert_eq!(node.rollback().unwrap(), Outcome::Nothing);
    assert_eq!(status(&node.root).unwrap().phase(), Phase::Idle);
}

#[test]
fn removal_of_a_created_file_is_rolled_back() {
    let node = Node::new();
    node.apply("one", replace()).unwrap();
    assert!(status(&node.root).unwrap().owned[HOSTS].made);
    assert!(!status(&node.root).unwrap().owned[CONFIG].made);
    let before = snapshot(&node.at("/etc"));
    node.apply("two", vec![step(HOSTS, Some("hosts\n"), None)]).unwrap();
    assert!(!node.at(HOSTS).exists());
    assert!(!status(&node.root).unwrap().owned.contains_key(HOSTS));
    node.rollback().unwrap();
    assert_eq!(snapshot(&node.at("/etc")), before);
    assert!(status(&node.root).unwrap().owned[HOSTS].made);
}

#[test]
fn rollback_keeps_a_folder_with_files_of_others() {
    let node = Node::new();
    node.apply("one", replace()).unwrap();
    fs::write(node.at("/etc/containerd/certs.d/ghcr.io/ca.crt"), "theirs").unwrap();
    node.rollback().unwrap();
    assert!(!node.at(HOSTS).exists());
    assert_eq!(node.text("/etc/containerd/certs.d/ghcr.io/ca.crt"), "theirs");
}

#[test]
fn invalid_or_used_identifier_is_refused() {
    let node = Node::new();
    for id in ["", "a/b", "..", &"x".repeat(65)] {
        assert!(Session::open(&node.root, 0, id).is_err(), "{id:?}");
    }
    node.apply("one", replace()).unwrap();
    let again = node
        .apply("one", vec![step(CONFIG, Some("new\n"), Some("newer\n"))])
        .unwrap_err();
    assert!(again.cause().to_string().contains("identifier"));
}

/// Ends the thread of the editor even if the test fails. Otherwise the test would never end.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An editor saves by rename in a loop while changes run. Its last text is in the file, unless a change was planned for
/// exactly that text and replaced it.
#[test]
fn concurrent_edit_is_never_lost() {
    let node = Node::new();
    let stop = AtomicBool::new(false);
    let last = Mutex::new("old\n".to_owned());
    let (mut settled, mut refused, mut stuck) = (0, 0, 0);
    std::thread::scope(|scope| {
        let _ended = Stop(&stop);
        scope.spawn(|| {
            let temp = node.at("/etc/containerd/.editor");
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                let text = format!("edit {count}\n");
                let mut last = last.lock().unwrap();
                fs::write(&temp, &text).unwrap();
                fs::rename(&temp, node.at(CONFIG)).unwrap();
                *last = text;
                drop(last);
                let pause = if count.is_multiple_of(16) {
                    60_000
                } else {
                    count % 7 * 700
                };
                std::thread::sleep(std::time::Duration::from_micros(pause));
            }
        });
        for round in 0..200 {
            let (planned, edit) = {
                let last = last.lock().unwrap();
                (node.text(CONFIG), last.clone())
            };
            let new = format!("new {round}\n");
            let result = node.apply(&format!("r{round}"), vec![step(CONFIG, Some(&planned), Some(&new))]);
            let last = last.lock().unwrap();
            let now = node.text(CONFIG);
            match result {
                Ok(_) if now == new => {
                    settled += 1;
                    assert_eq!(*last, edit, "an edit was lost");
                }
                Ok(_) => assert_eq!(now, *last, "neither the new text nor the last edit"),
                // Two edits during one exchange: both are kept, and an operator chooses. Here the last one stays.
                Err(error) if error.kind() == NodeErrorKind::Stuck => {
                    assert_eq!(now, *last);
                    let NodeError::UnexpectedSibling { beside, .. } = error.cause() else {
                        panic!("{error:?}");
                    };
                    assert!(node.text(beside).starts_with("edit "), "{beside}");
                    fs::remove_file(node.at(beside)).unwrap();
                    fs::remove_dir_all(node.at(STATE_DIR)).unwrap();
                    stuck += 1;
                }
                Err(error) => {
                    refused += 1;
                    assert!(
                        matches!(error.kind(), NodeErrorKind::Refused | NodeErrorKind::Undone),
                        "{error:?}"
                    );
                    assert!(
                        now == *last || now == planned && *last == edit,
                        "{now} {last} {planned}"
                    );
                }
            }
        }
    });
    let names = fs::read_dir(node.at("/etc/containerd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let leftovers: Vec<_> = names
        .filter(|name| name != "config.toml" && name != ".editor")
        .collect();
    assert_eq!(leftovers, Vec::<std::ffi::OsString>::new());
    crate::common::show(&format!(
        "racing editor: {settled} changes settled, {refused} refused or undone, {stuck} stuck, 0 edits lost"
    ));
    assert!(refused > 0, "the editor never met a change");
}
