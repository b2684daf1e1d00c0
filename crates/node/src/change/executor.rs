//! Performs one move.

use crate::change::preconditions::RESERVED;
use crate::change::runtime::{
    Runtime, {self},
};
use crate::error::NodeError;
use crate::files::folders;
use crate::files::root::{Root, split};
use crate::files::snapshot::{PathStat, stat_path};
use crate::files::stage::{Attributes, part, remove, stage};
use crate::files::swap::SwapPaths;
use crate::journal::file::{Change, FileRecord, Journal, OwnedFile, StepRecord};
use crate::journal::state_dir::{StateDir, make_folder};
use crate::journal::undo_cause::UndoCause;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::{Move, Phase, Service, StepProgress};
use rustix::fs;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io::Cursor;

/// A change in hand: what the moves work on.
pub(crate) struct ChangeExecutor<'a> {
    pub(crate) root: &'a Root,
    pub(crate) state: &'a StateDir,
    pub(crate) journal: &'a mut Journal,
    pub(crate) change: Change,
    /// The new bytes of each step, when the caller has them.
    pub(crate) new: Vec<Option<Vec<u8>>>,
    /// The old bytes of each step, before they are backed up.
    pub(crate) old: Vec<Option<Vec<u8>>>,
    pub(crate) now: u64,
    /// The containerd that reads the files, where one runs.
    pub(crate) runtime: Option<&'a mut dyn Runtime>,
    /// How often this run had it restarted in this phase.
    pub(crate) asked: u32,
    /// What was not as it was when containerd was looked at last.
    pub(crate) differences: Vec<String>,
    /// Which one ran then.
    pub(crate) invocation: Option<String>,
}

