//! Performs one move of a change.

use crate::change::runtime::{
    Runtime, {self},
};
use crate::error::NodeError;
use crate::files::folders;
use crate::files::root::{Root, split};
use crate::files::snapshot::{PathStat, stat_path};
use crate::files::stage::{Attributes, part, remove, stage};
use crate::files::swap::SwapPaths;
use crate::journal::file::Journal;
use crate::journal::record::{Change, FileRecord, OwnedFile, StepRecord, UndoCause};
use crate::journal::state_dir::{RESERVED, StateDir, make_folder};
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::{Move, Phase, Service, StepProgress};
use rustix::fs;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io::Cursor;

/// The change that is being made, and everything that its moves need.
pub(crate) struct ChangeExecutor<'a> {
    pub(crate) root: &'a Root,
    pub(crate) state: &'a StateDir,
    pub(crate) journal: &'a mut Journal,
    pub(crate) change: Change,
    /// The new contents of each step, if the caller has them.
    pub(crate) new: Vec<Option<Vec<u8>>>,
    /// The original contents of each step, before they are backed up.
    pub(crate) old: Vec<Option<Vec<u8>>>,
    pub(crate) now: u64,
    /// The running containerd that reads the files, if any.
    pub(crate) runtime: Option<&'a mut dyn Runtime>,
    /// The number of restarts that this run requested in this phase.
    pub(crate) restarts_requested: u32,
    /// The differences from before the change, as of the last observation of containerd.
    pub(crate) differences: Vec<String>,
    /// The invocation of containerd at that observation.
    pub(crate) invocation: Option<String>,
}

