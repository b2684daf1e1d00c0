//! The loop of a change with a simulated runtime and real files: the phases, the order of the calls, and the resulting files.
//! The tests on whole nodes cover systemd and containerd.

use crate::common::{copy, old_root, snapshot};
use mirrorshift_node::{
    Baseline, Change, ChangeError, ChangePlan, NodeError, Outcome, Root, Runtime, RuntimeState, ServiceRecord, Session,
    UndoCause, status,
};
use mirrorshift_plan::change::{Guard, Health, Phase, Trial};
use mirrorshift_plan::{Digest, Expect, Step};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const CONFIG: &str = "/etc/containerd/config.toml";
pub(crate) const OLD: &str = "version = 2\n# the old settings\n";
pub(crate) const NEW: &str = "version = 2\n# config_path\n";

/// A simulated containerd. It serves if its configuration at the start is one of `accepted`.
#[derive(Debug)]
pub(crate) struct FakeRuntime {
    config: PathBuf,
    invocation: u32,
    health: Health,
    pub(crate) guard: Guard,
    guard_works: bool,
    /// The configurations with which it serves.
    pub(crate) accepted: &'static [&'static str],
    pub(crate) calls: Vec<&'static str>,
    waits: u32,
    pub(crate) trial: Trial,
    /// True until a restart if systemd does not report the invocation.
    invocation_unknown: bool,
}

impl FakeRuntime {
    pub(crate) fn new(root: &Path, accepted: &'static [&'static str]) -> Self {
        Self {
            config: root.join("etc/containerd/config.toml"),
            invocation: 1,
            health: Health::Serves,
            guard: Guard::Nothing,
            guard_works: true,
            accepted,
            calls: Vec::new(),
            waits: 0,
            trial: Trial::Nothing,
            invocation_unknown: false,
        }
    }
}

impl Runtime for FakeRuntime {
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError> {
        self.calls.push("record");
        Ok(ServiceRecord {
            unit: "containerd.service".to_owned(),
            boot: "one".to_owned(),
            restart: true,
            armed_with: self.invocation.to_string(),
            from: None,
            closed_with: None,
            baseline: Baseline::default(),
        })
    }

    fn observe(&mut self, _: &Change) -> Result<RuntimeState, NodeError> {
        Ok(RuntimeState {
            invocation: (!self.invocation_unknown).then(|| self.invocation.to_string()),
            health: self.health,
            differences: match self.health {
                Health::Serves => Vec::new(),
                _ => vec!["the plugin `cri` did not load".to_owned()],
            },
            trial: self.trial,
            guard: self.guard,
        })
    }

    fn guard(&mut self, _: &Change) -> Result<(), NodeError> {
        self.calls.push("guard");
        self.guard = Guard::Placed;
        if !self.guard_works {
            return Err(NodeError::Message("the guard left no proof"));
        }
        self.guard = Guard::Tried;
        Ok(())
    }

    fn disarm(&mut self) -> Result<(), NodeError> {
        self.calls.push("disarm");
        self.guard = Guard::Nothing;
        Ok(())
    }

    fn restart(&mut self, again: bool) -> Result<(), NodeError> {
        self.calls.push(if again { "restart again" } else { "restart" });
        self.invocation += 1;
        self.invocation_unknown = false;
        let text = fs::read_to_string(&self.config).unwrap();
        let serves = self.accepted.contains(&text.as_str());
        self.health = if serves { Health::Recovering } else { Health::Fails };
        Ok(())
    }

    fn pull_trial_image(&mut self) {
        self.calls.push("attempt");
        self.trial = Trial::Passed;
    }

    fn phase_started(&mut self, _: Phase) {
        self.waits = 0;
    }

    fn expired(&self) -> bool {
        self.waits > 3
    }

    fn wait(&mut self) {
        self.waits += 1;
        if self.health == Health::Recovering {
            self.health = Health::Serves;
        }
    }

