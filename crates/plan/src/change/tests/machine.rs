//! A simulated machine, on which changes are made and killed.

use crate::change::tests::world::{Reads, World};
use crate::change::tests::*;

/// File contents, as far as the loop distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Nil,
    Old,
    New,
    /// An edit of another program; each has its own number.
    Edit(u32),
}

#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) kind: StepKind,
    pub(super) mark: StepProgress,
    pub(super) there: Bytes,
    pub(super) beside: Bytes,
    pub(super) backup: bool,
}

impl File {
    pub(super) fn before(kind: StepKind) -> Bytes {
        if kind == StepKind::Create {
            Bytes::Nil
        } else {
            Bytes::Old
        }
    }

    pub(super) fn after(kind: StepKind) -> Bytes {
        if kind == StepKind::Remove {
            Bytes::Nil
        } else {
            Bytes::New
        }
    }

    pub(super) fn new(kind: StepKind) -> Self {
        Self {
            kind,
            mark: StepProgress::Waiting,
            there: Self::before(kind),
            beside: Bytes::Nil,
            backup: true,
        }
    }

    pub(super) fn facts(&self) -> StepFacts {
        StepFacts {
            kind: self.kind,
            mark: self.mark,
            at_path: match self.there {
                bytes if bytes == Self::before(self.kind) => PathState::Before,
                bytes if bytes == Self::after(self.kind) => PathState::After,
                _ => PathState::Foreign,
            },
            sibling: match self.beside {
                Bytes::Nil => SiblingState::Nothing,
                Bytes::Old => SiblingState::Before,
                Bytes::New => SiblingState::After,
                Bytes::Edit(_) => SiblingState::Foreign,
            },
            backup: self.backup,
        }
    }

    /// Exchanges the two files, or moves one when the other name is free. Returns false when the target name is taken.
    pub(super) fn turn(&mut self, to_there: bool) -> bool {
        if self.kind != StepKind::Replace && (if to_there { self.there } else { self.beside }) != Bytes::Nil {
            return false;
        }
        std::mem::swap(&mut self.there, &mut self.beside);
        true
    }
}

/// A machine with one change. Each effect uses one unit of `fuel`; without fuel the process is killed.
pub(super) struct Machine {
    pub(super) phase: Phase,
    pub(super) settled: bool,
    pub(super) files: Vec<File>,
    pub(super) fuel: u32,
    /// An edit that is made in the middle of the next swap: the file, and the edit's number.
    pub(super) race: Option<(usize, u32)>,
    /// The containerd that reads the files, when it runs.
    pub(super) world: Option<World>,
    /// True for the rollback of a change that had created folders.
    pub(super) is_rollback: bool,
    /// True while those folders are empty and not yet removed.
    pub(super) has_folders_to_remove: bool,
}

pub(super) struct Killed;

impl Machine {
    pub(super) fn new(kinds: &[StepKind]) -> Self {
        let files = kinds.iter().map(|kind| File::new(*kind)).collect();
        Self {
            phase: Phase::Idle,
            settled: false,
            files,
            fuel: u32::MAX,
            race: None,
            world: None,
            is_rollback: false,
            has_folders_to_remove: false,
        }
    }

    /// Returns the machine with the rollback of its settled change as the next change: the new files are its originals, and
    /// its steps run in the other order.
    pub(super) fn into_rollback(self) -> Self {
        assert_eq!(self.phase, Phase::Settled);
        let back = |kind| match kind {
            StepKind::Create => StepKind::Remove,
            StepKind::Replace => StepKind::Replace,
            StepKind::Remove => StepKind::Create,
        };
        let kinds: Vec<StepKind> = self.files.iter().rev().map(|file| back(file.kind)).collect();
        Self {
            world: self.world.map(World::into_rollback),
            is_rollback: true,
            ..Self::new(&kinds)
        }
    }

    pub(super) fn facts(&self, failed_moves: u32) -> ChangeFacts {
        ChangeFacts {
            phase: self.phase,
            steps: self.files.iter().map(File::facts).collect(),
            has_created_folders: false,
            has_folders_to_remove: self.has_folders_to_remove,
            failed_moves,
            service: self.world.as_ref().map(|world| world.facts(self.phase)),
        }
    }

    pub(super) fn spend(&mut self) -> Result<(), Killed> {
        self.fuel = self.fuel.checked_sub(1).ok_or(Killed)?;
        Ok(())
    }

