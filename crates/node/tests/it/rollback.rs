//! The rollback of a settled change on a node with a running containerd: another change, on real files. The runtime is simulated.

use crate::common::{Picture, old_root, picture};
use crate::runtime::{CONFIG, Dies, NEW, OLD, StandIn};
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
    /// With one settled change, which created a file in new folders and replaced config.toml; and what was before it.
    fn settled() -> (Self, Picture) {
        let dir = tempfile::tempdir().unwrap();
        old_root(dir.path());
        let root = Root::open(dir.path()).unwrap();
        let node = Self { dir, root };
        let before = node.picture();
        let mut stand_in = node.stand_in(&[OLD, NEW]);
        let made = step(HOSTS, None, "hosts\n");
        let settled = node.apply("one", vec![made, step(CONFIG, Some(OLD), NEW)], &mut stand_in);
        assert!(matches!(settled, Ok(Outcome::Settled(_))), "{settled:?}");
        // Another program may choose another mode. The rollback restores the mode from before the change.
        let config = node.dir.path().join(&CONFIG[1..]);
        fs::set_permissions(config, fs::Permissions::from_mode(0o604)).unwrap();
        (node, before)
    }

    fn stand_in(&self, likes: &'static [&'static str]) -> StandIn {
        StandIn::new(self.dir.path(), likes)
    }

    fn picture(&self) -> Picture {
        picture(&self.dir.path().join("etc"))
    }

    fn apply(&self, id: &str, steps: Vec<Step>, stand_in: &mut StandIn) -> Result<Outcome, ChangeError> {
        let plan = ChangePlan {
            digest: Digest::of(id.as_bytes()),
            containerd: "1.7.24".to_owned(),
            new_file_mode: 0o644,
            steps,
        };
        Session::open(&self.root, 1, id)
            .unwrap()
            .with_runtime(stand_in)
            .apply(&plan)
    }

    fn rollback(&self, id: &str, stand_in: &mut StandIn) -> Result<Outcome, ChangeError> {
        Session::open(&self.root, 2, id)
            .unwrap()
            .with_runtime(stand_in)
            .rollback()
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
fn it_is_guarded_restarted_and_exact() {
    let (node, before) = Node::settled();
    let mut stand_in = node.stand_in(&[OLD, NEW]);
    let outcome = node.rollback("back", &mut stand_in).unwrap();
    let Outcome::RolledBack(report) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(report.change, "one");
    assert_eq!(stand_in.calls, ["record", "guard", "restart", "disarm"]);
    // Bytes, modes, owners, attributes, and no folder more.
    assert_eq!(node.picture(), before);
    assert_eq!(
        node.phases(),
        phases(&[("one", Phase::RolledBack), ("back", Phase::Settled)])
    );
    let status = status(&node.root).unwrap();
    assert_eq!((status.phase(), status.owned.len()), (Phase::Idle, 0));
    assert_eq!(status.history[1].undoes.as_deref(), Some("one"));
    assert_eq!(node.rollback("again", &mut stand_in).unwrap(), Outcome::Nothing);
}

#[test]
fn old_bytes_that_containerd_no_longer_takes_are_undone() {
    let (node, _) = Node::settled();
    let new = node.picture();
    let mut stand_in = node.stand_in(&[NEW]);
    let error = node.rollback("back", &mut stand_in).unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Undone);
    assert!(error.cause().to_string().contains("did not load"), "{error:?}");
    assert_eq!(stand_in.calls, ["record", "guard", "restart", "restart", "disarm"]);
    assert_eq!((node.picture(), node.in_force()), (new, Some("one".to_owned())));
    assert_eq!(
        node.phases(),
        phases(&[("one", Phase::Settled), ("back", Phase::Undone)])
    );
    // When it takes them, the same command goes on; the vain one is no longer worth a line.
    let mut stand_in = node.stand_in(&[OLD, NEW]);
    assert!(matches!(
        node.rollback("once-more", &mut stand_in),
        Ok(Outcome::RolledBack(_))
    ));
    assert_eq!(
        node.phases(),
        phases(&[("one", Phase::RolledBack), ("once-more", Phase::Settled)])
    );
}