    fn alert(&mut self, line: &str) {
        self.calls.push("alert");
        assert!(!line.contains('\n'), "{line}");
        for word in [CONFIG, "did not load", "`mirrorshift status`", "`mirrorshift rollback`"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}

pub(crate) fn plan() -> ChangePlan {
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

struct Node {
    dir: tempfile::TempDir,
    root: Root,
    before: crate::common::Snapshot,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        old_root(dir.path());
        let root = Root::open(dir.path()).unwrap();
        let before = snapshot(&dir.path().join("etc"));
        Self { dir, root, before }
    }

    fn apply(&self, fake: &mut FakeRuntime) -> Result<Outcome, ChangeError> {
        Session::open(&self.root, 1, "one")
            .unwrap()
            .with_runtime(fake)
            .apply(&plan())
    }

    fn text(&self) -> String {
        fs::read_to_string(self.dir.path().join(&CONFIG[1..])).unwrap()
    }

    fn phase(&self) -> Phase {
        let status = status(&self.root).unwrap();
        let open = status.unfinished.map(|change| change.phase);
        open.or_else(|| status.history.last().map(|change| change.phase))
            .unwrap_or(Phase::Idle)
    }
}

#[test]
fn settled_change_restarts_once_and_disarms_last() {
    let node = Node::new();
    let mut fake = FakeRuntime::new(node.dir.path(), &[OLD, NEW]);
    assert!(matches!(node.apply(&mut fake), Ok(Outcome::Settled(_))));
    assert_eq!(fake.calls, ["record", "guard", "restart", "disarm"]);
    assert_eq!((node.text().as_str(), node.phase()), (NEW, Phase::Settled));
}

#[test]
fn failed_start_restores_the_original_files_and_restarts() {
    let node = Node::new();
    let mut fake = FakeRuntime::new(node.dir.path(), &[OLD]);
    let error = node.apply(&mut fake).unwrap_err();
    let ChangeError::Undone { cause, .. } = error else {
        panic!("{error:?}")
    };
    let expected = "containerd does not serve as before: the plugin `cri` did not load";
    assert_eq!(cause.to_string(), expected);
    let status = status(&node.root).unwrap();
    assert_eq!(status.history.last().unwrap().note.as_deref(), Some(expected));
    // Only the same plan on the same containerd would be undone again.
    let before = |plan: &[u8], containerd| status.undone_before(Digest::of(plan), containerd).is_some();
    assert!(before(b"plan", "1.7.24") && !before(b"plan", "1.7.25") && !before(b"other", "1.7.24"));
    assert_eq!(fake.calls, ["record", "guard", "restart", "restart", "disarm"]);
    assert_eq!(snapshot(&node.dir.path().join("etc")), node.before);
    assert_eq!(node.phase(), Phase::Undone);
}

#[test]
fn test_pull_is_attempted_once_before_a_change_settles() {
    let node = Node::new();
    let mut fake = FakeRuntime::new(node.dir.path(), &[OLD, NEW]);
    fake.trial = Trial::Due;
    assert!(matches!(node.apply(&mut fake), Ok(Outcome::Settled(_))));
    assert_eq!(fake.calls, ["record", "guard", "restart", "attempt", "disarm"]);
}

#[test]
fn change_is_refused_if_the_boot_guard_does_not_work() {
    let node = Node::new();
    let mut fake = FakeRuntime::new(node.dir.path(), &[OLD, NEW]);
    fake.guard_works = false;
    let error = node.apply(&mut fake).unwrap_err();
    assert!(matches!(error, ChangeError::Refused(_)), "{error:?}");
    assert_eq!(fake.calls, ["record", "guard", "disarm"]);
    assert_eq!(snapshot(&node.dir.path().join("etc")), node.before);
    assert_eq!(node.phase(), Phase::Idle);
}

#[test]
fn failed_undo_raises_an_alert_and_keeps_the_boot_guard() {
    let node = Node::new();
    let mut fake = FakeRuntime::new(node.dir.path(), &[]);
    let error = node.apply(&mut fake).unwrap_err();
    assert!(matches!(error, ChangeError::Stuck { .. }), "{error:?}");
    assert_eq!(
        fake.calls,
        ["record", "guard", "restart", "restart", "restart again", "alert"]
    );
    assert_eq!((node.text().as_str(), node.phase()), (OLD, Phase::Stuck));
}

/// A runtime that panics at one call, like a run that is killed there.
#[derive(Debug)]
pub(crate) struct KilledAt<'s>(pub(crate) &'s mut FakeRuntime, pub(crate) &'static str);

impl KilledAt<'_> {
    fn panic_at(&self, call: &str) {
        if self.1 == call {
            // Unwinds without a message, so that the output of the tests has no panic that did not fail a test.
            std::panic::resume_unwind(Box::new("killed"));
        }
    }
}

impl Runtime for KilledAt<'_> {
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError> {
        self.0.capture_baseline()
    }
    fn observe(&mut self, change: &Change) -> Result<RuntimeState, NodeError> {
        self.0.observe(change)
    }
    fn guard(&mut self, change: &Change) -> Result<(), NodeError> {
        self.panic_at("guard");
        self.0.guard(change)
    }
    fn disarm(&mut self) -> Result<(), NodeError> {
        self.panic_at("disarm");
        self.0.disarm()
    }
    fn restart(&mut self, again: bool) -> Result<(), NodeError> {
        self.panic_at("before the restart");
        self.0.restart(again)?;
        self.panic_at("after the restart");
        Ok(())
    }
    fn pull_trial_image(&mut self) {
        self.0.pull_trial_image();
    }
    fn phase_started(&mut self, phase: Phase) {
        self.0.phase_started(phase);
    }
    fn expired(&self) -> bool {
        self.0.expired()
    }
    fn wait(&mut self) {
        self.0.wait();
    }
    fn alert(&mut self, line: &str) {
        self.0.alert(line);
    }
}

fn run_killed_at(call: &'static str, node: &Node) -> FakeRuntime {
    let mut fake = FakeRuntime::new(node.dir.path(), &[OLD, NEW]);
    let run = std::panic::AssertUnwindSafe(|| {
        let mut runtime = KilledAt(&mut fake, call);
        let session = Session::open(&node.root, 1, "one").unwrap();
        drop(session.with_runtime(&mut runtime).apply(&plan()));
    });
    assert!(
        std::panic::catch_unwind(run).is_err(),
        "the run was not killed at {call}"
    );
    fake.calls.clear();
    fake
}

