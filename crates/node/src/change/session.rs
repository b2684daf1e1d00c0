//! The entry point of this crate for changes: a session begins, continues, undoes and rolls back a change.

use crate::change::change_loop::{ChangeLoop, LoopExit};
use crate::change::change_plan::ChangePlan;
use crate::change::executor::ChangeExecutor;
use crate::change::outcome::{ChangeError, OpenError, Outcome, Report};
use crate::change::preconditions::{CheckedPlan, check};
use crate::change::runtime::Runtime;
use crate::change::step_observation::StepObservation;
use crate::change::{repair, rollback};
use crate::error::NodeError;
use crate::files::root::{Root, split};
use crate::journal::file::Journal;
use crate::journal::lock::{
    Lock, NotLocked, {self},
};
use crate::journal::record::{Change, StepRecord};
use crate::journal::state_dir::StateDir;
use crate::runtime::deadline;
use mirrorshift_plan::change::{Goal, PathState, Phase, SiblingState, StepFacts, StepProgress};
use rustix::fs::{
    AtFlags, {self},
};
use std::time::Duration;

/// Holds the lock on a node, and changes its files.
///
/// A command that changes a node opens a session, calls [`Session::recover`], then reads the files and makes a plan, and hands
/// the plan to [`Session::apply`]. The order matters: an interrupted change is finished before a plan is made on its files.
///
/// # Guarantees
/// A crash at any point leaves the original or the new file in each place, with its mode, owner and attributes, and the next
/// session finishes the change. A file that another program modified is never overwritten or deleted. Dropping a session that
/// changed nothing removes the state folder again, if opening the session had created it.
///
/// # Example
///
/// ```
/// use mirrorshift_node::{ChangePlan, Outcome, Root, Session};
/// use mirrorshift_plan::{Digest, Expect, Step};
///
/// let node = tempfile::tempdir()?;
/// std::fs::create_dir(node.path().join("etc"))?;
/// let root = Root::open(node.path())?;
///
/// let mut session = Session::open(&root, 1_700_000_000, "example-1")?;
/// session.recover()?;
/// // Read the files and plan here.
/// let plan = ChangePlan {
///     digest: Digest::of(b"the plan"),
///     containerd: "1.7.24".to_owned(),
///     new_file_mode: 0o644,
///     steps: vec![Step {
///         path: "/etc/hosts.toml".to_owned(),
///         expect: Expect::Absent,
///         content: Some(b"server = \"https://registry.test\"\n".to_vec()),
///         why: "an example".to_owned(),
///     }],
/// };
/// assert!(matches!(session.apply(&plan)?, Outcome::Settled(_)));
/// assert!(node.path().join("etc/hosts.toml").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session<'a> {
    root: &'a Root,
    state: StateDir,
    journal: Journal,
    id: String,
    now: u64,
    runtime: Option<&'a mut dyn Runtime>,
    _lock: Lock,
}

