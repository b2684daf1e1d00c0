//! The rollback of a settled change on a node with a running containerd: another change, on real files. The runtime is simulated.

use crate::common::{Snapshot, old_root, snapshot};
use crate::runtime::{CONFIG, FakeRuntime, KilledAt, NEW, OLD};
use mirrorshift_node::{ChangeError, ChangePlan, NodeError, NodeErrorKind, Outcome, Root, STATE_DIR, Session, status};
use mirrorshift_plan::change::Phase;
use mirrorshift_plan::{Digest, Expect, Step};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

const HOSTS: &str = "/etc/containerd/certs.d/ghcr.io/hosts.toml";
const NEWER: &str = "version = 2\n# newer\n";

struct Node {
    dir: tempfile::TempDir,
    root: Root,
}

impl Node {
    /// Returns a node with one settled change, which created a file in new folders and replaced config.toml, and the
    /// files before that change.
    fn settled() -> (Self, Snapshot) {
        let dir = tempfile::tempdir().unwrap();
        old_root(dir.path());
        let root = Root::open(dir.path()).unwrap();
        let node = Self { dir, root };
        let before = node.snapshot();
        let mut fake = node.fake(&[OLD, NEW]);
        let created = step(HOSTS, None, "hosts\n");
        let settled = node.apply("one", vec![created, step(CONFIG, Some(OLD), NEW)], &mut fake);
        assert!(matches!(settled, Ok(Outcome::Settled(_))), "{settled:?}");
        // Another program may choose another mode. The rollback restores the mode from before the change.
        let config = node.dir.path().join(&CONFIG[1..]);
        fs::set_permissions(config, fs::Permissions::from_mode(0o604)).unwrap();
        (node, before)
    }

    fn fake(&self, accepted: &'static [&'static str]) -> FakeRuntime {
        FakeRuntime::new(self.dir.path(), accepted)
    }

    fn snapshot(&self) -> Snapshot {
        snapshot(&self.dir.path().join("etc"))
    }

    fn apply(&self, id: &str, steps: Vec<Step>, fake: &mut FakeRuntime) -> Result<Outcome, ChangeError> {
        let plan = ChangePlan {
            digest: Digest::of(id.as_bytes()),
            containerd: "1.7.24".to_owned(),
            new_file_mode: 0o644,
            steps,
        };
        Session::open(&self.root, 1, id)
            .unwrap()
            .with_runtime(fake)
            .apply(&plan)
    }

    fn rollback(&self, id: &str, fake: &mut FakeRuntime) -> Result<Outcome, ChangeError> {
        Session::open(&self.root, 2, id).unwrap().with_runtime(fake).rollback()
    }

    fn in_force(&self) -> Option<String> {
        status(&self.root).unwrap().in_force().map(|change| change.id.clone())
    }

    fn phases(&self) -> Vec<(String, Phase)> {
        let status = status(&self.root).unwrap();
        let all = status.history.iter().chain(&status.unfinished);
        all.map(|change| (change.id.clone(), change.phase)).collect()
    }
}

fn step(path: &str, expect: Option<&str>, content: &str) -> Step {
    Step {
        path: path.to_owned(),
        expect: expect.map_or(Expect::Absent, |text| Expect::File(Digest::of(text.as_bytes()))),
        content: Some(content.as_bytes().to_vec()),
        why: "a test".to_owned(),
    }
}

fn phases(all: &[(&str, Phase)]) -> Vec<(String, Phase)> {
    all.iter().map(|(id, phase)| ((*id).to_owned(), *phase)).collect()
}

#[test]
fn rollback_restarts_once_and_restores_everything_exactly() {
    let (node, before) = Node::settled();
    let mut fake = node.fake(&[OLD, NEW]);
    let outcome = node.rollback("back", &mut fake).unwrap();
    let Outcome::RolledBack(report) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(report.change, "one");
    assert_eq!(fake.calls, ["record", "guard", "restart", "disarm"]);
    // The contents, modes, owners and attributes are equal, and the new folders are removed.
    assert_eq!(node.snapshot(), before);
    assert_eq!(
        node.phases(),
        phases(&[("one", Phase::RolledBack), ("back", Phase::Settled)])
    );
    let status = status(&node.root).unwrap();
    assert_eq!((status.phase(), status.owned.len()), (Phase::Idle, 0));
    assert_eq!(status.history[1].undoes.as_deref(), Some("one"));
    assert_eq!(node.rollback("again", &mut fake).unwrap(), Outcome::Nothing);
}

