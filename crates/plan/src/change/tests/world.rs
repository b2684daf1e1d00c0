//! Changes while containerd runs. Every kill, reset, failed start and failed restart ends with a containerd that serves with
//! the files on disk, or with a change that is stuck.

use crate::change::tests::machine::{File, Machine};
use crate::change::tests::*;

/// The files that a containerd has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    Old,
    New,
    /// Some of each. Nothing is known about its behaviour.
    Mixed,
}

/// The behaviour of a containerd that starts with certain files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It serves after this number of waits.
    After(u32),
    /// It exits at once.
    Dies,
    /// It runs, but its CRI does not load.
    Dead,
    /// It hangs.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    pub(super) guard: Guard,
    pub(super) restarts_requested: u32,
    /// The running containerd: the files that it has read, its number, and the time since its start.
    runs: Option<(Reads, u32, u32)>,
    /// The number of the last containerd that was started.
    last: u32,
    armed_with: u32,
    from: u32,
    /// The number of waits since the phase or its last restart began.
    waited: u32,
    with_new: Start,
    with_old: Start,
    /// The number of restart calls that will fail.
    broken_calls: u32,
    /// True when the boot guard fails its test.
    broken_guard: bool,
    restart: bool,
    restarts: u32,
    trial: Trial,
    /// The result of the operator's test with the new files.
    trial_result: Trial,
}

pub(super) const TIME_LIMIT: u32 = 5;

impl World {
    pub(super) fn new(with_old: Start, with_new: Start) -> Self {
        Self {
            guard: Guard::Nothing,
            restarts_requested: 0,
            runs: Some((Reads::Old, 0, TIME_LIMIT)),
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
            trial_result: Trial::Passed,
        }
    }

    /// Returns the world of the rollback: its baseline is the containerd that runs now.
    pub(super) fn into_rollback(self) -> Self {
        Self::new(self.with_new, self.with_old)
    }

    pub(super) fn restarts(self) -> u32 {
        self.restarts
    }

    /// Runs the operator's test.
    pub(super) fn run_trial(&mut self, reads: Reads) {
        assert_eq!((reads, self.health()), (Reads::New, Health::Serves));
        self.trial = self.trial_result;
    }

    pub(super) fn arm(&mut self) {
        self.armed_with = self.last;
    }

    pub(super) fn enter(&mut self) {
        (self.from, self.restarts_requested, self.waited) = (self.last, 0, 0);
    }

    pub(super) fn place_guard(&mut self) {
        self.guard = if self.broken_guard { Guard::Placed } else { Guard::Tried };
    }

    /// Starts a run, which counts its own requests and waits.
    pub(super) fn begin(&mut self) {
        (self.restarts_requested, self.waited) = (0, 0);
    }

    /// Restarts containerd. Returns false when the call itself fails.
    pub(super) fn restart(&mut self, reads: Reads) -> bool {
        self.restarts_requested += 1;
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
            // The first containerd is the baseline.
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
            restarts_requested: self.restarts_requested,
            started_in_this_phase: self.last > baseline,
            health: self.health(),
            trial: self.trial,
            expired: self.waited >= TIME_LIMIT,
        }
    }
}

impl Machine {
    /// Ends all processes at once, then starts the next boot's guard and containerd.
    pub(super) fn reset(&mut self, context: &str) {
        self.world.iter_mut().for_each(|world| world.runs = None);
        if !self.phase.is_closed() {
            self.run(Goal::Guard).ok().unwrap();
        }
        assert_ne!(self.reads(), Reads::Mixed, "{context}");
        // No containerd may start with the files of a change that did not settle.
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

/// Runs the unit that systemd starts after the change, or after a boot.
pub(super) fn run_undo_unit(machine: &mut Machine) -> Option<Phase> {
    machine.fuel = u32::MAX;
    let goal = if machine.phase.is_closed() {
        Goal::Recover
    } else {
        Goal::Rollback
    };
    machine.run(goal).ok().unwrap()
}

/// Checks that the files are complete, that containerd serves with them, and that nothing is left to undo.
pub(super) fn check(machine: &Machine, context: &str) {
    let mut world = world(machine);
    // A containerd that the run did not have to wait for may still be starting.
    (0..TIME_LIMIT).for_each(|_| world.wait());
    let context = format!("{context}: {:?} {:?} {world:?}", machine.phase, machine.files);
    assert!(machine.phase.is_closed(), "{context}");
    assert_ne!(machine.reads(), Reads::Mixed, "{context}");
    assert_eq!(
        (world.health(), world.guard),
        (Health::Serves, Guard::Nothing),
        "{context}"
    );
    assert_eq!(world.runs.map(|(reads, ..)| reads), Some(machine.reads()), "{context}");
    assert!(!machine.has_copies(), "{context}");
}

#[test]
fn good_change_restarts_once() {
    let mut machine = live(Start::After(0), Start::After(3));
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    check(&machine, "good");
    assert!(machine.all(File::after));
    assert_eq!(world(&machine).restarts, 1);
}

#[test]
fn change_of_hosts_files_restarts_nothing() {
    let mut machine = live(Start::After(0), Start::Dead);
    machine.world.iter_mut().for_each(|world| world.restart = false);
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    assert_eq!((world(&machine).restarts, world(&machine).guard), (0, Guard::Nothing));
}

#[test]
fn containerd_that_fails_is_restarted_with_the_original_files() {
    for start in [Start::Dies, Start::Dead, Start::Never, Start::After(TIME_LIMIT + 1)] {
        let mut machine = live(Start::After(2), start);
        assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Undone)), "{start:?}");
        check(&machine, &format!("{start:?}"));
        assert!(machine.all(File::before));
        assert_eq!(world(&machine).restarts, 2, "{start:?}");
    }
}

