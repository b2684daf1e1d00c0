//! Every kill, reset, failing start and failing restart of a change whose containerd runs ends with a containerd that
//! serves with the files that are there, or with a change that says that it is stuck.

use crate::change::tests::machine::{File, Machine};
use crate::change::tests::*;

/// What a containerd has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    Old,
    New,
    /// Some of each: nothing is promised of it.
    Mixed,
}

/// How a containerd comes up with certain files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It serves after this many moments.
    After(u32),
    /// It ends at once.
    Dies,
    /// It runs, and its CRI does not load.
    Dead,
    /// It hangs.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    pub(super) guard: Guard,
    pub(super) asked: u32,
    /// What runs: what it read, its number, and how long it has been up.
    runs: Option<(Reads, u32, u32)>,
    /// The number of the last that was started.
    last: u32,
    armed_with: u32,
    from: u32,
    /// Moments since the phase or its last restart.
    waited: u32,
    with_new: Start,
    with_old: Start,
    /// The next so many calls for a restart fail.
    broken_calls: u32,
    /// A guard that is placed does not work.
    broken_guard: bool,
    restart: bool,
    restarts: u32,
    trial: Trial,
    /// What a trial comes to with the new files.
    tried: Trial,
}

pub(super) const PATIENCE: u32 = 5;

impl World {
    pub(super) fn new(with_old: Start, with_new: Start) -> Self {
        Self {
            guard: Guard::Nothing,
            asked: 0,
            runs: Some((Reads::Old, 0, PATIENCE)),
            last: 0,
            armed_with: 0,
            from: 0,
            waited: 0,
            with_new,
            with_old,
            broken_calls: 0,
            broken_guard: false,
            restart: true,
            restarts: 0,
            trial: Trial::Nothing,
            tried: Trial::Passed,
        }
    }

    /// For the change that takes back the one that was made in it: the containerd that runs is the one to compare with.
    pub(super) fn taken_back(self) -> Self {
        Self::new(self.with_new, self.with_old)
    }

    pub(super) fn restarts(self) -> u32 {
        self.restarts
    }

    /// Whoever serves here does what is tried.
    pub(super) fn attempt(&mut self, reads: Reads) {
        assert_eq!((reads, self.health()), (Reads::New, Health::Serves));
        self.trial = self.tried;
    }

    pub(super) fn arm(&mut self) {
        self.armed_with = self.last;
    }

    pub(super) fn enter(&mut self) {
        (self.from, self.asked, self.waited) = (self.last, 0, 0);
    }

    pub(super) fn place_guard(&mut self) {
        self.guard = if self.broken_guard { Guard::Placed } else { Guard::Tried };
    }

    /// A run starts: what it asks for and how long it waits is its own.
    pub(super) fn begin(&mut self) {
        (self.asked, self.waited) = (0, 0);
    }

    /// False when the call itself fails.
    pub(super) fn restart(&mut self, reads: Reads) -> bool {
        self.asked += 1;
        self.waited = 0;
        if self.broken_calls > 0 {
            self.broken_calls -= 1;
            return false;
        }
        self.restarts += 1;
        self.start(reads);
        true
    }

    fn start(&mut self, reads: Reads) {
        self.last += 1;
        let dies = self.how(reads) == Start::Dies;
        self.runs = (!dies).then_some((reads, self.last, 0));
    }

    pub(super) fn wait(&mut self) {
        self.waited += 1;
        if let Some((_, _, up)) = &mut self.runs {
            *up += 1;
        }
    }

    fn how(&self, reads: Reads) -> Start {
        match reads {
            Reads::Old => self.with_old,
            Reads::New => self.with_new,
            Reads::Mixed => Start::Dead,
        }
    }

    fn health(&self) -> Health {
        match self.runs {
            None => Health::Absent,
            // The first one is what everything is compared with.
            Some((_, 0, _)) => Health::Serves,
            Some((reads, _, up)) => match self.how(reads) {
                Start::After(moments) if up >= moments => Health::Serves,
                Start::After(_) => Health::Recovering,
                Start::Dead => Health::Fails,
                Start::Never | Start::Dies => Health::Absent,
            },
        }
    }