#[test]
fn rollback_is_undone_if_containerd_fails_with_the_original_files() {
    let (node, _) = Node::settled();
    let new = node.snapshot();
    let mut fake = node.fake(&[NEW]);
    let error = node.rollback("back", &mut fake).unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Undone);
    assert!(error.cause().to_string().contains("did not load"), "{error:?}");
    assert_eq!(fake.calls, ["record", "guard", "restart", "restart", "disarm"]);
    assert_eq!((node.snapshot(), node.in_force()), (new, Some("one".to_owned())));
    assert_eq!(
        node.phases(),
        phases(&[("one", Phase::Settled), ("back", Phase::Undone)])
    );
    // When containerd accepts the files, the same command succeeds, and the undone attempt leaves the history.
    let mut fake = node.fake(&[OLD, NEW]);
    assert!(matches!(
        node.rollback("once-more", &mut fake),
        Ok(Outcome::RolledBack(_))
    ));
    assert_eq!(
        node.phases(),
        phases(&[("one", Phase::RolledBack), ("once-more", Phase::Settled)])
    );
}

#[test]
fn each_rollback_undoes_the_latest_change_in_effect() {
    let (node, before) = Node::settled();
    let texts = [NEW, NEWER, OLD, NEW, NEWER];
    for (number, pair) in texts.windows(2).enumerate() {
        let mut fake = node.fake(&[OLD, NEW, NEWER]);
        let steps = vec![step(CONFIG, Some(pair[0]), pair[1])];
        node.apply(&format!("more-{number}"), steps, &mut fake).unwrap();
    }
    let mut ids: Vec<String> = (0..4).rev().map(|number| format!("more-{number}")).collect();
    ids.push("one".to_owned());
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(node.in_force().as_ref(), Some(id));
        let mut fake = node.fake(&[OLD, NEW, NEWER]);
        let outcome = node.rollback(&format!("back-{number}"), &mut fake).unwrap();
        assert!(
            matches!(&outcome, Outcome::RolledBack(report) if report.change == *id),
            "{outcome:?}"
        );
    }
    assert_eq!((node.snapshot(), node.in_force()), (before, None));
    let kept = fs::read_dir(node.dir.path().join(&STATE_DIR[1..]).join("changes"))
        .unwrap()
        .count();
    assert_eq!(kept, 10, "five changes and five rollbacks");
}

/// A rollback that is killed before or after the restart is undone by the next session. A rollback that is killed at its last
/// call stays.
#[test]
fn interrupted_rollback_is_undone_or_kept_by_the_next_session() {
    for (call, settles, restarts) in [
        ("guard", false, 0),
        ("before the restart", false, 0),
        ("after the restart", false, 1),
        ("disarm", true, 0),
    ] {
        let (node, before) = Node::settled();
        let new = node.snapshot();
        let mut fake = node.fake(&[OLD, NEW]);
        let run = AssertUnwindSafe(|| {
            let mut runtime = KilledAt(&mut fake, call);
            let session = Session::open(&node.root, 2, "back").unwrap();
            drop(session.with_runtime(&mut runtime).rollback());
        });
        assert!(catch_unwind(run).is_err(), "the run was not killed at {call}");
        fake.calls.clear();
        let after = Session::open(&node.root, 3, "after")
            .unwrap()
            .with_runtime(&mut fake)
            .undo_unsettled();
        assert!(after.is_ok(), "{call}: {after:?}");
        let restarted = fake.calls.iter().filter(|call| call.starts_with("restart")).count();
        assert_eq!(restarted, restarts, "{call}: {:?}", fake.calls);
        assert_eq!(node.in_force().is_none(), settles, "{call}");
        assert_eq!(node.snapshot(), if settles { before } else { new }, "{call}");
    }
}

#[test]
fn rollback_with_a_modified_file_or_damaged_backup_is_refused() {
    let (node, _) = Node::settled();
    let config = node.dir.path().join(&CONFIG[1..]);
    fs::write(&config, "edited\n").unwrap();
    let before = node.snapshot();
    let mut fake = node.fake(&[OLD, NEW]);
    let error = node.rollback("back", &mut fake).unwrap_err();
    assert!(matches!(error, ChangeError::Refused(NodeError::ModifiedExternally { ref path, .. }) if path == CONFIG));
    assert_eq!((node.snapshot(), fake.calls.len()), (before, 0));

    let (node, _) = Node::settled();
    let backup = node.dir.path().join(&STATE_DIR[1..]).join("changes/one/1");
    fs::write(backup, "other\n").unwrap();
    let before = node.snapshot();
    let error = node.rollback("back", &mut fake).unwrap_err();
    assert!(matches!(error, ChangeError::Refused(NodeError::Backup { ref path, .. }) if path == CONFIG));
    assert_eq!((node.snapshot(), node.in_force().as_deref()), (before, Some("one")));
}

/// The keys of a rollback are written only for a rollback, so that older versions read the journal of every other change.
#[test]
fn journal_of_a_change_without_rollback_has_no_rollback_keys() {
    let (node, _) = Node::settled();
    let journal = fs::read_to_string(node.dir.path().join(&STATE_DIR[1..]).join("journal.json")).unwrap();
    for key in ["\"undoes\"", "\"leaves\"", "\"restores\""] {
        assert!(!journal.contains(key), "{key}: {journal}");
    }
}
