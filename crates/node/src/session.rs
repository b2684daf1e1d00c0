//! The loop, and what callers see of it.

use crate::act::Hand;
use crate::journal::{Change, Journal};
use crate::lock::{self, Lock, NotLocked};
use crate::observe::{Observed, observe};
use crate::outcome::{ChangeError, OpenError, Outcome, Report};
use crate::root::{Root, split};
use crate::runtime::Runtime;
use crate::state::State;
use crate::survey::survey;
use crate::trouble::Trouble;
use mirrorshift_plan::change::{ChangeFacts, Goal, Mark, Move, Phase, Reason, StepFacts, There, decide};
use mirrorshift_plan::{Digest, Step};
use rustix::fs::{self, AtFlags};

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
    state: State,
    journal: Journal,
    id: String,
    now: u64,
    runtime: Option<&'a mut dyn Runtime>,
    _lock: Lock,
}

/// How a run of the loop ended.
enum End {
    Closed(Phase),
    Refused(Trouble),
    Stuck(Trouble),
    Halted(Trouble),
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
            return Err(Trouble::Said("the identifier of a change is 1 to 64 letters, digits, `-` and `_`").into());
        }
        let (state, lock) = lock::take(root).map_err(|not| match not {
            NotLocked::Held(pid) => OpenError::Locked { pid },
            NotLocked::Trouble(trouble) => trouble.into(),
        })?;
        let journal = Journal::load(&state)?;
        if journal.open.is_none() {
            journal.tidy(&state);
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

    /// The same for files that a containerd reads, which is guarded, restarted and asked as the change needs it.
    #[must_use]
    pub fn with(mut self, runtime: &'a mut dyn Runtime) -> Self {
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
        if self.journal.ids().contains(&self.id.as_str()) {
            let said = "a change with this identifier is in the journal already";
            return Err(ChangeError::Refused(Trouble::Said(said)));
        }
        let survey =
            survey(self.root, &self.state, &self.journal, plan, &self.id, self.now).map_err(ChangeError::Refused)?;
        if survey.change.steps.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let before = |(step, found): (&crate::journal::StepRecord, Option<String>)| Observed {
            facts: StepFacts {
                kind: step.kind(),
                mark: Mark::Waiting,
                there: if found.is_some() { There::Foreign } else { There::Before },
                beside: mirrorshift_plan::change::Beside::Nothing,
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
    /// # Errors
    /// [`ChangeError::Refused`] when a file was edited since or a backup is damaged: nothing was changed.
    pub fn rollback(&mut self) -> Result<Outcome, ChangeError> {
        let last = || {
            self.journal
                .history
                .iter()
                .rfind(|change| change.phase == Phase::Settled)
        };
        let Some(change) = self.journal.open.as_ref().or_else(last).cloned() else {
            return Ok(Outcome::Nothing);
        };
        self.finish(change, Goal::Rollback, Vec::new())
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

    /// Whether the change that has not settled, or else the last one, was armed in another boot than `boot`. What runs
    /// because containerd is started has nothing to do otherwise: it is the change that starts it.
    pub fn is_of_another_boot(&self, boot: &str) -> bool {
        let last = self.journal.open.as_ref().or(self.journal.history.last());
        last.and_then(|change| change.service.as_ref())
            .is_some_and(|service| service.boot != boot)
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
        seen: Option<Vec<Observed>>,
    ) -> Result<Outcome, ChangeError> {
        let report = Report {
            change: change.id.clone(),
            files: change.steps.iter().map(|step| step.path.clone()).collect(),
        };
        let mut hand = Hand {
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
        };
        let mut run = Run {
            goal,
            faults: 0,
            cause: None,
            touched: false,
        };
        let end = match run.drive(&mut hand, seen) {
            Ok(end) => end,
            // What cannot be looked at is not touched.
            Err(trouble) if hand.change.phase.is_closed() => End::Refused(trouble),
            Err(trouble) => End::Halted(trouble),
        };
        let change = report.change.clone();
        match (end, run.cause) {
            (End::Closed(Phase::Settled), _) => Ok(Outcome::Settled(report)),
            (End::Closed(Phase::RolledBack), _) => Ok(Outcome::RolledBack(report)),
            // Left at a boot: the files are back, and nobody could be asked yet.
            (End::Closed(Phase::Restoring), _) => Ok(Outcome::Undone(report)),
            // Asked for, or as near as an end was: what stood in the way is in the journal's note.
            (End::Closed(Phase::Undone), cause) if goal != Goal::Apply || cause.is_none() => {
                Ok(Outcome::Undone(report))
            }
            (End::Closed(Phase::Idle), _) if goal != Goal::Apply => Ok(Outcome::Nothing),
            (End::Closed(Phase::Undone), Some(cause)) if run.touched => Err(ChangeError::Undone { change, cause }),
            (End::Closed(_), Some(cause)) => Err(ChangeError::Refused(cause)),
            (End::Closed(_), None) => Ok(Outcome::Nothing),
            (End::Refused(trouble), _) => Err(ChangeError::Refused(trouble)),
            (End::Stuck(cause), _) => Err(ChangeError::Stuck { change, cause }),
            (End::Halted(cause), _) => Err(ChangeError::Unfinished { change, cause }),
        }
    }
}

struct Run {
    goal: Goal,
    faults: u32,
    /// The first thing that went wrong.
    cause: Option<Trouble>,
    /// A file held new bytes when the undo began.
    touched: bool,
}

impl Run {
    /// Look, decide, act, again.
    fn drive(&mut self, hand: &mut Hand<'_>, seen: Option<Vec<Observed>>) -> Result<End, Trouble> {
        let mut seen = match seen {
            Some(seen) => seen,
            None => self.look(hand)?,
        };
        // No change needs more than a dozen moves a step. The bound is against an editor that never rests. Waiting has a
        // bound of its own.
        let most = 64 + 16 * hand.change.steps.len();
        let mut moves = 0;
        while moves < most {
            let service = match hand.service() {
                Ok(service) => service,
                Err(trouble) => {
                    self.fault(trouble);
                    hand.service()?
                }
            };
            let facts = ChangeFacts {
                phase: hand.change.phase,
                steps: seen.iter().map(|step| step.facts).collect(),
                folders: !hand.change.folders.is_empty(),
                faults: self.faults,
                service,
            };
            let next = decide(self.goal, &facts);
            moves += usize::from(next != Move::Wait);
            match next {
                Move::Done => return Ok(End::Closed(hand.change.phase)),
                Move::Refuse(reason) => return Ok(End::Refused(self.trouble(hand, &seen, reason))),
                Move::Halt(reason) => return Ok(End::Halted(self.trouble(hand, &seen, reason))),
                Move::Undo(_) => self.touched |= facts.steps.iter().any(|step| step.there == There::After),
                _ => {}
            }
            let why = match next {
                Move::Undo(Reason::Asked)
                | Move::Keep(Reason::Asked)
                | Move::Abandon(Reason::Asked | Reason::Interrupted) => None,
                Move::Undo(reason) | Move::Keep(reason) | Move::Abandon(reason) | Move::GiveUp(reason) => {
                    let trouble = self.trouble(hand, &seen, reason);
                    let text = chain(&trouble);
                    self.cause = Some(trouble);
                    Some(text)
                }
                _ => None,
            };
            let phase = hand.change.phase;
            let acted = hand.act(next, why);
            match (next, acted) {
                (Move::GiveUp(_), _) => return Ok(End::Stuck(self.cause.take().unwrap_or(Trouble::Endless))),
                (Move::Abandon(_), Ok(())) => return Ok(End::Closed(Phase::Idle)),
                (Move::Leave, Ok(())) => return Ok(End::Closed(hand.change.phase)),
                (Move::Keep(_), Ok(())) => {
                    return Ok(match self.cause.take() {
                        Some(cause) => End::Refused(cause),
                        None => End::Closed(Phase::Settled),
                    });
                }
                (_, Ok(())) => {}
                // The next look shows it, and the next decision deals with it; it is no fault of this machine.
                (_, Err(trouble @ Trouble::Foreign { .. })) => self.cause = self.cause.take().or(Some(trouble)),
                (_, Err(trouble)) => self.fault(trouble),
            }
            if hand.change.phase != phase {
                // Where a containerd runs, a guard may be left to take away.
                if hand.change.phase.is_closed() && facts.service.is_none() {
                    return Ok(End::Closed(hand.change.phase));
                }
                self.faults = 0;
                seen = self.look(hand)?;
            } else if let (Some(at), true) = (step_of(next), phase != Phase::Idle) {
                match (seen.get_mut(at), observe(hand.root, hand.state, &hand.change, at)) {
                    (Some(slot), Ok(now)) => *slot = now,
                    (None, _) => return Err(Trouble::Endless),
                    (_, Err(trouble)) => {
                        self.fault(trouble);
                        seen = look_at_all(hand)?;
                    }
                }
            }
        }
        Ok(End::Halted(self.cause.take().unwrap_or(Trouble::Endless)))
    }

    /// Looks at every step. What cannot be looked at is a fault like any other, so that the change is undone; but never
    /// on what was seen before, as a decision on stale facts may take away the wrong copy.
    fn look(&mut self, hand: &Hand<'_>) -> Result<Vec<Observed>, Trouble> {
        match look_at_all(hand) {
            Err(trouble) => {
                self.fault(trouble);
                look_at_all(hand)
            }
            seen => seen,
        }
    }

    fn fault(&mut self, trouble: Trouble) {
        self.faults += 1;
        self.cause = self.cause.take().or(Some(trouble));
    }

    /// A reason with the paths that belong to it.
    fn trouble(&mut self, hand: &Hand<'_>, seen: &[Observed], reason: Reason) -> Trouble {
        let step = |at: usize| hand.change.steps.get(at);
        let found = |at: usize| seen.get(at).and_then(|step| step.found.clone());
        let said = match reason {
            Reason::Foreign(at) => step(at).map(|step| Trouble::Foreign {
                path: step.path.clone(),
                found: found(at).unwrap_or_else(|| "it holds what it held before the change".to_owned()),
            }),
            Reason::Backup(at) => step(at).map(|step| hand.backup(step, at)),
            Reason::Staged(at) | Reason::Leftover(at) => step(at).map(|step| Trouble::Leftover {
                path: step.path.clone(),
                beside: step.beside.clone(),
            }),
            Reason::Stuck => Some(Trouble::Stuck {
                change: hand.change.id.clone(),
            }),
            Reason::Asked => Some(Trouble::Said("it was asked for")),
            Reason::Interrupted => Some(Trouble::Said("an earlier run was cut short")),
            Reason::Daemon => Some(Trouble::Said("containerd does not serve as it did before")),
            Reason::Fault => None,
        };
        // A foreign edit met in the middle of a swap says more than the look after it.
        match (self.cause.take(), said) {
            (Some(cause), None | Some(Trouble::Foreign { .. })) => cause,
            (_, Some(said)) => said,
            (None, None) => Trouble::Endless,
        }
    }
}

fn look_at_all(hand: &Hand<'_>) -> Result<Vec<Observed>, Trouble> {
    (0..hand.change.steps.len())
        .map(|at| observe(hand.root, hand.state, &hand.change, at))
        .collect()
}

fn step_of(next: Move) -> Option<usize> {
    match next {
        Move::Stage(at)
        | Move::Swap(at)
        | Move::Confirm(at)
        | Move::PutBack(at)
        | Move::Spare(at)
        | Move::Sweep(at)
        | Move::StageUndo(at)
        | Move::SwapBack(at) => Some(at),
        _ => None,
    }
}

fn chain(trouble: &Trouble) -> String {
    let mut text = trouble.to_string();
    let mut source = std::error::Error::source(trouble);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
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