#[test]
fn each_goes_one_change_further_back_and_costs_none_of_the_others() {
    let (node, before) = Node::settled();
    let texts = [NEW, NEWER, OLD, NEW, NEWER];
    for (number, pair) in texts.windows(2).enumerate() {
        let mut stand_in = node.stand_in(&[OLD, NEW, NEWER]);
        let steps = vec![step(CONFIG, Some(pair[0]), pair[1])];
        node.apply(&format!("more-{number}"), steps, &mut stand_in).unwrap();
    }
    let mut ids: Vec<String> = (0..4).rev().map(|number| format!("more-{number}")).collect();
    ids.push("one".to_owned());
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(node.in_force().as_ref(), Some(id));
        let mut stand_in = node.stand_in(&[OLD, NEW, NEWER]);
        let outcome = node.rollback(&format!("back-{number}"), &mut stand_in).unwrap();
        assert!(
            matches!(&outcome, Outcome::RolledBack(report) if report.change == *id),
            "{outcome:?}"
        );
    }
    assert_eq!((node.picture(), node.in_force()), (before, None));
    let kept = fs::read_dir(node.dir.path().join(&STATE_DIR[1..]).join("changes"))
        .unwrap()
        .count();
    assert_eq!(kept, 10, "five changes and what took each back");
}

/// Killed before and after the restart: the next session restores the files that were in force. At the end: it stays.
#[test]
fn interrupted_rollback_finishes_unattended() {
    for (call, settles, restarts) in [
        ("guard", false, 0),
        ("before the restart", false, 0),
        ("after the restart", false, 1),
        ("disarm", true, 0),
    ] {
        let (node, before) = Node::settled();
        let new = node.picture();
        let mut stand_in = node.stand_in(&[OLD, NEW]);
        let run = AssertUnwindSafe(|| {
            let mut dies = Dies(&mut stand_in, call);
            let session = Session::open(&node.root, 2, "back").unwrap();
            drop(session.with_runtime(&mut dies).rollback());
        });
        assert!(catch_unwind(run).is_err(), "nobody was killed at {call}");
        stand_in.calls.clear();
        let after = Session::open(&node.root, 3, "after")
            .unwrap()
            .with_runtime(&mut stand_in)
            .undo_unsettled();
        assert!(after.is_ok(), "{call}: {after:?}");
        let asked = stand_in.calls.iter().filter(|call| call.starts_with("restart")).count();
        assert_eq!(asked, restarts, "{call}: {:?}", stand_in.calls);
        assert_eq!(node.in_force().is_none(), settles, "{call}");
        assert_eq!(node.picture(), if settles { before } else { new }, "{call}");
    }
}

#[test]
fn modified_file_and_damaged_backup_are_refused_unchanged() {
    let (node, _) = Node::settled();
    let config = node.dir.path().join(&CONFIG[1..]);
    fs::write(&config, "edited\n").unwrap();
    let before = node.picture();
    let mut stand_in = node.stand_in(&[OLD, NEW]);
    let error = node.rollback("back", &mut stand_in).unwrap_err();
    assert!(matches!(error, ChangeError::Refused(NodeError::ModifiedExternally { ref path, .. }) if path == CONFIG));
    assert_eq!((node.picture(), stand_in.calls.len()), (before, 0));

    let (node, _) = Node::settled();
    let backup = node.dir.path().join(&STATE_DIR[1..]).join("changes/one/1");
    fs::write(backup, "other\n").unwrap();
    let before = node.picture();
    let error = node.rollback("back", &mut stand_in).unwrap_err();
    assert!(matches!(error, ChangeError::Refused(NodeError::Backup { ref path, .. }) if path == CONFIG));
    assert_eq!((node.picture(), node.in_force().as_deref()), (before, Some("one")));
}

/// A journal of a change that takes none back is written as it always was, so that either version reads the other's.
#[test]
fn an_ordinary_change_is_written_as_before() {
    let (node, _) = Node::settled();
    let journal = fs::read_to_string(node.dir.path().join(&STATE_DIR[1..]).join("journal.json")).unwrap();
    for key in ["\"undoes\"", "\"leaves\"", "\"restores\""] {
        assert!(!journal.contains(key), "{key}: {journal}");
    }
}