    pub(super) fn facts(&self, phase: Phase) -> Service {
        let baseline = match phase {
            Phase::Restarting | Phase::Verifying | Phase::Restoring => self.from,
            _ => self.armed_with,
        };
        Service {
            guard: self.guard,
            restart: self.restart,
            restarts_requested: self.asked,
            started_in_this_phase: self.last > baseline,
            health: self.health(),
            trial: self.trial,
            expired: self.waited >= PATIENCE,
        }
    }
}

impl Machine {
    /// All processes end at once, and the next boot's guard and containerd start.
    pub(super) fn reset(&mut self, context: &str) {
        self.world.iter_mut().for_each(|world| world.runs = None);
        if !self.phase.is_closed() {
            self.run(Goal::Guard).ok().unwrap();
        }
        assert_ne!(self.reads(), Reads::Mixed, "{context}");
        // Had the change not settled, no containerd may start with its files.
        assert!(self.phase == Phase::Settled || self.all(File::before), "{context}");
        let reads = self.reads();
        self.world.iter_mut().for_each(|world| world.start(reads));
    }
}

pub(super) fn live(with_old: Start, with_new: Start) -> Machine {
    let mut machine = Machine::new(&KINDS);
    machine.world = Some(World::new(with_old, with_new));
    machine
}

pub(super) fn world(machine: &Machine) -> World {
    machine.world.unwrap()
}

/// What the process that systemd starts after the change, or that looks on after a boot, asks for.
pub(super) fn owner(machine: &mut Machine) -> Option<Phase> {
    machine.fuel = u32::MAX;
    let goal = if machine.phase.is_closed() {
        Goal::Recover
    } else {
        Goal::Rollback
    };
    machine.run(goal).ok().unwrap()
}

/// Files whole, containerd up with them, nothing left to undo.
pub(super) fn check(machine: &Machine, context: &str) {
    let mut world = world(machine);
    // One that nobody had to look at may still be coming up.
    (0..PATIENCE).for_each(|_| world.wait());
    let context = format!("{context}: {:?} {:?} {world:?}", machine.phase, machine.files);
    assert!(machine.phase.is_closed(), "{context}");
    assert_ne!(machine.reads(), Reads::Mixed, "{context}");
    assert_eq!(
        (world.health(), world.guard),
        (Health::Serves, Guard::Nothing),
        "{context}"
    );
    assert_eq!(world.runs.map(|(reads, ..)| reads), Some(machine.reads()), "{context}");
    assert!(!machine.litter(), "{context}");
}

#[test]
fn a_good_change_restarts_once() {
    let mut machine = live(Start::After(0), Start::After(3));
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    check(&machine, "good");
    assert!(machine.all(File::after));
    assert_eq!(world(&machine).restarts, 1);
}

#[test]
fn hosts_files_alone_restart_nothing() {
    let mut machine = live(Start::After(0), Start::Dead);
    machine.world.iter_mut().for_each(|world| world.restart = false);
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    assert_eq!((world(&machine).restarts, world(&machine).guard), (0, Guard::Nothing));
}

#[test]
fn a_containerd_that_fails_is_brought_back_with_the_old_files() {
    for bad in [Start::Dies, Start::Dead, Start::Never, Start::After(PATIENCE + 1)] {
        let mut machine = live(Start::After(2), bad);
        assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Undone)), "{bad:?}");
        check(&machine, &format!("{bad:?}"));
        assert!(machine.all(File::before));
        assert_eq!(world(&machine).restarts, 2, "{bad:?}");
    }
}

/// A trial is made once, of a containerd that serves, and decides.
#[test]
fn a_trial_decides() {
    for (tried, phase) in [(Trial::Passed, Phase::Settled), (Trial::Failed, Phase::Undone)] {
        let mut machine = live(Start::After(1), Start::After(2));
        machine.world.iter_mut().for_each(|world| {
            (world.trial, world.tried) = (Trial::Due, tried);
        });
        assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(phase)));
        check(&machine, &format!("{tried:?}"));
        assert_eq!(world(&machine).trial, tried);
    }
}

