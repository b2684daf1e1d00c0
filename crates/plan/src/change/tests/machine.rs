//! A machine of values that a change is made on, and killed on.

use crate::change::tests::world::{Reads, World};
use crate::change::tests::*;

/// Bytes, as far as the loop can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Nil,
    Old,
    New,
    /// Somebody's edit; each is another.
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
            there: match self.there {
                bytes if bytes == Self::before(self.kind) => PathState::Before,
                bytes if bytes == Self::after(self.kind) => PathState::After,
                _ => PathState::Foreign,
            },
            beside: match self.beside {
                Bytes::Nil => SiblingState::Nothing,
                Bytes::Old => SiblingState::Before,
                Bytes::New => SiblingState::After,
                Bytes::Edit(_) => SiblingState::Foreign,
            },
            backup: self.backup,
        }
    }

    /// Exchanges, or moves where one of the two names is free. False when the name to move to is taken.
    pub(super) fn turn(&mut self, to_there: bool) -> bool {
        if self.kind != StepKind::Replace && (if to_there { self.there } else { self.beside }) != Bytes::Nil {
            return false;
        }
        std::mem::swap(&mut self.there, &mut self.beside);
        true
    }
}

/// A machine with one change. Whatever is spent from `fuel` is an effect; without any left the process is killed.
pub(super) struct Machine {
    pub(super) phase: Phase,
    pub(super) settled: bool,
    pub(super) files: Vec<File>,
    pub(super) fuel: u32,
    /// An edit to come in the middle of the next swap: which file, and its number.
    pub(super) race: Option<(usize, u32)>,
    /// The containerd that reads the files, when it runs.
    pub(super) world: Option<World>,
    /// The change takes another one back, which had made folders.
    pub(super) takes_back: bool,
    /// Those folders, empty now.
    pub(super) leaves: bool,
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
            takes_back: false,
            leaves: false,
        }
    }

    /// The change that takes this one back, which has settled: what was old is new to it, and its steps go the other way.
    pub(super) fn taken_back(self) -> Self {
        assert_eq!(self.phase, Phase::Settled);
        let back = |kind| match kind {
            StepKind::Create => StepKind::Remove,
            StepKind::Replace => StepKind::Replace,
            StepKind::Remove => StepKind::Create,
        };
        let kinds: Vec<StepKind> = self.files.iter().rev().map(|file| back(file.kind)).collect();
        Self {
            world: self.world.map(World::taken_back),
            takes_back: true,
            ..Self::new(&kinds)
        }
    }

    pub(super) fn facts(&self, faults: u32) -> ChangeFacts {
        ChangeFacts {
            phase: self.phase,
            steps: self.files.iter().map(File::facts).collect(),
            has_created_folders: false,
            has_folders_to_remove: self.leaves,
            failed_moves: faults,
            service: self.world.as_ref().map(|world| world.facts(self.phase)),
        }
    }

    pub(super) fn spend(&mut self) -> Result<(), Killed> {
        self.fuel = self.fuel.checked_sub(1).ok_or(Killed)?;
        Ok(())
    }

    /// One run of the loop, as `node` performs it. `Ok(None)` is an end that is not the goal's.
    pub(super) fn run(&mut self, goal: Goal) -> Result<Option<Phase>, Killed> {
        self.world.iter_mut().for_each(World::begin);
        let mut faults = 0;
        for _ in 0..200 {
            let next = decide(goal, &self.facts(faults));
            let phase = self.phase;
            match next {
                Move::Done => return Ok(Some(self.phase)),
                Move::Refuse(_) | Move::StopWithFault(_) => return Ok(None),
                _ => {}
            }
            self.spend()?;
            if !self.act(next)? {
                faults += 1;
            }
            if matches!(
                next,
                Move::GiveUp(_) | Move::Abandon(_) | Move::CancelRollback(_) | Move::LeaveToNextRun
            ) {
                return Ok(None);
            }
            if phase != self.phase {
                faults = 0;
            }
        }
        panic!("no end: {:?} {:?}", self.phase, self.files);
    }

    pub(super) fn act(&mut self, next: Move) -> Result<bool, Killed> {
        let close = if self.settled { Phase::RolledBack } else { Phase::Undone };
        match next {
            Move::Arm => {
                self.phase = Phase::Armed;
                self.world.iter_mut().for_each(World::arm);
            }
            Move::BeginApplying => self.phase = Phase::Applying,
            Move::Complete => self.phase = Phase::Applied,
            Move::Settle => {
                (self.phase, self.settled) = (Phase::Settled, true);
                self.leaves = self.takes_back;
            }
            Move::BeginRollback => self.phase = Phase::RollbackStaging,
            Move::Undo(_) => self.phase = Phase::Undoing,
            Move::CloseUndone => self.phase = close,
            Move::GiveUp(_) => self.phase = Phase::Stuck,
            Move::Abandon(_) => self.phase = Phase::Idle,
            Move::CancelRollback(_) => self.phase = Phase::Settled,
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
            Move::BeginRestart | Move::Restore => {
                self.phase = if next == Move::BeginRestart {
                    Phase::Restarting
                } else {
                    Phase::Restoring
                };
                self.world.iter_mut().for_each(World::enter);
            }
            Move::Verify => {
                if self.phase == Phase::Applied {
                    self.world.iter_mut().for_each(World::enter);
                }
                self.phase = Phase::Verifying;
            }
            Move::Guard | Move::Restart | Move::Wait | Move::Disarm | Move::RunTrial => {
                let reads = self.reads();
                let world = self.world.as_mut().unwrap();
                match next {
                    Move::Guard => world.place_guard(),
                    Move::Restart => return Ok(world.restart(reads)),
                    Move::Wait => world.wait(),
                    Move::RunTrial => world.attempt(reads),
                    _ => world.guard = Guard::Nothing,
                }
            }
            Move::RemoveFolders => self.leaves = false,
            Move::Refuse(_) | Move::StopWithFault(_) | Move::Done | Move::LeaveToNextRun => {}
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
        let wanted = if forth { File::before(kind) } else { File::after(kind) };
        if file.beside != wanted {
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

    /// What a containerd that starts now reads.
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

    pub(super) fn litter(&self) -> bool {
        self.files.iter().any(|file| file.beside != Bytes::Nil)
    }
}
