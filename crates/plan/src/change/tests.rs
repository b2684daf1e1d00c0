//! The loop against a machine of values: every observation has a move, every run ends, nobody's edit is lost, and a
//! crash between any two effects is finished by the next run.

use super::*;
use world::{Reads, World};

/// A containerd of values, and the changes of one that runs.
mod world;

/// Bytes, as far as the loop can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes {
    Nil,
    Old,
    New,
    /// Somebody's edit; each is another.
    Edit(u32),
}

#[derive(Clone, Debug)]
struct File {
    kind: Kind,
    mark: Mark,
    there: Bytes,
    beside: Bytes,
    backup: bool,
}

impl File {
    fn before(kind: Kind) -> Bytes {
        if kind == Kind::Create { Bytes::Nil } else { Bytes::Old }
    }

    fn after(kind: Kind) -> Bytes {
        if kind == Kind::Remove { Bytes::Nil } else { Bytes::New }
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            mark: Mark::Waiting,
            there: Self::before(kind),
            beside: Bytes::Nil,
            backup: true,
        }
    }

    fn facts(&self) -> StepFacts {
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
    fn turn(&mut self, to_there: bool) -> bool {
        if self.kind != Kind::Replace && (if to_there { self.there } else { self.beside }) != Bytes::Nil {
            return false;
        }
        std::mem::swap(&mut self.there, &mut self.beside);
        true
    }
}

/// Small and always the same, so that a failure can be looked at again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A machine with one change. Whatever is spent from `fuel` is an effect; without any left the process is killed.
struct Machine {
    phase: Phase,
    settled: bool,
    files: Vec<File>,
    fuel: u32,
    /// An edit to come in the middle of the next swap: which file, and its number.
    race: Option<(usize, u32)>,
    /// The containerd that reads the files, when it runs.
    world: Option<World>,
}

struct Killed;

impl Machine {
    fn new(kinds: &[Kind]) -> Self {
        let files = kinds.iter().map(|kind| File::new(*kind)).collect();
        Self {
            phase: Phase::Idle,
            settled: false,
            files,
            fuel: u32::MAX,
            race: None,
            world: None,
        }
    }

    fn facts(&self, faults: u32) -> ChangeFacts {
        ChangeFacts {
            phase: self.phase,
            steps: self.files.iter().map(File::facts).collect(),
            folders: false,
            faults,
            service: self.world.as_ref().map(|world| world.facts(self.phase)),
        }
    }

    fn spend(&mut self) -> Result<(), Killed> {
        self.fuel = self.fuel.checked_sub(1).ok_or(Killed)?;
        Ok(())
    }