    /// Runs the loop as `crates/node` does. `Ok(None)` is an end without reaching the goal.
    pub(super) fn run(&mut self, goal: Goal) -> Result<Option<Phase>, Killed> {
        self.world.iter_mut().for_each(World::begin);
        let mut failed_moves = 0;
        for _ in 0..200 {
            let next = decide(goal, &self.facts(failed_moves));
            let phase = self.phase;
            match next {
                Move::Done => return Ok(Some(self.phase)),
                Move::Refuse(_) | Move::StopWithFault(_) => return Ok(None),
                _ => {}
            }
            self.spend()?;
            if !self.act(next)? {
                failed_moves += 1;
            }
            if next.ends_run() {
                return Ok(None);
            }
            if phase != self.phase {
                failed_moves = 0;
            }
        }
        panic!("the run does not end: {:?} {:?}", self.phase, self.files);
    }

    pub(super) fn act(&mut self, next: Move) -> Result<bool, Killed> {
        let phase = self.phase;
        if let Some(phase) = next.next_phase(self.settled) {
            self.phase = phase;
        }
        match next {
            Move::Arm => self.world.iter_mut().for_each(World::arm),
            Move::Settle => {
                self.settled = true;
                self.has_folders_to_remove = self.is_rollback;
            }
            Move::Stage(at) => {
                assert_eq!(self.files[at].beside, Bytes::Nil);
                self.files[at].beside = Bytes::New;
            }
            Move::StageUndo(at) => {
                assert!(self.files[at].backup);
                assert_eq!(self.files[at].beside, Bytes::Nil);
                self.files[at].beside = Bytes::Old;
            }
            Move::Swap(at) => return self.swap(at, true),
            Move::SwapBack(at) => return self.swap(at, false),
            Move::Confirm(at) => self.files[at].mark = StepProgress::Swapped,
            Move::RecordForeign(at) => self.files[at].mark = StepProgress::Waiting,
            Move::PutBack(at) => {
                if !self.files[at].turn(true) {
                    return Ok(false);
                }
                self.spend()?;
                let returning = self.files[at].mark == StepProgress::Returning;
                self.files[at].mark = if returning {
                    StepProgress::Swapped
                } else {
                    StepProgress::Waiting
                };
            }
            Move::RemoveSibling(at) => {
                let ours = self.files[at].mark == StepProgress::Waiting || self.phase == Phase::RollbackStaging;
                if matches!(self.files[at].beside, Bytes::Edit(_)) && !ours {
                    return Ok(false);
                }
                self.files[at].beside = Bytes::Nil;
            }
            Move::BeginRestart | Move::Restore => self.world.iter_mut().for_each(World::enter),
            Move::Verify if phase == Phase::Applied => self.world.iter_mut().for_each(World::enter),
            Move::Guard | Move::Restart | Move::Wait | Move::Disarm | Move::RunTrial => {
                let reads = self.reads();
                let world = self.world.as_mut().unwrap();
                match next {
                    Move::Guard => world.place_guard(),
                    Move::Restart => return Ok(world.restart(reads)),
                    Move::Wait => world.wait(),
                    Move::RunTrial => world.run_trial(reads),
                    _ => world.guard = Guard::Nothing,
                }
            }
            Move::RemoveFolders => self.has_folders_to_remove = false,
            // The other moves only record a phase, or end the run.
            _ => {}
        }
        Ok(true)
    }

    pub(super) fn swap(&mut self, at: usize, forth: bool) -> Result<bool, Killed> {
        self.files[at].mark = if forth {
            StepProgress::Swapping
        } else {
            StepProgress::Returning
        };
        self.spend()?;
        if let Some((which, number)) = self.race.take() {
            self.files[which].there = Bytes::Edit(number);
        }
        let file = &mut self.files[at];
        let to_there = file.beside != Bytes::Nil;
        if !file.turn(to_there) {
            return Ok(true);
        }
        self.spend()?;
        let file = &mut self.files[at];
        let kind = file.kind;
        let expected = if forth { File::before(kind) } else { File::after(kind) };
        if file.beside != expected {
            assert!(file.turn(!to_there));
            return Ok(true);
        }
        self.spend()?;
        self.files[at].mark = if forth {
            StepProgress::Swapped
        } else {
            StepProgress::Returned
        };
        Ok(true)
    }

    /// Returns the files that a containerd reads when it starts now.
    pub(super) fn reads(&self) -> Reads {
        match () {
            () if self.all(File::before) => Reads::Old,
            () if self.all(File::after) => Reads::New,
            () => Reads::Mixed,
        }
    }

    pub(super) fn all(&self, bytes: fn(StepKind) -> Bytes) -> bool {
        self.files.iter().all(|file| file.there == bytes(file.kind))
    }

    pub(super) fn has_copies(&self) -> bool {
        self.files.iter().any(|file| file.beside != Bytes::Nil)
    }
}
