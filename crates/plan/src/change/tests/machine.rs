//! A machine of values that a change is made on, and killed on.

use super::world::{Reads, World};
use super::*;

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
    pub(super) kind: Kind,
    pub(super) mark: Mark,
    pub(super) there: Bytes,
    pub(super) beside: Bytes,
    pub(super) backup: bool,
}

impl File {
    pub(super) fn before(kind: Kind) -> Bytes {
        if kind == Kind::Create { Bytes::Nil } else { Bytes::Old }
    }

    pub(super) fn after(kind: Kind) -> Bytes {
        if kind == Kind::Remove { Bytes::Nil } else { Bytes::New }
    }

    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            mark: Mark::Waiting,
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
                bytes if bytes == Self::before(self.kind) => There::Before,
                bytes if bytes == Self::after(self.kind) => There::After,
                _ => There::Foreign,
            },
            beside: match self.beside {
                Bytes::Nil => Beside::Nothing,
                Bytes::Old => Beside::Before,
                Bytes::New => Beside::After,
                Bytes::Edit(_) => Beside::Foreign,
            },
            backup: self.backup,
        }
    }

    /// Exchanges, or moves where one of the two names is free. False when the name to move to is taken.
    pub(super) fn turn(&mut self, to_there: bool) -> bool {
        if self.kind != Kind::Replace && (if to_there { self.there } else { self.beside }) != Bytes::Nil {
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
    pub(super) fn new(kinds: &[Kind]) -> Self {
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
            Kind::Create => Kind::Remove,
            Kind::Replace => Kind::Replace,
            Kind::Remove => Kind::Create,
        };
        let kinds: Vec<Kind> = self.files.iter().rev().map(|file| back(file.kind)).collect();
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
            folders: false,
            leaves: self.leaves,
            faults,
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
                Move::Refuse(_) | Move::Halt(_) => return Ok(None),
                _ => {}
            }
            self.spend()?;
            if !self.act(next)? {
                faults += 1;
            }
            if matches!(next, Move::GiveUp(_) | Move::Abandon(_) | Move::Keep(_) | Move::Leave) {
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
            Move::Begin => self.phase = Phase::Applying,
            Move::Complete => self.phase = Phase::Applied,
            Move::Settle => {
                (self.phase, self.settled) = (Phase::Settled, true);
                self.leaves = self.takes_back;
            }
            Move::Recall => self.phase = Phase::Recalled,
            Move::Undo(_) => self.phase = Phase::Undoing,
            Move::CloseUndone => self.phase = close,
            Move::GiveUp(_) => self.phase = Phase::Stuck,
            Move::Abandon(_) => self.phase = Phase::Idle,
            Move::Keep(_) => self.phase = Phase::Settled,
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
            Move::Confirm(at) => self.files[at].mark = Mark::Swapped,
            Move::Spare(at) => self.files[at].mark = Mark::Waiting,
            Move::PutBack(at) => {
                if !self.files[at].turn(true) {
                    return Ok(false);
                }
                self.spend()?;
                let returning = self.files[at].mark == Mark::Returning;
                self.files[at].mark = if returning { Mark::Swapped } else { Mark::Waiting };
            }
            Move::Sweep(at) => {
                let ours = self.files[at].mark == Mark::Waiting || self.phase == Phase::Recalled;
                if matches!(self.files[at].beside, Bytes::Edit(_)) && !ours {
                    return Ok(false);
                }
                self.files[at].beside = Bytes::Nil;
            }
            Move::Announce | Move::Restore => {
                self.phase = if next == Move::Announce {
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
            Move::Guard | Move::Restart | Move::Wait | Move::Disarm | Move::Try => {
                let reads = self.reads();
                let world = self.world.as_mut().unwrap();
                match next {
                    Move::Guard => world.place_guard(),
                    Move::Restart => return Ok(world.restart(reads)),
                    Move::Wait => world.wait(),
                    Move::Try => world.attempt(reads),
                    _ => world.guard = Guard::Nothing,
                }
            }
            Move::RemoveFolders => self.leaves = false,
            Move::Refuse(_) | Move::Halt(_) | Move::Done | Move::Leave => {}
        }
        Ok(true)
    }

    pub(super) fn swap(&mut self, at: usize, forth: bool) -> Result<bool, Killed> {
        self.files[at].mark = if forth { Mark::Swapping } else { Mark::Returning };
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
        self.files[at].mark = if forth { Mark::Swapped } else { Mark::Returned };
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

    pub(super) fn all(&self, bytes: fn(Kind) -> Bytes) -> bool {
        self.files.iter().all(|file| file.there == bytes(file.kind))
    }

    pub(super) fn litter(&self) -> bool {
        self.files.iter().any(|file| file.beside != Bytes::Nil)
    }
}