impl<'a> Session<'a> {
    /// Acquires the lock and reads the journal. `now` is the time in seconds since 1970. `id` identifies the change that this
    /// session may make: 1 to 64 letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// [`OpenError`]. Nothing was changed.
    pub fn open(root: &'a Root, now: u64, id: &str) -> Result<Self, OpenError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.is_empty() || id.len() > 64 || !id.bytes().all(is_allowed) {
            return Err(
                NodeError::Message("the identifier of a change is 1 to 64 letters, digits, `-` and `_`").into(),
            );
        }
        let (state, lock) = lock::acquire(root).map_err(|reason| match reason {
            NotLocked::Held(pid) => OpenError::Locked { pid },
            NotLocked::Error(error) => error.into(),
        })?;
        let journal = Journal::load(&state)?;
        if journal.open.is_none() {
            journal.remove_temporaries(&state);
        }
        Ok(Self {
            root,
            state,
            journal,
            id: id.to_owned(),
            now,
            runtime: None,
            _lock: lock,
        })
    }

    /// Like [`Session::open`], but waits up to `timeout` for the lock. The undo path uses it: the holder may be a short-lived
    /// reader, and no later process would retry the undo.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_with_timeout(root: &'a Root, now: u64, id: &str, timeout: Duration) -> Result<Self, OpenError> {
        let began = deadline::now();
        loop {
            match Self::open(root, now, id) {
                Err(OpenError::Locked { .. }) if deadline::now().saturating_sub(began) < timeout => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other,
            }
        }
    }

    /// Adds the running containerd that reads the files. The change then guards, restarts and checks it.
    #[must_use]
    pub fn with_runtime(mut self, runtime: &'a mut dyn Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Finishes a change that an earlier run left unfinished: forward if all its files were staged, otherwise back.
    ///
    /// # Errors
    /// [`ChangeError`]. A stuck change is refused here and left to [`Session::rollback`].
    pub fn recover(&mut self) -> Result<Outcome, ChangeError> {
        let Some(open) = self.journal.open.clone() else {
            return Ok(Outcome::Nothing);
        };
        self.finish(open, Goal::Recover, Vec::new())
    }

    /// Carries out `plan`. An unfinished change of the same plan is continued; any other unfinished change is undone first.
    ///
    /// # Errors
    /// [`ChangeError`]. If a step fails, the steps before it are undone.
    pub fn apply(&mut self, plan: &ChangePlan) -> Result<Outcome, ChangeError> {
        if let Some(open) = self.journal.open.clone() {
            let goal = Goal::for_unfinished(open.phase, open.plan == plan.digest);
            let content = |path: &str| {
                plan.steps
                    .iter()
                    .find(|step| step.path == path)
                    .and_then(|step| step.content.clone())
            };
            let new = open.steps.iter().map(|step| content(&step.path)).collect();
            if let settled @ Outcome::Settled(_) = self.finish(open, goal, new)? {
                return Ok(settled);
            }
        }
        self.require_new_id()?;
        let checked =
            check(self.root, &self.state, &self.journal, plan, &self.id, self.now).map_err(ChangeError::Refused)?;
        self.begin(checked)
    }

    fn require_new_id(&self) -> Result<(), ChangeError> {
        if self.journal.ids().contains(&self.id.as_str()) {
            let message = "the journal already has a change with this identifier";
            return Err(ChangeError::Refused(NodeError::Message(message)));
        }
        Ok(())
    }

    fn begin(&mut self, checked: CheckedPlan) -> Result<Outcome, ChangeError> {
        if checked.change.steps.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let before = |(step, found): (&StepRecord, Option<String>)| StepObservation {
            facts: StepFacts {
                kind: step.kind(),
                mark: StepProgress::Waiting,
                at_path: if found.is_some() {
                    PathState::Foreign
                } else {
                    PathState::Before
                },
                sibling: SiblingState::Nothing,
                backup: true,
            },
            found,
        };
        let observed = checked.change.steps.iter().zip(checked.foreign).map(before).collect();
        let change = checked.change.clone();
        self.drive(change, Goal::Apply, checked.new, checked.old, Some(observed))
    }

    /// Restores the files as they were before the last change, with contents, modes, owners and attributes. An unfinished change
    /// is undone; otherwise the last settled change is rolled back. Each further call reverts one change more, as long as one is
    /// recorded.
    ///
    /// With a runtime, rolling back a settled change is itself a change: it is guarded, containerd is restarted and verified, and
    /// the present files return if containerd does not serve with the restored ones.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] if a file was modified since, or a backup is damaged. Nothing was changed.
    pub fn rollback(&mut self) -> Result<Outcome, ChangeError> {
        if let Some(open) = self.journal.open.clone() {
            return self.finish(open, Goal::Rollback, Vec::new());
        }
        let Some(last) = Journal::in_force(&self.journal.history).cloned() else {
            return Ok(Outcome::Nothing);
        };
        if self.runtime.is_none() {
            return self.finish(last, Goal::Rollback, Vec::new());
        }
        self.require_new_id()?;
        let checked = rollback::check(self.root, &self.state, &self.journal, &last, &self.id, self.now)
            .map_err(ChangeError::Refused)?;
        self.begin(checked)
    }

    /// Returns the files that [`Session::rollback`] would restore if it reverted the last settled change.
    ///
    /// # Errors
    /// As [`Session::rollback`]. Nothing is changed in any case.
    pub fn rollback_plan(&self) -> Result<Option<ChangePlan>, ChangeError> {
        let last = match &self.journal.open {
            Some(_) => None,
            None => Journal::in_force(&self.journal.history),
        };
        last.map(|last| rollback::plan(self.root, &self.state, last))
            .transpose()
            .map_err(ChangeError::Refused)
    }

    /// Restores hosts.toml files that Mirrorshift wrote and that another program modified or removed, if a copy was retained
    /// ([`retain_copies`](crate::retain_copies)). The modified file is backed up. `containerd` is the version for the history.
    ///
    /// # Errors
    /// As [`Session::apply`]. The repair is refused while another change is in progress.
    pub fn repair(&mut self, containerd: &str) -> Result<Outcome, ChangeError> {
        self.require_new_id()?;
        let Some(plan) = self.repair_plan(containerd)? else {
            return Ok(Outcome::Nothing);
        };
        let mut checked =
            check(self.root, &self.state, &self.journal, &plan, &self.id, self.now).map_err(ChangeError::Refused)?;
        checked.change.is_repair = true;
        self.begin(checked)
    }

    /// Returns the files that [`Session::repair`] would restore, or `None` if there are none.
    ///
    /// # Errors
    /// As [`Session::repair`]. Nothing is changed in any case.
    pub fn repair_plan(&self, containerd: &str) -> Result<Option<ChangePlan>, ChangeError> {
        if self.journal.open.is_some() {
            return Err(ChangeError::Refused(NodeError::Message(
                "another change is in progress",
            )));
        }
        repair::plan(self.root, &self.state, &self.journal, containerd).map_err(ChangeError::Refused)
    }

    /// Restores the original files of a change that has not settled, and with a runtime makes containerd serve with them. Removes
    /// the leftover guard of a closed change. Call it after a run has ended early.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn undo_unsettled(&mut self) -> Result<Outcome, ChangeError> {
        match (self.journal.open.clone(), self.journal.history.last().cloned()) {
            (Some(open), _) => self.finish(open, Goal::Rollback, Vec::new()),
            (None, Some(closed)) if self.runtime.is_some() => {
                self.finish(closed, Goal::Recover, Vec::new()).map(|_| Outcome::Nothing)
            }
            (None, _) => Ok(Outcome::Nothing),
        }
    }

    /// Restores the original files at a boot, before containerd starts. A unit that runs after containerd continues from there
    /// with [`Session::undo_unsettled`].
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn undo_at_boot(&mut self) -> Result<Outcome, ChangeError> {
        match self.journal.open.clone() {
            Some(open) => self.finish(open, Goal::Guard, Vec::new()),
            None => Ok(Outcome::Nothing),
        }
    }

    /// Like [`Status::is_of_another_boot`](crate::journal::status::Status::is_of_another_boot), while the lock is held.
    pub fn is_of_another_boot(&self, boot: &str) -> bool {
        Journal::is_of_another_boot(self.journal.open.as_ref(), &self.journal.history, boot)
    }

    /// Returns the change that an earlier run left unfinished, if any.
    pub fn unfinished(&self) -> Option<&Change> {
        self.journal.open.as_ref()
    }

    fn finish(&mut self, change: Change, goal: Goal, new: Vec<Option<Vec<u8>>>) -> Result<Outcome, ChangeError> {
        self.drive(change, goal, new, Vec::new(), None)
    }

    fn drive(
        &mut self,
        change: Change,
        goal: Goal,
        new: Vec<Option<Vec<u8>>>,
        old: Vec<Option<Vec<u8>>>,
        observed: Option<Vec<StepObservation>>,
    ) -> Result<Outcome, ChangeError> {
        let undoes = change.undoes.clone();
        let report = Report {
            change: change.id.clone(),
            files: change.steps.iter().map(|step| step.path.clone()).collect(),
        };
        let mut executor = ChangeExecutor {
            root: self.root,
            state: &self.state,
            journal: &mut self.journal,
            change,
            new,
            old,
            now: self.now,
            runtime: match &mut self.runtime {
                Some(runtime) => Some(&mut **runtime),
                None => None,
            },
            restarts_requested: 0,
            differences: Vec::new(),
            invocation: None,
        };
        let mut change_loop = ChangeLoop {
            goal,
            faults: 0,
            cause: None,
            touched: false,
        };
        let exit = match change_loop.run(&mut executor, observed) {
            Ok(exit) => exit,
            // A file that cannot be observed is not changed.
            Err(error) if executor.change.phase.is_closed() => LoopExit::Refused(error),
            Err(error) => LoopExit::Halted(error),
        };
        let change = report.change.clone();
        match (exit, change_loop.cause) {
            (LoopExit::Closed(Phase::Settled), _) => Ok(match undoes {
                Some(change) => Outcome::RolledBack(Report { change, ..report }),
                None => Outcome::Settled(report),
            }),
            (LoopExit::Closed(Phase::RolledBack), _) => Ok(Outcome::RolledBack(report)),
            // The undo at a boot ends here: the original files are back, and containerd does not run yet.
            (LoopExit::Closed(Phase::Restoring), _) => Ok(Outcome::Undone(report)),
            // The undo was requested, or it was the nearest end. The journal's note has the cause.
            (LoopExit::Closed(Phase::Undone), cause) if goal != Goal::Apply || cause.is_none() => {
                Ok(Outcome::Undone(report))
            }
            (LoopExit::Closed(Phase::Idle), _) if goal != Goal::Apply => Ok(Outcome::Nothing),
            (LoopExit::Closed(Phase::Undone), Some(cause)) if change_loop.touched => {
                Err(ChangeError::Undone { change, cause })
            }
            (LoopExit::Closed(_), Some(cause)) => Err(ChangeError::Refused(cause)),
            (LoopExit::Closed(_), None) => Ok(Outcome::Nothing),
            (LoopExit::Refused(error), _) => Err(ChangeError::Refused(error)),
            (LoopExit::Stuck(cause), _) => Err(ChangeError::Stuck { change, cause }),
            (LoopExit::Halted(cause), _) => Err(ChangeError::Unfinished { change, cause }),
        }
    }
}

impl Drop for Session<'_> {
    /// Removes the folders that a session created without making a change.
    fn drop(&mut self) {
        if self.state.made.is_empty() || self.journal != Journal::default() {
            return;
        }
        // Each removal may fail, because of another program's file or a disk that became read-only. The folder then stays.
        lock::remove_file(&self.state).ok();
        for path in self.state.made.iter().rev() {
            let (folder, name) = split(path);
            let removed = self
                .root
                .folder(folder)
                .and_then(|folder| fs::unlinkat(folder, name, AtFlags::REMOVEDIR));
            if removed.is_err() {
                return;
            }
        }
    }
}
