//! The loop with a runtime, on real files: which phase finds which files, the order of calls, and the files that are left.
//! The runtime is simulated; the tests on whole nodes cover systemd and containerd.

use crate::common::{copy, old_root, picture};
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

/// A simulated containerd that serves or not, depending on its file when it is started.
#[derive(Debug)]
pub(crate) struct StandIn {
    config: PathBuf,
    invocation: u32,
    health: Health,
    pub(crate) guard: Guard,
    guard_works: bool,
    /// Bytes that it comes up with.
    pub(crate) likes: &'static [&'static str],
    pub(crate) calls: Vec<&'static str>,
    waits: u32,
    pub(crate) trial: Trial,
    /// The service manager does not report the invocation until a restart was requested.
    unseen: bool,
}

impl StandIn {
    pub(crate) fn new(root: &Path, likes: &'static [&'static str]) -> Self {
        Self {
            config: root.join("etc/containerd/config.toml"),
            invocation: 1,
            health: Health::Serves,
            guard: Guard::Nothing,
            guard_works: true,
            likes,
            calls: Vec::new(),
            waits: 0,
            trial: Trial::Nothing,
            unseen: false,
        }
    }
}

impl Runtime for StandIn {
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
            invocation: (!self.unseen).then(|| self.invocation.to_string()),
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
        self.unseen = false;
        let text = fs::read_to_string(&self.config).unwrap();
        let comes_up = self.likes.contains(&text.as_str());
        self.health = if comes_up { Health::Recovering } else { Health::Fails };
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
        self.calls.push("alarm");
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
    before: crate::common::Picture,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        old_root(dir.path());
        let root = Root::open(dir.path()).unwrap();
        let before = picture(&dir.path().join("etc"));
        Self { dir, root, before }
    }

    fn apply(&self, stand_in: &mut StandIn) -> Result<Outcome, ChangeError> {
        Session::open(&self.root, 1, "one")
            .unwrap()
            .with_runtime(stand_in)
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
fn a_good_change_is_guarded_restarted_once_and_disarmed_last() {
    let node = Node::new();
    let mut stand_in = StandIn::new(node.dir.path(), &[OLD, NEW]);
    assert!(matches!(node.apply(&mut stand_in), Ok(Outcome::Settled(_))));
    assert_eq!(stand_in.calls, ["record", "guard", "restart", "disarm"]);
    assert_eq!((node.text().as_str(), node.phase()), (NEW, Phase::Settled));
}

#[test]
fn a_containerd_that_fails_gets_its_old_files_and_another_start() {
    let node = Node::new();
    let mut stand_in = StandIn::new(node.dir.path(), &[OLD]);
    let error = node.apply(&mut stand_in).unwrap_err();
    let ChangeError::Undone { cause, .. } = error else {
        panic!("{error:?}")
    };
    let said = "containerd does not serve as before: the plugin `cri` did not load";
    assert_eq!(cause.to_string(), said);
    let status = status(&node.root).unwrap();
    assert_eq!(status.history.last().unwrap().note.as_deref(), Some(said));
    // The very plan, on the very containerd, would be undone again.
    let before = |plan: &[u8], containerd| status.undone_before(Digest::of(plan), containerd).is_some();
    assert!(before(b"plan", "1.7.24") && !before(b"plan", "1.7.25") && !before(b"other", "1.7.24"));
    assert_eq!(stand_in.calls, ["record", "guard", "restart", "restart", "disarm"]);
    assert_eq!(picture(&node.dir.path().join("etc")), node.before);
    assert_eq!(node.phase(), Phase::Undone);
}

#[test]
fn a_trial_is_made_once_before_a_change_settles() {
    let node = Node::new();
    let mut stand_in = StandIn::new(node.dir.path(), &[OLD, NEW]);
    stand_in.trial = Trial::Due;
    assert!(matches!(node.apply(&mut stand_in), Ok(Outcome::Settled(_))));
    assert_eq!(stand_in.calls, ["record", "guard", "restart", "attempt", "disarm"]);
}

#[test]
fn a_guard_that_does_not_work_lets_nothing_begin() {
    let node = Node::new();
    let mut stand_in = StandIn::new(node.dir.path(), &[OLD, NEW]);
    stand_in.guard_works = false;
    let error = node.apply(&mut stand_in).unwrap_err();
    assert!(matches!(error, ChangeError::Refused(_)), "{error:?}");
    assert_eq!(stand_in.calls, ["record", "guard", "disarm"]);
    assert_eq!(picture(&node.dir.path().join("etc")), node.before);
    assert_eq!(node.phase(), Phase::Idle);
}

#[test]
fn failed_undo_is_reported_and_keeps_its_guard() {
    let node = Node::new();
    let mut stand_in = StandIn::new(node.dir.path(), &[]);
    let error = node.apply(&mut stand_in).unwrap_err();
    assert!(matches!(error, ChangeError::Stuck { .. }), "{error:?}");
    assert_eq!(
        stand_in.calls,
        ["record", "guard", "restart", "restart", "restart again", "alarm"]
    );
    assert_eq!((node.text().as_str(), node.phase()), (OLD, Phase::Stuck));
}

/// A runtime that panics in the middle stands for a run that was killed there.
#[derive(Debug)]
pub(crate) struct Dies<'s>(pub(crate) &'s mut StandIn, pub(crate) &'static str);

impl Dies<'_> {
    fn dies_at(&self, call: &str) {
        if self.1 == call {
            // As a panic, but without its words among those of tests that fail.
            std::panic::resume_unwind(Box::new("killed"));
        }
    }
}

