//! What callers see of a change: it is begun, carried on, undone and rolled back here.

use crate::change::change_loop::{ChangeLoop, LoopExit};
use crate::change::executor::ChangeExecutor;
use crate::change::outcome::{ChangeError, OpenError, Outcome, Report};
use crate::change::preconditions::{CheckedPlan, survey};
use crate::change::runtime::Runtime;
use crate::change::step_observation::StepObservation;
use crate::change::{repair, rollback};
use crate::error::NodeError;
use crate::files::root::{Root, split};
use crate::journal::file::{Change, Journal};
use crate::journal::lock::{
    Lock, NotLocked, {self},
};
use crate::journal::state_dir::StateDir;
use crate::runtime::deadline;
use mirrorshift_plan::change::{Goal, PathState, Phase, SiblingState, StepFacts, StepProgress};
use mirrorshift_plan::{Digest, Step};
use rustix::fs::{
    AtFlags, {self},
};
use std::time::Duration;

/// A plan as this crate carries it out.
#[derive(Clone, Debug)]
pub struct ChangePlan {
    /// Names the plan: the same plan has the same digest.
    pub digest: Digest,
    /// The version of containerd that it was made for, as text for the history.
    pub containerd: String,
    /// The mode of files that it makes, such as 0o644, or 0o600 when one holds a secret. Files that it replaces keep
    /// theirs. Folders that it makes have 0o755.
    pub new_file_mode: u32,
    /// What to put where, in this order.
    pub steps: Vec<Step>,
}