    /// One run of the loop, as `node` performs it. `Ok(None)` is an end that is not the goal's.
    fn run(&mut self, goal: Goal) -> Result<Option<Phase>, Killed> {
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

    fn act(&mut self, next: Move) -> Result<bool, Killed> {
        let close = if self.settled { Phase::RolledBack } else { Phase::Undone };
        match next {
            Move::Arm => {
                self.phase = Phase::Armed;
                self.world.iter_mut().for_each(World::arm);
            }
            Move::Begin => self.phase = Phase::Applying,
            Move::Complete => self.phase = Phase::Applied,
            Move::Settle => (self.phase, self.settled) = (Phase::Settled, true),
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
            Move::Guard | Move::Restart | Move::Wait | Move::Disarm => {
                let reads = self.reads();
                let world = self.world.as_mut().unwrap();
                match next {
                    Move::Guard => world.place_guard(),
                    Move::Restart => return Ok(world.restart(reads)),
                    Move::Wait => world.wait(),
                    _ => world.guard = Guard::Nothing,
                }
            }
            Move::RemoveFolders | Move::Refuse(_) | Move::Halt(_) | Move::Done | Move::Leave => {}
        }
        Ok(true)
    }

    fn swap(&mut self, at: usize, forth: bool) -> Result<bool, Killed> {
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
    fn reads(&self) -> Reads {
        match () {
            () if self.all(File::before) => Reads::Old,
            () if self.all(File::after) => Reads::New,
            () => Reads::Mixed,
        }
    }

    fn all(&self, bytes: fn(Kind) -> Bytes) -> bool {
        self.files.iter().all(|file| file.there == bytes(file.kind))
    }

    fn litter(&self) -> bool {
        self.files.iter().any(|file| file.beside != Bytes::Nil)
    }
}

const KINDS: [Kind; 3] = [Kind::Create, Kind::Replace, Kind::Remove];
/// Those that files alone go through.
const FILE_PHASES: [Phase; 10] = [
    Phase::Idle,
    Phase::Armed,
    Phase::Applying,
    Phase::Applied,
    Phase::Settled,
    Phase::Recalled,
    Phase::Undoing,
    Phase::Undone,
    Phase::RolledBack,
    Phase::Stuck,
];
const PHASES: [Phase; 13] = [
    Phase::Idle,
    Phase::Armed,
    Phase::Applying,
    Phase::Applied,
    Phase::Restarting,
    Phase::Verifying,
    Phase::Settled,
    Phase::Recalled,
    Phase::Undoing,
    Phase::Restoring,
    Phase::Undone,
    Phase::RolledBack,
    Phase::Stuck,
];
const GOALS: [Goal; 3] = [Goal::Apply, Goal::Recover, Goal::Rollback];

#[test]
fn a_change_settles_and_rolls_back() {
    let mut machine = Machine::new(&KINDS);
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    assert!(machine.all(File::after) && !machine.litter());
    assert_eq!(machine.run(Goal::Rollback).ok(), Some(Some(Phase::RolledBack)));
    assert!(machine.all(File::before) && !machine.litter());
}

/// Killed after each effect, then asked for any goal: forward or back, whole, with nothing left behind.
#[test]
fn a_kill_anywhere_is_finished_by_the_next_run() {
    let mut points = 0;
    for (first, then) in [(Goal::Apply, None), (Goal::Apply, Some(Goal::Rollback))] {
        for goal in GOALS {
            for fuel in 0..200 {
                let mut machine = Machine::new(&KINDS);
                if then.is_some() {
                    machine.run(first).ok().flatten().unwrap();
                }
                machine.fuel = fuel;
                let killed = machine.run(then.unwrap_or(first)).is_err();
                assert!(
                    machine
                        .files
                        .iter()
                        .all(|file| { file.there == File::before(file.kind) || file.there == File::after(file.kind) })
                );
                machine.fuel = u32::MAX;
                let ended = machine.run(goal).ok().unwrap();
                let context = format!(
                    "{goal:?} after {fuel} effects of {then:?}: {ended:?} {:?}",
                    machine.files
                );
                let old = machine.all(File::before);
                assert!(old || machine.all(File::after), "{context}");
                assert!(!machine.litter(), "{context}");
                match (goal, machine.phase) {
                    (Goal::Rollback, phase) => assert!(old && phase.is_closed(), "{context}"),
                    (_, phase) => assert!(phase.is_closed(), "{context}"),
                }
                points += 1;
                if !killed {
                    break;
                }
            }
        }
    }
    assert!(points > 100, "{points} points");
}

/// An edit in the middle of each swap is put back in its place, and everything else is as before.
#[test]
fn an_edit_in_the_middle_of_a_swap_survives() {
    for at in 0..KINDS.len() {
        let mut machine = Machine::new(&KINDS);
        machine.race = Some((at, 7));
        machine.run(Goal::Apply).ok().unwrap();
        assert_eq!(machine.files[at].there, Bytes::Edit(7), "{:?}", machine.files);
        let others = machine.files.iter().enumerate().filter(|(other, _)| *other != at);
        others.for_each(|(_, file)| assert_eq!(file.there, File::before(file.kind), "{at}"));
        assert_eq!((machine.phase, machine.litter()), (Phase::Undone, false));
    }
}

/// Edits, kills and goals at random: no edit is lost while it is the last one of its file, every run ends.
#[test]
fn whatever_happens_no_edit_is_lost() {
    let mut dice = Dice(42);
    let mut stuck = 0;
    for round in 0..20_000 {
        let mut machine = Machine::new(&KINDS);
        // The last edit of each file, and whether a later write of somebody else's replaced it.
        let mut last = [None; KINDS.len()];
        let mut story = Vec::new();
        for turn in 0..6 {
            let goal = GOALS[usize::try_from(dice.roll(3)).unwrap()];
            let number = round * 10 + turn;
            let at = usize::try_from(dice.roll(3)).unwrap();
            match dice.roll(4) {
                0 => {
                    machine.files[at].there = Bytes::Edit(number);
                    last[at] = Some(number);
                }
                1 => machine.race = Some((at, number)),
                _ => {}
            }
            machine.fuel = u32::try_from(dice.roll(40)).unwrap();
            let race = machine.race;
            let ended = machine.run(goal);
            if let (Some((at, number)), None) = (race, machine.race) {
                last[at] = Some(number);
            }
            machine.race = None;
            story.push((goal, race, ended.is_err(), machine.phase, machine.files.clone()));
            for (at, edit) in last.iter().enumerate() {
                let Some(edit) = edit else { continue };
                let file = &machine.files[at];
                let kept = file.there == Bytes::Edit(*edit) || file.beside == Bytes::Edit(*edit);
                assert!(kept, "edit {edit} of file {at} is lost: {story:#?}");
            }
            // A change that is over and forgotten makes room for another one.
            if machine.phase.is_closed() && machine.phase != Phase::Settled {
                machine.phase = Phase::Idle;
                machine.settled = false;
                machine.files.iter_mut().for_each(|file| file.mark = Mark::Waiting);
            }
        }
        stuck += u32::from(machine.phase == Phase::Stuck);
    }
    assert!(stuck > 0, "the walk never met the phase that needs a person");
}

/// Every observation of one step, with every phase, mark, goal and count of failures: some move, and never one that the
/// phase forbids.
#[test]
fn every_observation_has_a_move() {
    let mut seen = 0;
    for phase in FILE_PHASES {
        for (goal, kind, mark, there, beside, backup, faults) in observations() {
            let facts = ChangeFacts {
                phase,
                steps: vec![StepFacts {
                    kind,
                    mark,
                    there,
                    beside,
                    backup,
                }],
                folders: false,
                faults,
                service: None,
            };
            let next = decide(goal, &facts);
            match phase {
                Phase::Armed | Phase::Settled | Phase::Recalled => {
                    assert!(!matches!(next, Move::Swap(_) | Move::SwapBack(_)), "{facts:?}");
                }
                Phase::Undone | Phase::RolledBack => assert_eq!(next, Move::Done),
                _ => {}
            }
            if matches!(next, Move::Swap(_)) {
                assert_eq!((there, faults), (There::Before, 0), "{facts:?}");
            }
            if matches!(next, Move::SwapBack(_)) {
                assert_eq!((there, faults), (There::After, 0), "{facts:?}");
            }
            if matches!(next, Move::StageUndo(_)) {
                assert!(backup, "{facts:?}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 10 * 3 * 3 * 5 * 3 * 4 * 2 * 3);
}

type Observation = (Goal, Kind, Mark, There, Beside, bool, u32);

fn observations() -> Vec<Observation> {
    let mut all = Vec::new();
    for goal in GOALS {
        for kind in KINDS {
            for mark in [
                Mark::Waiting,
                Mark::Swapping,
                Mark::Swapped,
                Mark::Returning,
                Mark::Returned,
            ] {
                for there in [There::Before, There::After, There::Foreign] {
                    for beside in [Beside::Nothing, Beside::Before, Beside::After, Beside::Foreign] {
                        for backup in [true, false] {
                            all.extend((0..3).map(|faults| (goal, kind, mark, there, beside, backup, faults)));
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn a_damaged_backup_refuses_before_anything_is_swapped() {
    let mut machine = Machine::new(&KINDS);
    machine.run(Goal::Apply).ok().unwrap();
    machine.files[1].backup = false;
    assert_eq!(
        decide(Goal::Rollback, &machine.facts(0)),
        Move::Refuse(Reason::Backup(1))
    );

    let mut machine = Machine::new(&KINDS);
    machine.files[1].backup = false;
    machine.phase = Phase::Armed;
    assert_eq!(machine.run(Goal::Apply).ok(), Some(None));
    assert_eq!((machine.phase, machine.all(File::before)), (Phase::Idle, true));
}

#[test]
fn an_edit_after_a_change_refuses_its_rollback() {
    let mut machine = Machine::new(&KINDS);
    machine.run(Goal::Apply).ok().unwrap();
    machine.files[2].there = Bytes::Edit(1);
    assert_eq!(
        decide(Goal::Rollback, &machine.facts(0)),
        Move::Refuse(Reason::Foreign(2))
    );
}

#[test]
fn a_stuck_change_waits_for_a_person() {
    let mut machine = Machine::new(&KINDS);
    machine.run(Goal::Apply).ok().unwrap();
    machine.phase = Phase::Stuck;
    machine.files[1].there = Bytes::Edit(1);
    assert_eq!(decide(Goal::Apply, &machine.facts(0)), Move::Refuse(Reason::Stuck));
    assert_eq!(
        decide(Goal::Rollback, &machine.facts(0)),
        Move::Refuse(Reason::Foreign(1))
    );
    machine.files[1].there = Bytes::New;
    assert_eq!(machine.run(Goal::Rollback).ok(), Some(Some(Phase::RolledBack)));
    assert!(machine.all(File::before));
}

#[test]
fn an_unfinished_change_is_carried_on_only_for_its_own_plan() {
    assert_eq!(Goal::for_unfinished(Phase::Applying, true), Goal::Apply);
    assert_eq!(Goal::for_unfinished(Phase::Applying, false), Goal::Rollback);
    assert_eq!(Goal::for_unfinished(Phase::Stuck, true), Goal::Recover);
    assert_eq!(Goal::for_unfinished(Phase::Stuck, false), Goal::Recover);
}