impl Runtime for Dies<'_> {
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError> {
        self.0.capture_baseline()
    }
    fn observe(&mut self, change: &Change) -> Result<RuntimeState, NodeError> {
        self.0.observe(change)
    }
    fn guard(&mut self, change: &Change) -> Result<(), NodeError> {
        self.dies_at("guard");
        self.0.guard(change)
    }
    fn disarm(&mut self) -> Result<(), NodeError> {
        self.dies_at("disarm");
        self.0.disarm()
    }
    fn restart(&mut self, again: bool) -> Result<(), NodeError> {
        self.dies_at("before the restart");
        self.0.restart(again)?;
        self.dies_at("after the restart");
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

fn killed_at(call: &'static str, node: &Node) -> StandIn {
    let mut stand_in = StandIn::new(node.dir.path(), &[OLD, NEW]);
    let run = std::panic::AssertUnwindSafe(|| {
        let mut dies = Dies(&mut stand_in, call);
        let session = Session::open(&node.root, 1, "one").unwrap();
        drop(session.with_runtime(&mut dies).apply(&plan()));
    });
    assert!(std::panic::catch_unwind(run).is_err(), "nobody was killed at {call}");
    stand_in.calls.clear();
    stand_in
}

#[test]
fn next_session_undoes_a_killed_run() {
    for (call, restarts) in [("before the restart", 0), ("after the restart", 1)] {
        let node = Node::new();
        let mut stand_in = killed_at(call, &node);
        assert_eq!((node.text().as_str(), node.phase()), (NEW, Phase::Restarting), "{call}");
        let outcome = Session::open(&node.root, 2, "two")
            .unwrap()
            .with_runtime(&mut stand_in)
            .undo_unsettled();
        assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{call}: {outcome:?}");
        let asked = stand_in.calls.iter().filter(|call| call.starts_with("restart")).count();
        assert_eq!((asked, stand_in.calls.last()), (restarts, Some(&"disarm")), "{call}");
        assert_eq!(picture(&node.dir.path().join("etc")), node.before, "{call}");
        // A killed run does not block the plan.
        let status = status(&node.root).unwrap();
        assert_eq!(status.history.last().unwrap().why, Some(UndoCause::Asked), "{call}");
        assert_eq!(status.undone_before(Digest::of(b"plan"), "1.7.24"), None, "{call}");
    }
}

/// Files may have any times, and clocks may be set: the journal records that this invocation has read the files.
#[test]
fn invocation_of_a_closed_change_is_recorded() {
    let closed_with = |node: &Node| {
        let last = status(&node.root).unwrap().history.pop().unwrap();
        last.service.unwrap().closed_with
    };
    for (likes, expected) in [(&[OLD, NEW][..], "2"), (&[OLD][..], "3")] {
        let node = Node::new();
        let likes: &'static [&'static str] = likes;
        drop(node.apply(&mut StandIn::new(node.dir.path(), likes)));
        assert_eq!(closed_with(&node).as_deref(), Some(expected));
    }
    let node = Node::new();
    let mut stand_in = killed_at("before the restart", &node);
    let session = Session::open(&node.root, 2, "two").unwrap();
    session.with_runtime(&mut stand_in).undo_unsettled().unwrap();
    assert_eq!(closed_with(&node).as_deref(), Some("1"));
}