#[test]
fn killed_run_is_undone_by_the_next_session() {
    for (call, restarts) in [("before the restart", 0), ("after the restart", 1)] {
        let node = Node::new();
        let mut fake = run_killed_at(call, &node);
        assert_eq!((node.text().as_str(), node.phase()), (NEW, Phase::Restarting), "{call}");
        let outcome = Session::open(&node.root, 2, "two")
            .unwrap()
            .with_runtime(&mut fake)
            .undo_unsettled();
        assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{call}: {outcome:?}");
        let restarted = fake.calls.iter().filter(|call| call.starts_with("restart")).count();
        assert_eq!((restarted, fake.calls.last()), (restarts, Some(&"disarm")), "{call}");
        assert_eq!(snapshot(&node.dir.path().join("etc")), node.before, "{call}");
        // A killed run does not block the plan.
        let status = status(&node.root).unwrap();
        assert_eq!(status.history.last().unwrap().why, Some(UndoCause::Asked), "{call}");
        assert_eq!(status.undone_before(Digest::of(b"plan"), "1.7.24"), None, "{call}");
    }
}

/// Timestamps of files are unreliable, because clocks can be set. Therefore the journal records the invocation that has read
/// the files.
#[test]
fn invocation_of_a_closed_change_is_recorded() {
    let closed_with = |node: &Node| {
        let last = status(&node.root).unwrap().history.pop().unwrap();
        last.service.unwrap().closed_with
    };
    for (accepted, expected) in [(&[OLD, NEW][..], "2"), (&[OLD][..], "3")] {
        let node = Node::new();
        let accepted: &'static [&'static str] = accepted;
        drop(node.apply(&mut FakeRuntime::new(node.dir.path(), accepted)));
        assert_eq!(closed_with(&node).as_deref(), Some(expected));
    }
    let node = Node::new();
    let mut fake = run_killed_at("before the restart", &node);
    let session = Session::open(&node.root, 2, "two").unwrap();
    session.with_runtime(&mut fake).undo_unsettled().unwrap();
    assert_eq!(closed_with(&node).as_deref(), Some("1"));
}

#[test]
fn undo_restarts_containerd_if_its_invocation_is_unknown() {
    let node = Node::new();
    let mut fake = run_killed_at("after the restart", &node);
    fake.invocation_unknown = true;
    let session = Session::open(&node.root, 2, "two").unwrap();
    let outcome = session.with_runtime(&mut fake).undo_unsettled();
    assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{outcome:?}");
    assert_eq!(fake.calls, ["restart", "disarm"]);
    assert_eq!(snapshot(&node.dir.path().join("etc")), node.before);
}

#[test]
fn leftover_boot_guard_of_a_settled_change_is_removed() {
    let node = Node::new();
    let mut fake = run_killed_at("disarm", &node);
    assert_eq!((node.phase(), fake.guard), (Phase::Settled, Guard::Tried));
    let outcome = Session::open(&node.root, 2, "two")
        .unwrap()
        .with_runtime(&mut fake)
        .undo_unsettled();
    assert_eq!(outcome.unwrap(), Outcome::Nothing);
    assert_eq!(fake.calls, ["disarm"]);
    assert_eq!((node.text().as_str(), node.phase()), (NEW, Phase::Settled));
}

#[test]
fn undo_at_boot_restores_files_and_does_not_restart_containerd() {
    let node = Node::new();
    let mut fake = run_killed_at("after the restart", &node);
    // The machine is reset, and the boot guard runs before containerd.
    fake.health = Health::Absent;
    let outcome = Session::open(&node.root, 2, "two")
        .unwrap()
        .with_runtime(&mut fake)
        .undo_at_boot();
    assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{outcome:?}");
    assert_eq!(fake.calls, Vec::<&str>::new());
    assert_eq!((node.text().as_str(), node.phase()), (OLD, Phase::Restoring));
    // systemd starts containerd, and the undo unit continues afterwards.
    fake.invocation += 1;
    fake.health = Health::Recovering;
    let outcome = Session::open(&node.root, 3, "three")
        .unwrap()
        .with_runtime(&mut fake)
        .undo_unsettled();
    assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{outcome:?}");
    // containerd has started with the original files, so the undo does not restart it.
    assert_eq!((fake.calls, node.phase()), (vec!["disarm"], Phase::Undone));
    assert_eq!(snapshot(&node.dir.path().join("etc")), node.before);
}

/// `rollback --root` undoes an unsettled change of a running node by its files only.
#[test]
fn unsettled_change_of_a_copied_root_is_undone_without_a_runtime() {
    let node = Node::new();
    drop(run_killed_at("after the restart", &node));
    let other = tempfile::tempdir().unwrap();
    copy(node.dir.path(), &other.path().join("image"));
    let root = Root::open(other.path().join("image")).unwrap();
    let outcome = Session::open(&root, 2, "two").unwrap().rollback();
    assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{outcome:?}");
    assert_eq!(snapshot(&other.path().join("image/etc")), node.before);
}