/// The operator's test runs once, on a containerd that serves, and its result decides.
#[test]
fn failed_test_undoes_the_change() {
    for (result, phase) in [(Trial::Passed, Phase::Settled), (Trial::Failed, Phase::Undone)] {
        let mut machine = live(Start::After(1), Start::After(2));
        machine.world.iter_mut().for_each(|world| {
            (world.trial, world.trial_result) = (Trial::Due, result);
        });
        assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(phase)));
        check(&machine, &format!("{result:?}"));
        assert_eq!(world(&machine).trial, result);
    }
}

#[test]
fn change_is_abandoned_when_the_guard_fails_its_test() {
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
        "only a tested guard lets the change continue"
    );
    // The failed test is a failed move, so the change is abandoned without a trace.
    for _ in 0..10 {
        match decide(Goal::Apply, &machine.facts(1)) {
            Move::Refuse(_) => break,
            next => assert!(machine.act(next).ok().unwrap()),
        }
    }
    assert_eq!(
        (machine.phase, world(&machine).guard, machine.has_copies()),
        (Phase::Idle, Guard::Nothing, false)
    );
}

#[test]
fn failed_restart_call_is_undone_and_repeated() {
    for calls in 1..=2 {
        let mut machine = live(Start::After(0), Start::After(0));
        machine.world.iter_mut().for_each(|world| world.broken_calls = calls);
        assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Undone)), "{calls}");
        check(&machine, &format!("{calls} calls fail"));
    }
}

#[test]
fn failed_undo_is_stuck_and_waits_for_an_operator() {
    let mut machine = live(Start::Dead, Start::Dead);
    assert_eq!(machine.run(Goal::Apply).ok(), Some(None));
    assert_eq!(machine.phase, Phase::Stuck);
    assert!(machine.all(File::before));
    // Two attempts, and no more: a containerd is not restarted for ever.
    assert_eq!(world(&machine).restarts, 3);
    // The operator has repaired the cause, and requests the undo again.
    machine
        .world
        .iter_mut()
        .for_each(|world| world.with_old = Start::After(0));
    assert_eq!(machine.run(Goal::Rollback).ok(), Some(Some(Phase::Undone)));
    check(&machine, "repaired");
}

/// The run is killed after each effect; then its undo unit runs, or the same command again, or the machine boots with its
/// guards.
#[test]
fn killed_change_ends_with_a_serving_containerd() {
    let mut points = 0;
    for with_new in [Start::After(0), Start::After(2), Start::Dies, Start::Dead] {
        for next in ["undo unit", "again", "reset"] {
            for fuel in 0..200 {
                let mut machine = live(Start::After(1), with_new);
                machine.fuel = fuel;
                let killed = machine.run(Goal::Apply).is_err();
                machine.fuel = u32::MAX;
                let context = format!("{with_new:?}, {next} after {fuel} effects");
                match next {
                    "undo unit" => drop(run_undo_unit(&mut machine)),
                    "again" => {
                        machine.run(Goal::Apply).ok().unwrap();
                    }
                    _ => {
                        machine.reset(&context);
                        run_undo_unit(&mut machine);
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

/// The run that undoes a killed change is killed too.
#[test]
fn killed_undo_is_finished() {
    for with_new in [Start::After(0), Start::Dead] {
        for first in 0..60 {
            for second in 0..60 {
                // Two kills in the middle of an undo stand for any number, because each run starts from the facts.
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
                run_undo_unit(&mut machine);
                check(
                    &machine,
                    &format!("{with_new:?}, killed after {first} and {second} effects"),
                );
            }
        }
    }
}

/// Every state of the service, in every phase and with every goal, has a move that the phase allows.
#[test]
fn every_state_of_the_service_has_a_move() {
    let mut seen = 0;
    for phase in PHASES {
        for (service, goal, failed_moves) in services() {
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
                        at_path: there,
                        sibling: beside,
                        backup: true,
                    };
                    let facts = ChangeFacts {
                        phase,
                        steps: vec![step],
                        has_created_folders: false,
                        has_folders_to_remove: false,
                        failed_moves,
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
                                all.extend((0..4).map(|failed_moves| (service, goal, failed_moves)));
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