/// Holds the lock on a node, and changes its files.
///
/// A command that changes a node opens a session, calls [`Session::recover`], only then reads the files and plans, and
/// hands the plan to [`Session::apply`]: what an interrupted run left is brought to an end before anybody plans on it.
///
/// # Guarantees
/// A crash at any point leaves the old or the new bytes of each file, with its mode, owner and attributes; the next
/// session brings the change to an end. What somebody else wrote is never overwritten or deleted. Dropping a session
/// that changed nothing takes away the state folder again, if opening it had made it.
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
    /// Takes the lock and reads the journal. `now` is in seconds since 1970; `id` names the change that may be made: up to
    /// 64 letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(root: &'a Root, now: u64, id: &str) -> Result<Self, OpenError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.is_empty() || id.len() > 64 || !id.bytes().all(fits) {
            return Err(
                NodeError::Message("the identifier of a change is 1 to 64 letters, digits, `-` and `_`").into(),
            );
        }
        let (state, lock) = lock::take(root).map_err(|not| match not {
            NotLocked::Held(pid) => OpenError::Locked { pid },
            NotLocked::Trouble(trouble) => trouble.into(),
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

    /// The same for whoever comes to undo a change: waits for the lock, as long as `patience`. Who holds it may just be looking,
    /// and nobody else comes after this one.
    ///
    /// # Errors
    /// As of [`Session::open`].
    pub fn open_with_timeout(root: &'a Root, now: u64, id: &str, patience: Duration) -> Result<Self, OpenError> {
        let began = deadline::now();
        loop {
            match Self::open(root, now, id) {
                Err(OpenError::Locked { .. }) if deadline::now().saturating_sub(began) < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other,
            }
        }
    }

    /// The same for files that a containerd reads, which is guarded, restarted and asked as the change needs it.
    #[must_use]
    pub fn with_runtime(mut self, runtime: &'a mut dyn Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Brings a change that an earlier run left unfinished to an end: forward once all its files were staged, else back.
    ///
    /// # Errors
    /// [`ChangeError`]; a change that is stuck is refused here and left to `rollback`.
    pub fn recover(&mut self) -> Result<Outcome, ChangeError> {
        let Some(open) = self.journal.open.clone() else {
            return Ok(Outcome::Nothing);
        };
        self.finish(open, Goal::Recover, Vec::new())
    }

    /// Carries out `plan`. An unfinished change of the same plan is carried on; any other is undone first.
    ///
    /// # Errors
    /// [`ChangeError`]. A step that fails undoes those before it.
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
        self.is_new()?;
        let survey =
            survey(self.root, &self.state, &self.journal, plan, &self.id, self.now).map_err(ChangeError::Refused)?;
        self.begin(survey)
    }

    fn is_new(&self) -> Result<(), ChangeError> {
        if self.journal.ids().contains(&self.id.as_str()) {
            let said = "a change with this identifier is in the journal already";
            return Err(ChangeError::Refused(NodeError::Message(said)));
        }
        Ok(())
    }

    fn begin(&mut self, survey: CheckedPlan) -> Result<Outcome, ChangeError> {
        if survey.change.steps.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let before = |(step, found): (&crate::journal::file::StepRecord, Option<String>)| StepObservation {
            facts: StepFacts {
                kind: step.kind(),
                mark: StepProgress::Waiting,
                there: if found.is_some() {
                    PathState::Foreign
                } else {
                    PathState::Before
                },
                beside: SiblingState::Nothing,
                backup: true,
            },
            found,
        };
        let seen = survey.change.steps.iter().zip(survey.foreign).map(before).collect();
        let change = survey.change.clone();
        self.drive(change, Goal::Apply, survey.new, survey.old, Some(seen))
    }

    /// Goes back to what stood there before the last change: an unfinished one is undone, else the last settled one is
    /// rolled back, to the bytes, modes, owners and attributes of before. Called again it goes one change further back, as
    /// long as one is remembered.
    ///
    /// With a runtime, taking a settled change back is a change of its own: guarded, restarted, verified, and undone to the
    /// bytes that are in force now when containerd does not serve with the old ones.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when a file was edited since or a backup is damaged: nothing was changed.
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
        self.is_new()?;
        let survey = rollback::survey(self.root, &self.state, &self.journal, &last, &self.id, self.now)
            .map_err(ChangeError::Refused)?;
        self.begin(survey)
    }

    /// What [`Session::rollback`] would put where, when the last settled change is to be taken back.
    ///
    /// # Errors
    /// As of [`Session::rollback`]; nothing is changed in any case.
    pub fn rollback_plan(&self) -> Result<Option<ChangePlan>, ChangeError> {
        let last = match &self.journal.open {
            Some(_) => None,
            None => Journal::in_force(&self.journal.history),
        };
        last.map(|last| rollback::plan(self.root, &self.state, last))
            .transpose()
            .map_err(ChangeError::Refused)
    }

    /// Puts back what this tool wrote into hosts.toml files, where somebody wrote over it or took it away and a copy was kept
    /// ([`keep_copies`](crate::keep_copies)). What they wrote is backed up. `containerd` is its version, for the history.
    ///
    /// # Errors
    /// As of [`Session::apply`]; while a change is not over this is refused.
    pub fn repair(&mut self, containerd: &str) -> Result<Outcome, ChangeError> {
        self.is_new()?;
        let Some(plan) = self.repair_plan(containerd)? else {
            return Ok(Outcome::Nothing);
        };
        let mut survey =
            survey(self.root, &self.state, &self.journal, &plan, &self.id, self.now).map_err(ChangeError::Refused)?;
        survey.change.is_repair = true;
        self.begin(survey)
    }

    /// What [`Session::mend`] would put where; nothing when there is nothing to put back.
    ///
    /// # Errors
    /// As of [`Session::mend`]; nothing is changed in any case.
    pub fn repair_plan(&self, containerd: &str) -> Result<Option<ChangePlan>, ChangeError> {
        if self.journal.open.is_some() {
            return Err(ChangeError::Refused(NodeError::Message("a change is not over")));
        }
        repair::plan(self.root, &self.state, &self.journal, containerd).map_err(ChangeError::Refused)
    }

    /// Brings a change that has not settled back to its old bytes, and with a running containerd to one that serves with
    /// them. Takes away the guard of a change that is over, where it was left. For whoever comes after a run that ended.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn undo_unsettled(&mut self) -> Result<Outcome, ChangeError> {
        match (self.journal.open.clone(), self.journal.history.last().cloned()) {
            (Some(open), _) => self.finish(open, Goal::Rollback, Vec::new()),
            (None, Some(over)) if self.runtime.is_some() => {
                self.finish(over, Goal::Recover, Vec::new()).map(|_| Outcome::Nothing)
            }
            (None, _) => Ok(Outcome::Nothing),
        }
    }

    /// The same at a boot, before any containerd runs: puts the old bytes back and leaves the rest to whoever comes after
    /// containerd.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn undo_at_boot(&mut self) -> Result<Outcome, ChangeError> {
        match self.journal.open.clone() {
            Some(open) => self.finish(open, Goal::Guard, Vec::new()),
            None => Ok(Outcome::Nothing),
        }
    }

    /// As [`Status::is_of_another_boot`](crate::journal::status::Status::is_of_another_boot), of what is locked now.
    pub fn is_of_another_boot(&self, boot: &str) -> bool {
        Journal::is_of_another_boot(self.journal.open.as_ref(), &self.journal.history, boot)
    }

    /// Whether an earlier run left a change unfinished.
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
        seen: Option<Vec<StepObservation>>,
    ) -> Result<Outcome, ChangeError> {
        let undoes = change.undoes.clone();
        let report = Report {
            change: change.id.clone(),
            files: change.steps.iter().map(|step| step.path.clone()).collect(),
        };
        let mut hand = ChangeExecutor {
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
            asked: 0,
            differences: Vec::new(),
            invocation: None,
        };
        let mut run = ChangeLoop {
            goal,
            faults: 0,
            cause: None,
            touched: false,
        };
        let end = match run.run(&mut hand, seen) {
            Ok(end) => end,
            // What cannot be looked at is not touched.
            Err(trouble) if hand.change.phase.is_closed() => LoopExit::Refused(trouble),
            Err(trouble) => LoopExit::Halted(trouble),
        };
        let change = report.change.clone();
        match (end, run.cause) {
            (LoopExit::Closed(Phase::Settled), _) => Ok(match undoes {
                Some(change) => Outcome::RolledBack(Report { change, ..report }),
                None => Outcome::Settled(report),
            }),
            (LoopExit::Closed(Phase::RolledBack), _) => Ok(Outcome::RolledBack(report)),
            // Left at a boot: the files are back, and nobody could be asked yet.
            (LoopExit::Closed(Phase::Restoring), _) => Ok(Outcome::Undone(report)),
            // Asked for, or as near as an end was: what stood in the way is in the journal's note.
            (LoopExit::Closed(Phase::Undone), cause) if goal != Goal::Apply || cause.is_none() => {
                Ok(Outcome::Undone(report))
            }
            (LoopExit::Closed(Phase::Idle), _) if goal != Goal::Apply => Ok(Outcome::Nothing),
            (LoopExit::Closed(Phase::Undone), Some(cause)) if run.touched => Err(ChangeError::Undone { change, cause }),
            (LoopExit::Closed(_), Some(cause)) => Err(ChangeError::Refused(cause)),
            (LoopExit::Closed(_), None) => Ok(Outcome::Nothing),
            (LoopExit::Refused(trouble), _) => Err(ChangeError::Refused(trouble)),
            (LoopExit::Stuck(cause), _) => Err(ChangeError::Stuck { change, cause }),
            (LoopExit::Halted(cause), _) => Err(ChangeError::Unfinished { change, cause }),
        }
    }
}

impl Drop for Session<'_> {
    /// Leaves no trace of a session that had nothing to do.
    fn drop(&mut self) {
        if self.state.made.is_empty() || self.journal != Journal::default() {
            return;
        }
        // Any of these may fail, for a file of somebody else's or a disk gone read-only: then the folder stays.
        lock::forget(&self.state).ok();
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