#[test]
fn a_guard_that_was_not_seen_to_work_is_nobody_to_rely_on() {
    let mut machine = live(Start::After(0), Start::After(0));
    machine.world.iter_mut().for_each(|world| world.broken_guard = true);
    let facts = |machine: &Machine| decide(Goal::Apply, &machine.facts(0));
    for _ in 0..10 {
        let next = facts(&machine);
        if next == Move::Guard {
            break;
        }
        machine.act(next).ok().unwrap();
    }
    machine.act(Move::Guard).ok().unwrap();
    assert_eq!(
        facts(&machine),
        Move::Guard,
        "only a guard that was tried lets the change go on"
    );
    // Whoever tried it in vain counts a failure, and the change is given up with every trace.
    for _ in 0..10 {
        match decide(Goal::Apply, &machine.facts(1)) {
            Move::Refuse(_) => break,
            next => assert!(machine.act(next).ok().unwrap()),
        }
    }
    assert_eq!(
        (machine.phase, world(&machine).guard, machine.litter()),
        (Phase::Idle, Guard::Nothing, false)
    );
}

#[test]
fn a_restart_that_cannot_be_asked_for_is_undone_and_asked_for_again() {
    for calls in 1..=2 {
        let mut machine = live(Start::After(0), Start::After(0));
        machine.world.iter_mut().for_each(|world| world.broken_calls = calls);
        assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Undone)), "{calls}");
        check(&machine, &format!("{calls} calls fail"));
    }
}

#[test]
fn an_undo_that_fails_says_so_and_waits_for_a_person() {
    let mut machine = live(Start::Dead, Start::Dead);
    assert_eq!(machine.run(Goal::Apply).ok(), Some(None));
    assert_eq!(machine.phase, Phase::Stuck);
    assert!(machine.all(File::before));
    // Two attempts, and no more: nobody restarts a containerd for ever.
    assert_eq!(world(&machine).restarts, 3);
    // The person has mended what was wrong, and asks again.
    machine
        .world
        .iter_mut()
        .for_each(|world| world.with_old = Start::After(0));
    assert_eq!(machine.run(Goal::Rollback).ok(), Some(Some(Phase::Undone)));
    check(&machine, "mended");
}

/// Killed after each effect; then its owner alone, the same command again, or a reset, a boot and its guards.
#[test]
fn a_kill_anywhere_ends_with_a_containerd_that_serves() {
    let mut points = 0;
    for with_new in [Start::After(0), Start::After(2), Start::Dies, Start::Dead] {
        for after in ["owner", "again", "reset"] {
            for fuel in 0..200 {
                let mut machine = live(Start::After(1), with_new);
                machine.fuel = fuel;
                let killed = machine.run(Goal::Apply).is_err();
                machine.fuel = u32::MAX;
                let context = format!("{with_new:?}, {after} after {fuel} effects");
                match after {
                    "owner" => drop(owner(&mut machine)),
                    "again" => {
                        machine.run(Goal::Apply).ok().unwrap();
                    }
                    _ => {
                        machine.reset(&context);
                        owner(&mut machine);
                    }
                }
                check(&machine, &context);
                points += 1;
                if !killed {
                    break;
                }
            }
        }
    }
    assert!(points > 300, "{points} points");
}

/// Each kill again in the run that undoes the first one.
#[test]
fn a_kill_of_the_undo_is_finished_too() {
    for with_new in [Start::After(0), Start::Dead] {
        for first in 0..60 {
            for second in 0..60 {
                // Twice killed in the middle of an undo is as good as any number of times: each run begins anew.
                let mut machine = live(Start::After(1), with_new);
                machine.fuel = first;
                machine.run(Goal::Apply).ok();
                machine.fuel = second;
                let goal = if machine.phase.is_closed() {
                    Goal::Recover
                } else {
                    Goal::Rollback
                };
                machine.run(goal).ok();
                owner(&mut machine);
                check(
                    &machine,
                    &format!("{with_new:?}, killed after {first} and {second} effects"),
                );
            }
        }
    }
}