impl ChangeExecutor<'_> {
    /// Performs `next`. `why` is the reason for the journal, if the move has one.
    ///
    /// # Guarantees
    /// The announcement of an effect in the journal is on disk before the effect, and the effect is on disk before it is recorded
    /// as done.
    pub(crate) fn perform(&mut self, next: Move, why: Option<String>) -> Result<(), NodeError> {
        // The transitions are in one table, next to the decisions that lead to them.
        let phase = next.next_phase(self.change.settled).unwrap_or(self.change.phase);
        match next {
            Move::Arm => self.arm(phase),
            Move::Stage(at) => self.stage(at),
            Move::BeginApplying => {
                self.sync_copies()?;
                self.enter(phase)
            }
            Move::Swap(at) => self.swap(at),
            Move::Confirm(at) => {
                SwapPaths::open(self.root, self.step(at)?)?.sync()?;
                self.mark(at, StepProgress::Swapped)
            }
            Move::PutBack(at) => {
                SwapPaths::open(self.root, self.step(at)?)?.put_back()?;
                let swapping_back = self.step(at)?.mark == StepProgress::Returning;
                self.mark(
                    at,
                    if swapping_back {
                        StepProgress::Swapped
                    } else {
                        StepProgress::Waiting
                    },
                )
            }
            Move::RecordForeign(at) => self.mark(at, StepProgress::Waiting),
            Move::Complete | Move::Verify => self.enter(phase),
            Move::RemoveSibling(at) => self.remove_sibling(at),
            Move::Settle => self.settle(phase),
            Move::Abandon(_) => self.abandon(phase),
            Move::BeginRollback => {
                self.reserve()?;
                self.enter(phase)
            }
            Move::StageUndo(at) => self.stage_undo(at),
            Move::CancelRollback(_) => {
                self.clear_copies()?;
                self.enter(phase)?;
                self.state.release()
            }
            Move::Undo(reason) => {
                if self.change.phase == Phase::RollbackStaging {
                    self.sync_copies()?;
                }
                self.record(|change| {
                    change.phase = phase;
                    // An undo that is requested again, or that was interrupted, keeps its first reason.
                    change.why = change.why.or(Some(UndoCause::of(reason)));
                    change.note = why.or(change.note.take());
                })
            }
            Move::SwapBack(at) => {
                self.mark(at, StepProgress::Returning)?;
                let paths = SwapPaths::open(self.root, self.step(at)?)?;
                paths.swap_back()?;
                paths.sync()?;
                self.mark(at, StepProgress::Returned)
            }
            Move::RemoveFolders => self.remove_folders(),
            Move::CloseUndone => self.close_undone(phase),
            Move::GiveUp(reason) => self.record(|change| {
                change.phase = phase;
                change.why = change.why.or(Some(UndoCause::of(reason)));
                change.note = why;
            }),
            Move::BeginRestart => self.announce(phase),
            Move::Restore => {
                // No later phase removes copies and folders, so they must be removed here.
                self.clear_copies()?;
                self.announce(phase)
            }
            Move::Guard => {
                let change = self.change.clone();
                self.runtime()?.guard(&change)
            }
            Move::Disarm => self.runtime()?.disarm(),
            Move::Restart => {
                let again = self.restarts_requested > 0;
                self.restarts_requested += 1;
                let phase = self.change.phase;
                let runtime = self.runtime()?;
                runtime.phase_started(phase);
                runtime.restart(again)
            }
            Move::RunTrial => {
                let runtime = self.runtime()?;
                runtime.pull_trial_image();
                // The pull may have taken any time, so the deadline to serve starts again.
                runtime.phase_started(Phase::Verifying);
                Ok(())
            }
            Move::Wait => {
                self.runtime()?.wait();
                Ok(())
            }
            Move::Refuse(_) | Move::StopWithFault(_) | Move::LeaveToNextRun | Move::Done => Ok(()),
        }
    }

    /// Observes the running containerd of the change. Returns `None` if the change has none.
    pub(crate) fn service(&mut self) -> Result<Option<Service>, NodeError> {
        let Some(runtime) = self.runtime.as_deref_mut() else {
            return Ok(None);
        };
        let (service, running) = runtime::service(runtime, &self.change, self.restarts_requested)?;
        self.differences = running.differences;
        self.invocation = running.invocation;
        Ok(Some(service))
    }

    /// Alerts an operator that the change could not be undone, with the reason `why`.
    pub(crate) fn alert_operator(&mut self, why: &str) {
        let files: Vec<String> = self
            .change
            .steps
            .iter()
            .map(|step| format!("`{}`", step.path))
            .collect();
        let line = format!(
            "mirrorshift: the change `{}` could not be undone, and containerd may not serve: {why}. Its files: {}. \
             Run `mirrorshift status`, repair the files that it names, then run `mirrorshift rollback`.",
            self.change.id,
            files.join(", ")
        );
        if let Some(runtime) = self.runtime.as_deref_mut() {
            // The reason may contain text of other programs with line breaks and control characters.
            runtime.alert(&line.replace(char::is_control, " "));
        }
    }

    fn runtime(&mut self) -> Result<&mut (dyn Runtime + '_), NodeError> {
        match &mut self.runtime {
            Some(runtime) => Ok(&mut **runtime),
            None => Err(NodeError::Message("there is no running containerd for this move")),
        }
    }

    /// Enters a phase that contains a restart, and records the invocation that ran before it.
    fn announce(&mut self, phase: Phase) -> Result<(), NodeError> {
        let change = self.change.clone();
        let from = self.runtime()?.observe(&change)?.invocation;
        self.record(|change| {
            change.phase = phase;
            if let Some(service) = &mut change.service {
                service.from = from;
            }
        })
    }

    fn step(&self, at: usize) -> Result<&StepRecord, NodeError> {
        self.change.steps.get(at).ok_or(NodeError::NoSuchStep(at))
    }

    /// Writes the journal with `edit` applied. `self.change` changes only after the journal is on disk.
    fn record(&mut self, edit: impl FnOnce(&mut Change)) -> Result<(), NodeError> {
        let mut change = self.change.clone();
        edit(&mut change);
        let journal = self.journal.with_change(&change);
        self.commit(change, journal)
    }

    fn commit(&mut self, change: Change, journal: Journal) -> Result<(), NodeError> {
        journal.save(self.state)?;
        *self.journal = journal;
        if self.change.phase != change.phase {
            self.restarts_requested = 0;
            if let Some(runtime) = self.runtime.as_deref_mut() {
                runtime.phase_started(change.phase);
            }
        }
        self.change = change;
        Ok(())
    }

    fn enter(&mut self, phase: Phase) -> Result<(), NodeError> {
        self.record(|change| change.phase = phase)
    }

    fn mark(&mut self, at: usize, mark: StepProgress) -> Result<(), NodeError> {
        self.record(|change| {
            if let Some(step) = change.steps.get_mut(at) {
                step.mark = mark;
            }
        })
    }

    fn arm(&mut self, phase: Phase) -> Result<(), NodeError> {
        if let Some(runtime) = self.runtime.as_deref_mut() {
            self.change.service = Some(runtime.capture_baseline()?);
        }
        let armed = self.back_up().and_then(|()| self.enter(phase));
        if armed.is_err() {
            // The journal does not have this change, so its backups are leftovers. The first error is the reason for the
            // refusal, so an error of this removal is ignored.
            self.journal.remove_temporaries(self.state);
        }
        armed
    }

    fn back_up(&self) -> Result<(), NodeError> {
        self.state.prune(&self.journal.ids())?;
        let folder = self.state.make_backups(&self.change.id)?;
        StateDir::write_backups(&folder, &self.change.id, &self.old)?;
        self.reserve()
    }

    fn reserve(&self) -> Result<(), NodeError> {
        let size = self
            .journal
            .with_change(&self.change)
            .to_bytes()
            .map_or(0, |text| text.len() as u64);
        self.state.reserve(RESERVED + 2 * size)
    }

    fn stage(&self, at: usize) -> Result<(), NodeError> {
        let step = self.step(at)?;
        let Some(Some(bytes)) = self.new.get(at) else {
            return Err(NodeError::Message("the new contents are not available"));
        };
        if step.after != Some(Digest::of(bytes)) {
            return Err(NodeError::Message("the new contents differ from the plan"));
        }
        let attributes = match step.restores.as_ref().or(step.before.as_ref()) {
            Some(file) => attributes_of(file),
            None => Attributes::New {
                mode: self.change.new_file_mode,
            },
        };
        self.stage_contents(step, bytes, &attributes)
    }

    fn stage_undo(&self, at: usize) -> Result<(), NodeError> {
        let step = self.step(at)?;
        let bytes = self.state.read_backup(&self.change.id, at)?;
        match (bytes, &step.before) {
            (Some(bytes), Some(before)) if before.digest == Digest::of(&bytes) => {
                self.stage_contents(step, &bytes, &attributes_of(before))?;
                // During an undo each copy is staged by itself and must be synced. Before it, all are synced together.
                if self.change.phase == Phase::Undoing {
                    self.sync_copies()
                } else {
                    Ok(())
                }
            }
            _ => Err(NodeError::damaged(&self.change, step, at)),
        }
    }

    fn stage_contents(&self, step: &StepRecord, bytes: &[u8], attributes: &Attributes) -> Result<(), NodeError> {
        let (folder, name) = split(&step.beside);
        let folder = self.root.folder(folder).map_err(NodeError::io("open", folder))?;
        stage(&folder, name, &step.beside, &mut Cursor::new(bytes), attributes)
    }

    /// Syncs every folder that copies were staged in.
    fn sync_copies(&self) -> Result<(), NodeError> {
        let folders: BTreeSet<&str> = self.change.steps.iter().map(|step| split(&step.beside).0).collect();
        for folder in folders {
            let fd = match self.root.folder(folder) {
                // Another program removed the folder, so there is no copy in it to sync.
                Err(Errno::NOENT) => continue,
                other => other.map_err(NodeError::io("open", folder))?,
            };
            fs::fsync(fd).map_err(NodeError::io("sync", folder))?;
        }
        Ok(())
    }

    fn swap(&mut self, at: usize) -> Result<(), NodeError> {
        let missing = folders::missing_parents(self.root, split(&self.step(at)?.target).0)?;
        self.announce_swap(at, &missing)?;
        self.create_folders(&missing)?;
        let paths = SwapPaths::open(self.root, self.step(at)?)?;
        paths.swap_in()?;
        paths.sync()?;
        self.mark(at, StepProgress::Swapped)
    }

    /// Records that a swap begins, and which folders it creates.
    fn announce_swap(&mut self, at: usize, missing: &[String]) -> Result<(), NodeError> {
        let announced: Vec<_> = missing
            .iter()
            .filter(|folder| !self.change.folders.contains(folder))
            .cloned()
            .collect();
        self.record(|change| {
            change.folders.extend(announced);
            if let Some(step) = change.steps.get_mut(at) {
                step.mark = StepProgress::Swapping;
            }
        })
    }

    /// Creates the folders of a swap, outermost first.
    fn create_folders(&mut self, missing: &[String]) -> Result<(), NodeError> {
        for path in missing {
            let (folder, name) = split(path);
            let folder = self.root.folder(folder).map_err(NodeError::io("open", folder))?;
            if !make_folder(&folder, name, 0o755).map_err(NodeError::io("create", path.as_str()))? {
                // Another program created the folder since it was found missing, so an undo must not remove it.
                self.record(|change| change.folders.retain(|folder| folder != path))?;
            }
        }
        Ok(())
    }

    /// Removes the copy next to a file, if a step of this change can have left it. In phases without a swap such a copy is an
    /// unfinished copy of this change, because the name was free when the change was armed. The folder is synced when the phase
    /// ends.
    fn remove_sibling(&self, at: usize) -> Result<(), NodeError> {
        let step = self.step(at)?;
        let (folder, name) = split(&step.beside);
        let fd = self.root.folder(folder).map_err(NodeError::io("open", folder))?;
        let is_ours = match stat_path(&fd, name, &step.beside)? {
            PathStat::Nothing => true,
            PathStat::File(now) => {
                step.mark == StepProgress::Waiting
                    || self.change.phase == Phase::RollbackStaging
                    || step.after == Some(now.record.digest)
                    || step.before.as_ref().is_some_and(|before| now.record.is_same_as(before))
            }
            PathStat::Other(_) => false,
        };
        if !is_ours {
            return Err(NodeError::UnexpectedSibling {
                path: step.path.clone(),
                beside: step.beside.clone(),
            });
        }
        remove(&fd, name)
            .and_then(|()| remove(&fd, &part(name)))
            .map_err(NodeError::io("remove", step.beside.as_str()))
    }

    /// Removes unfinished copies of a killed run, and syncs every folder that held copies.
    fn clear_copies(&self) -> Result<(), NodeError> {
        for step in &self.change.steps {
            let (folder, name) = split(&step.beside);
            let fd = match self.root.folder(folder) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(NodeError::io("open", folder)(error)),
            };
            remove(&fd, &part(name)).map_err(NodeError::io("remove", step.beside.as_str()))?;
        }
        self.sync_copies()
    }

    /// Returns the change as closed now. The caller sets its phase.
    fn closed(&self) -> Change {
        let mut change = self.change.clone();
        change.ended = Some(self.now);
        if let Some(service) = &mut change.service {
            service.closed_with.clone_from(&self.invocation);
        }
        change
    }

    fn settle(&mut self, phase: Phase) -> Result<(), NodeError> {
        self.clear_copies()?;
        let mut change = self.closed();
        (change.phase, change.settled) = (phase, true);
        let mut journal = self.journal.with_change(&change);
        let is_rollback = journal.mark_rolled_back(&change);
        // A repair does not change the ownership of files.
        for step in change.steps.iter().filter(|_| !is_rollback && !change.is_repair) {
            match step.after {
                Some(digest) => {
                    let made = step.before.is_none() || step.owned.is_some_and(|owned| owned.made);
                    journal.owned.insert(step.path.clone(), OwnedFile { digest, made });
                }
                None => {
                    journal.owned.remove(&step.path);
                }
            }
        }
        self.commit(change, journal)?;
        self.journal.remove_temporaries(self.state);
        Ok(())
    }

    fn close_undone(&mut self, phase: Phase) -> Result<(), NodeError> {
        self.clear_copies()?;
        let mut change = self.closed();
        change.phase = phase;
        let mut journal = self.journal.with_change(&change);
        for step in &change.steps {
            match step.owned {
                Some(owned) => journal.owned.insert(step.path.clone(), owned),
                None => journal.owned.remove(&step.path),
            };
        }
        self.commit(change, journal)?;
        self.journal.remove_temporaries(self.state);
        Ok(())
    }

    fn abandon(&mut self, phase: Phase) -> Result<(), NodeError> {
        self.clear_copies()?;
        let mut change = self.change.clone();
        change.phase = phase;
        let mut journal = self.journal.clone();
        journal.open = None;
        self.commit(change, journal)?;
        self.journal.remove_temporaries(self.state);
        Ok(())
    }

    /// Removes the folders that the change created. The removal is synced when the phase ends, with the journal that no longer
    /// names the folders. Repeating it finds them missing.
    fn remove_folders(&mut self) -> Result<(), NodeError> {
        if self.change.phase == Phase::Settled {
            // A folder that cannot be removed stays. It is empty, and no reason to report that the change failed.
            folders::remove_empty(self.root, &self.change.leaves, true).ok();
            return self.record(|change| change.leaves.clear());
        }
        folders::remove_empty(self.root, &self.change.folders, false)?;
        self.change.folders.clear();
        Ok(())
    }
}

fn attributes_of(file: &FileRecord) -> Attributes {
    Attributes::CopyOf {
        mode: file.mode,
        uid: file.uid,
        gid: file.gid,
        xattrs: file.xattrs.clone(),
    }
}