#[test]
fn one_that_may_have_read_the_new_files_is_restarted_for_the_old_ones() {
    let node = Node::new();
    let mut stand_in = killed_at("after the restart", &node);
    stand_in.unseen = true;
    let session = Session::open(&node.root, 2, "two").unwrap();
    let outcome = session.with_runtime(&mut stand_in).undo_unsettled();
    assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{outcome:?}");
    assert_eq!(stand_in.calls, ["restart", "disarm"]);
    assert_eq!(picture(&node.dir.path().join("etc")), node.before);
}

#[test]
fn a_guard_that_was_left_behind_a_settled_change_goes_and_the_change_stays() {
    let node = Node::new();
    let mut stand_in = killed_at("disarm", &node);
    assert_eq!((node.phase(), stand_in.guard), (Phase::Settled, Guard::Tried));
    let outcome = Session::open(&node.root, 2, "two")
        .unwrap()
        .with_runtime(&mut stand_in)
        .undo_unsettled();
    assert_eq!(outcome.unwrap(), Outcome::Nothing);
    assert_eq!(stand_in.calls, ["disarm"]);
    assert_eq!((node.text().as_str(), node.phase()), (NEW, Phase::Settled));
}

#[test]
fn at_a_boot_files_go_back_and_containerd_is_left_to_itself() {
    let node = Node::new();
    let mut stand_in = killed_at("after the restart", &node);
    // The machine is reset, and the guard runs before any containerd.
    stand_in.health = Health::Absent;
    let outcome = Session::open(&node.root, 2, "two")
        .unwrap()
        .with_runtime(&mut stand_in)
        .undo_at_boot();
    assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{outcome:?}");
    assert_eq!(stand_in.calls, Vec::<&str>::new());
    assert_eq!((node.text().as_str(), node.phase()), (OLD, Phase::Restoring));
    // systemd starts containerd, and the unit after it continues the undo.
    stand_in.invocation += 1;
    stand_in.health = Health::Recovering;
    let outcome = Session::open(&node.root, 3, "three")
        .unwrap()
        .with_runtime(&mut stand_in)
        .undo_unsettled();
    assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{outcome:?}");
    // It had started with the old files, so no restart was needed.
    assert_eq!((stand_in.calls, node.phase()), (vec!["disarm"], Phase::Undone));
    assert_eq!(picture(&node.dir.path().join("etc")), node.before);
}

/// Without a runtime, as with `--root`, an unsettled live change is a change of files.
#[test]
fn files_alone_can_be_undone_from_outside() {
    let node = Node::new();
    drop(killed_at("after the restart", &node));
    let other = tempfile::tempdir().unwrap();
    copy(node.dir.path(), &other.path().join("image"));
    let root = Root::open(other.path().join("image")).unwrap();
    let outcome = Session::open(&root, 2, "two").unwrap().rollback();
    assert!(matches!(outcome, Ok(Outcome::Undone(_))), "{outcome:?}");
    assert_eq!(picture(&other.path().join("image/etc")), node.before);
}