/// Every state of the service, in every phase, with every goal: some move, and never one that the phase forbids.
#[test]
fn every_state_of_the_service_has_a_move() {
    let mut seen = 0;
    for phase in PHASES {
        for (service, goal, faults) in services() {
            for there in [PathState::Before, PathState::After, PathState::Foreign] {
                for beside in [
                    SiblingState::Nothing,
                    SiblingState::Before,
                    SiblingState::After,
                    SiblingState::Foreign,
                ] {
                    let step = StepFacts {
                        kind: StepKind::Replace,
                        mark: StepProgress::Swapped,
                        there,
                        beside,
                        backup: true,
                    };
                    let facts = ChangeFacts {
                        phase,
                        steps: vec![step],
                        has_created_folders: false,
                        has_folders_to_remove: false,
                        failed_moves: faults,
                        service: Some(service),
                    };
                    allowed(goal, &facts, service, decide(goal, &facts));
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, PHASES.len() * 4 * 3 * 2 * 3 * 2 * 4 * 4 * 2 * 4 * 12);
}

fn allowed(goal: Goal, facts: &ChangeFacts, service: Service, next: Move) {
    match next {
        Move::BeginApplying => assert_eq!(service.guard, Guard::Tried, "{facts:?}"),
        Move::Restart => {
            assert!(matches!(facts.phase, Phase::Restarting | Phase::Restoring), "{facts:?}");
            assert!(service.restarts_requested < 2 && goal != Goal::Guard, "{facts:?}");
        }
        Move::Settle => {
            assert_eq!(
                (facts.phase, service.health),
                (Phase::Verifying, Health::Serves),
                "{facts:?}"
            );
            assert!(service.started_in_this_phase || !service.restart, "{facts:?}");
            assert!(matches!(service.trial, Trial::Nothing | Trial::Passed), "{facts:?}");
        }
        Move::RunTrial => {
            assert_eq!(
                (facts.phase, service.health, service.trial),
                (Phase::Verifying, Health::Serves, Trial::Due),
                "{facts:?}"
            );
        }
        Move::CloseUndone if facts.phase == Phase::Restoring => {
            assert!(
                service.started_in_this_phase && service.health == Health::Serves,
                "{facts:?}"
            );
        }
        Move::Wait => assert!(!service.expired && faultless(facts), "{facts:?}"),
        Move::Disarm if facts.phase == Phase::Armed => {}
        Move::Disarm => assert!(facts.phase.is_closed() && goal != Goal::Guard, "{facts:?}"),
        Move::Abandon(_) => assert_eq!(service.guard, Guard::Nothing, "{facts:?}"),
        Move::Swap(_) | Move::Verify | Move::BeginRestart => assert_eq!(goal, Goal::Apply, "{facts:?}"),
        _ => {}
    }
}

fn faultless(facts: &ChangeFacts) -> bool {
    facts.failed_moves == 0
}

fn services() -> Vec<(Service, Goal, u32)> {
    let mut all = Vec::new();
    for goal in [Goal::Apply, Goal::Recover, Goal::Rollback, Goal::Guard] {
        for guard in [Guard::Nothing, Guard::Placed, Guard::Tried] {
            for restart in [true, false] {
                for asked in 0..3 {
                    for fresh in [true, false] {
                        for health in [Health::Serves, Health::Recovering, Health::Fails, Health::Absent] {
                            for (trial, expired) in trials() {
                                let service = Service {
                                    guard,
                                    restart,
                                    restarts_requested: asked,
                                    started_in_this_phase: fresh,
                                    health,
                                    trial,
                                    expired,
                                };
                                all.extend((0..4).map(|faults| (service, goal, faults)));
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

fn trials() -> impl Iterator<Item = (Trial, bool)> {
    let all = [Trial::Nothing, Trial::Due, Trial::Passed, Trial::Failed];
    all.into_iter().flat_map(|trial| [(trial, true), (trial, false)])
}