impl ChangeExecutor<'_> {
    /// Performs `next`. `why` is for the journal, where a move has a reason.
    ///
    /// # Guarantees
    /// What is announced in the journal is on disk before the effect, and the effect is on disk before it is recorded.
    pub(crate) fn perform(&mut self, next: Move, why: Option<String>) -> Result<(), NodeError> {
        match next {
            Move::Arm => self.arm(),
            Move::Stage(at) => self.stage(at),
            Move::BeginApplying => {
                self.sync_copies()?;
                self.enter(Phase::Applying)
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
            Move::Complete => self.enter(Phase::Applied),
            Move::RemoveSibling(at) => self.sweep(at),
            Move::Settle => self.settle(),
            Move::Abandon(_) => self.abandon(),
            Move::BeginRollback => {
                self.reserve()?;
                self.enter(Phase::RollbackStaging)
            }
            Move::StageUndo(at) => self.stage_undo(at),
            Move::CancelRollback(_) => {
                self.clear_copies()?;
                self.enter(Phase::Settled)?;
                self.state.release()
            }
            Move::Undo(reason) => {
                if self.change.phase == Phase::RollbackStaging {
                    self.sync_copies()?;
                }
                self.record(|change| {
                    change.phase = Phase::Undoing;
                    // An undo that a person asks for again, or that was cut short, goes on for the reason it had.
                    change.why = change.why.or(Some(UndoCause::of(reason)));
                    change.note = why.or(change.note.take());
                })
            }
            Move::SwapBack(at) => {
                self.mark(at, StepProgress::Returning)?;
                let places = SwapPaths::open(self.root, self.step(at)?)?;
                places.swap_back()?;
                places.sync()?;
                self.mark(at, StepProgress::Returned)
            }
            Move::RemoveFolders => self.remove_folders(),
            Move::CloseUndone => self.close_undone(),
            Move::GiveUp(reason) => self.record(|change| {
                change.phase = Phase::Stuck;
                change.why = change.why.or(Some(UndoCause::of(reason)));
                change.note = why;
            }),
            Move::BeginRestart => self.announce(Phase::Restarting),
            Move::Restore => {
                // Copies and folders that are gone are gone for good: nobody looks for them from here on.
                self.clear_copies()?;
                self.announce(Phase::Restoring)
            }
            Move::Verify => self.enter(Phase::Verifying),
            Move::Guard => {
                let change = self.change.clone();
                self.runtime()?.guard(&change)
            }
            Move::Disarm => self.runtime()?.disarm(),
            Move::Restart => {
                let again = self.asked > 0;
                self.asked += 1;
                let phase = self.change.phase;
                let runtime = self.runtime()?;
                runtime.phase_started(phase);
                runtime.restart(again)
            }
            Move::RunTrial => {
                let runtime = self.runtime()?;
                runtime.pull_trial_image();
                // However long that took, what serves afterwards has its time to show it.
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

    /// What runs, where the change is for a containerd that runs.
    pub(crate) fn service(&mut self) -> Result<Option<Service>, NodeError> {
        let Some(runtime) = self.runtime.as_deref_mut() else {
            return Ok(None);
        };
        let (service, running) = runtime::service(runtime, &self.change, self.asked)?;
        self.differences = running.differences;
        self.invocation = running.invocation;
        Ok(Some(service))
    }

    /// Calls for a person: the change could not be undone, as `why` says.
    pub(crate) fn alarm(&mut self, why: &str) {
        let files: Vec<String> = self
            .change
            .steps
            .iter()
            .map(|step| format!("`{}`", step.path))
            .collect();
        let line = format!(
            "mirrorshift: the change `{}` could not be undone, and containerd may not serve: {why}. Its files: {}. \
             Run `mirrorshift status`, mend what it names, then run `mirrorshift rollback`.",
            self.change.id,
            files.join(", ")
        );
        if let Some(runtime) = self.runtime.as_deref_mut() {
            // What others said may have ends of lines in it, and worse.
            runtime.alert(&line.replace(char::is_control, " "));
        }
    }

    fn runtime(&mut self) -> Result<&mut (dyn Runtime + '_), NodeError> {
        match &mut self.runtime {
            Some(runtime) => Ok(&mut **runtime),
            None => Err(NodeError::Message("there is no running containerd to act on")),
        }
    }

    /// Enters a phase with a restart in it, and remembers what ran before that.
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
        self.change.steps.get(at).ok_or(NodeError::DidNotConverge)
    }

    /// Writes the journal with `edit` applied; the change in hand follows only when that is on disk.
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
            self.asked = 0;
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

    fn arm(&mut self) -> Result<(), NodeError> {
        if let Some(runtime) = self.runtime.as_deref_mut() {
            self.change.service = Some(runtime.capture_baseline()?);
        }
        let armed = self.back_up().and_then(|()| self.enter(Phase::Armed));
        if armed.is_err() {
            // The journal does not know this change, so what was made for it is litter. The reason to refuse is the
            // first trouble, not one more from here.
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
            return Err(NodeError::Message("the new bytes are not at hand"));
        };
        if step.after != Some(Digest::of(bytes)) {
            return Err(NodeError::Message("the new bytes are not those of the plan"));
        }
        let attributes = match step.restores.as_ref().or(step.before.as_ref()) {
            Some(file) => like(file),
            None => Attributes::New {
                mode: self.change.new_file_mode,
            },
        };
        self.stage_bytes(step, bytes, &attributes)
    }

    fn stage_undo(&self, at: usize) -> Result<(), NodeError> {
        let step = self.step(at)?;
        let bytes = self.state.read_backup(&self.change.id, at)?;
        match (bytes, &step.before) {
            (Some(bytes), Some(before)) if before.digest == Digest::of(&bytes) => {
                self.stage_bytes(step, &bytes, &like(before))?;
                // Staged one by one in the middle of an undo, or all before it.
                if self.change.phase == Phase::Undoing {
                    self.sync_copies()
                } else {
                    Ok(())
                }
            }
            _ => Err(NodeError::damaged(&self.change, step, at)),
        }
    }

    fn stage_bytes(&self, step: &StepRecord, bytes: &[u8], attributes: &Attributes) -> Result<(), NodeError> {
        let (folder, name) = split(&step.beside);
        let folder = self.root.folder(folder).map_err(NodeError::io("open", folder))?;
        stage(&folder, name, &step.beside, &mut Cursor::new(bytes), attributes)
    }

    /// Syncs every folder that copies were staged in.
    fn sync_copies(&self) -> Result<(), NodeError> {
        let folders: BTreeSet<&str> = self.change.steps.iter().map(|step| split(&step.beside).0).collect();
        for folder in folders {
            let fd = match self.root.folder(folder) {
                // Somebody took it away: there is nothing of ours in it to sync.
                Err(Errno::NOENT) => continue,
                other => other.map_err(NodeError::io("open", folder))?,
            };
            fs::fsync(fd).map_err(NodeError::io("sync", folder))?;
        }
        Ok(())
    }

    fn swap(&mut self, at: usize) -> Result<(), NodeError> {
        let step = self.step(at)?;
        let missing = folders::missing_parents(self.root, split(&step.target).0)?;
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
        })?;
        for path in &missing {
            let (folder, name) = split(path);
            let folder = self.root.folder(folder).map_err(NodeError::io("open", folder))?;
            if !make_folder(&folder, name, 0o755).map_err(NodeError::io("make", path.as_str()))? {
                // Somebody made it since: it is not ours to take away.
                self.record(|change| change.folders.retain(|folder| folder != path))?;
            }
        }
        let places = SwapPaths::open(self.root, self.step(at)?)?;
        places.swap_in()?;
        places.sync()?;
        self.mark(at, StepProgress::Swapped)
    }

    /// Takes the copy beside a file away, when it is what a step leaves there. What lies there in phases without a swap
    /// is an unfinished copy of ours, as the name was free when the change was armed. Synced when the phase ends.
    fn sweep(&self, at: usize) -> Result<(), NodeError> {
        let step = self.step(at)?;
        let (folder, name) = split(&step.beside);
        let fd = self.root.folder(folder).map_err(NodeError::io("open", folder))?;
        let ours = match stat_path(&fd, name, &step.beside)? {
            PathStat::Nothing => true,
            PathStat::File(now) => {
                step.mark == StepProgress::Waiting
                    || self.change.phase == Phase::RollbackStaging
                    || step.after == Some(now.record.digest)
                    || step.before.as_ref().is_some_and(|then| now.record.same(then))
            }
            PathStat::Other(_) => false,
        };
        if !ours {
            return Err(NodeError::UnexpectedSibling {
                path: step.path.clone(),
                beside: step.beside.clone(),
            });
        }
        remove(&fd, name)
            .and_then(|()| remove(&fd, &part(name)))
            .map_err(NodeError::io("take away", step.beside.as_str()))
    }

    /// Takes away copies that a kill left unfinished, and syncs every folder that copies lay in.
    fn clear_copies(&self) -> Result<(), NodeError> {
        for step in &self.change.steps {
            let (folder, name) = split(&step.beside);
            let fd = match self.root.folder(folder) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(NodeError::io("open", folder)(error)),
            };
            remove(&fd, &part(name)).map_err(NodeError::io("take away", step.beside.as_str()))?;
        }
        self.sync_copies()
    }

    /// The change as it ends now, but for its phase.
    fn closed(&self) -> Change {
        let mut change = self.change.clone();
        change.ended = Some(self.now);
        if let Some(service) = &mut change.service {
            service.closed_with.clone_from(&self.invocation);
        }
        change
    }

    fn settle(&mut self) -> Result<(), NodeError> {
        self.clear_copies()?;
        let mut change = self.closed();
        (change.phase, change.settled) = (Phase::Settled, true);
        let mut journal = self.journal.with_change(&change);
        let back = journal.mark_rolled_back(&change);
        // What mends changes nothing of what is whose.
        for step in change.steps.iter().filter(|_| !back && !change.is_repair) {
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

    fn close_undone(&mut self) -> Result<(), NodeError> {
        self.clear_copies()?;
        let mut change = self.closed();
        change.phase = if change.settled {
            Phase::RolledBack
        } else {
            Phase::Undone
        };
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

    fn abandon(&mut self) -> Result<(), NodeError> {
        self.clear_copies()?;
        let mut change = self.change.clone();
        change.phase = Phase::Idle;
        let mut journal = self.journal.clone();
        journal.open = None;
        self.commit(change, journal)?;
        self.journal.remove_temporaries(self.state);
        Ok(())
    }

    /// Synced when the phase ends, with the journal that no longer names the folders; doing it again finds them gone.
    fn remove_folders(&mut self) -> Result<(), NodeError> {
        if self.change.phase == Phase::Settled {
            // What cannot be taken away is left: it is empty, and no reason to say that the change failed.
            folders::remove_empty(self.root, &self.change.leaves, true).ok();
            return self.record(|change| change.leaves.clear());
        }
        folders::remove_empty(self.root, &self.change.folders, false)?;
        self.change.folders.clear();
        Ok(())
    }
}

fn like(file: &FileRecord) -> Attributes {
    Attributes::CopyOf {
        mode: file.mode,
        uid: file.uid,
        gid: file.gid,
        xattrs: file.xattrs.clone(),
    }
}
