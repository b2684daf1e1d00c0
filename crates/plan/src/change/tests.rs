//! The loop on a simulated machine: every observation has a move, every run ends, no edit of another program is lost, and
//! a crash between any two effects is finished by the next run.

use crate::change::tests::machine::{Bytes, File, Machine};
use crate::change::*;

/// A simulated machine.
mod machine;
/// Changes that roll back another change.
mod rollback;
/// The table of transitions.
mod transitions;
/// A simulated containerd, and changes while it runs.
mod world;

/// A small generator with a fixed seed, so that a failure can be reproduced.
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

const KINDS: [StepKind; 3] = [StepKind::Create, StepKind::Replace, StepKind::Remove];
/// The phases of a change without a running containerd.
const FILE_PHASES: [Phase; 10] = [
    Phase::Idle,
    Phase::Armed,
    Phase::Applying,
    Phase::Applied,
    Phase::Settled,
    Phase::RollbackStaging,
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
    Phase::RollbackStaging,
    Phase::Undoing,
    Phase::Restoring,
    Phase::Undone,
    Phase::RolledBack,
    Phase::Stuck,
];
const GOALS: [Goal; 3] = [Goal::Apply, Goal::Recover, Goal::Rollback];

#[test]
fn change_settles_and_rolls_back() {
    let mut machine = Machine::new(&KINDS);
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    assert!(machine.all(File::after) && !machine.has_copies());
    assert_eq!(machine.run(Goal::Rollback).ok(), Some(Some(Phase::RolledBack)));
    assert!(machine.all(File::before) && !machine.has_copies());
}

/// The run is killed after each effect, then continued with each goal. It ends at the original or the new files, and leaves
/// no copy behind.
#[test]
fn killed_run_is_finished_by_the_next() {
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
                assert!(!machine.has_copies(), "{context}");
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

/// An edit in the middle of each swap is put back, and every other file is the original.
#[test]
fn edit_during_a_swap_survives() {
    for at in 0..KINDS.len() {
        let mut machine = Machine::new(&KINDS);
        machine.race = Some((at, 7));
        machine.run(Goal::Apply).ok().unwrap();
        assert_eq!(machine.files[at].there, Bytes::Edit(7), "{:?}", machine.files);
        let others = machine.files.iter().enumerate().filter(|(other, _)| *other != at);
        others.for_each(|(_, file)| assert_eq!(file.there, File::before(file.kind), "{at}"));
        assert_eq!((machine.phase, machine.has_copies()), (Phase::Undone, false));
    }
}

/// Edits, kills and goals at random: the last edit of each file is never lost, and every run ends.
#[test]
fn random_edits_and_kills_lose_no_edit() {
    let mut dice = Dice(42);
    let mut stuck = 0;
    for round in 0..20_000 {
        let mut machine = Machine::new(&KINDS);
        // The last edit of each file.
        let mut last = [None; KINDS.len()];
        let mut history = Vec::new();
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
            history.push((goal, race, ended.is_err(), machine.phase, machine.files.clone()));
            for (at, edit) in last.iter().enumerate() {
                let Some(edit) = edit else { continue };
                let file = &machine.files[at];
                let kept = file.there == Bytes::Edit(*edit) || file.beside == Bytes::Edit(*edit);
                assert!(kept, "edit {edit} of file {at} is lost: {history:#?}");
            }
            // A change that is over makes room for the next.
            if machine.phase.is_closed() && machine.phase != Phase::Settled {
                machine.phase = Phase::Idle;
                machine.settled = false;
                machine
                    .files
                    .iter_mut()
                    .for_each(|file| file.mark = StepProgress::Waiting);
            }
        }
        stuck += u32::from(machine.phase == Phase::Stuck);
    }
    assert!(stuck > 0, "no run reached the phase that needs an operator");
}

/// Every observation of one step, with every phase, progress, goal and number of failures, has a move that the phase allows.
#[test]
fn every_observation_has_a_move() {
    let mut seen = 0;
    for phase in FILE_PHASES {
        for (goal, kind, mark, at_path, sibling, backup, failed_moves) in observations() {
            let facts = ChangeFacts {
                phase,
                steps: vec![StepFacts {
                    kind,
                    mark,
                    at_path,
                    sibling,
                    backup,
                }],
                has_created_folders: false,
                has_folders_to_remove: false,
                failed_moves,
                service: None,
            };
            let next = decide(goal, &facts);
            match phase {
                Phase::Armed | Phase::Settled | Phase::RollbackStaging => {
                    assert!(!matches!(next, Move::Swap(_) | Move::SwapBack(_)), "{facts:?}");
                }
                Phase::Undone | Phase::RolledBack => assert_eq!(next, Move::Done),
                _ => {}
            }
            if matches!(next, Move::Swap(_)) {
                assert_eq!((at_path, failed_moves), (PathState::Before, 0), "{facts:?}");
            }
            if matches!(next, Move::SwapBack(_)) {
                assert_eq!((at_path, failed_moves), (PathState::After, 0), "{facts:?}");
            }
            if matches!(next, Move::StageUndo(_)) {
                assert!(backup, "{facts:?}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 10 * 3 * 3 * 5 * 3 * 4 * 2 * 3);
}

type Observation = (Goal, StepKind, StepProgress, PathState, SiblingState, bool, u32);

fn observations() -> Vec<Observation> {
    let mut all = Vec::new();
    for goal in GOALS {
        for kind in KINDS {
            for mark in [
                StepProgress::Waiting,
                StepProgress::Swapping,
                StepProgress::Swapped,
                StepProgress::Returning,
                StepProgress::Returned,
            ] {
                for at_path in [PathState::Before, PathState::After, PathState::Foreign] {
                    for sibling in [
                        SiblingState::Nothing,
                        SiblingState::Before,
                        SiblingState::After,
                        SiblingState::Foreign,
                    ] {
                        for backup in [true, false] {
                            all.extend(
                                (0..3).map(|failed_moves| (goal, kind, mark, at_path, sibling, backup, failed_moves)),
                            );
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn damaged_backup_refuses_before_the_first_swap() {
    let mut machine = Machine::new(&KINDS);
    machine.run(Goal::Apply).ok().unwrap();
    machine.files[1].backup = false;
    assert_eq!(
        decide(Goal::Rollback, &machine.facts(0)),
        Move::Refuse(UndoReason::Backup(1))
    );

    let mut machine = Machine::new(&KINDS);
    machine.files[1].backup = false;
    machine.phase = Phase::Armed;
    assert_eq!(machine.run(Goal::Apply).ok(), Some(None));
    assert_eq!((machine.phase, machine.all(File::before)), (Phase::Idle, true));
}

#[test]
fn edit_after_a_change_refuses_its_rollback() {
    let mut machine = Machine::new(&KINDS);
    machine.run(Goal::Apply).ok().unwrap();
    machine.files[2].there = Bytes::Edit(1);
    assert_eq!(
        decide(Goal::Rollback, &machine.facts(0)),
        Move::Refuse(UndoReason::Foreign(2))
    );
}

#[test]
fn stuck_change_waits_for_an_operator() {
    let mut machine = Machine::new(&KINDS);
    machine.run(Goal::Apply).ok().unwrap();
    machine.phase = Phase::Stuck;
    machine.files[1].there = Bytes::Edit(1);
    assert_eq!(decide(Goal::Apply, &machine.facts(0)), Move::Refuse(UndoReason::Stuck));
    assert_eq!(
        decide(Goal::Rollback, &machine.facts(0)),
        Move::Refuse(UndoReason::Foreign(1))
    );
    machine.files[1].there = Bytes::New;
    assert_eq!(machine.run(Goal::Rollback).ok(), Some(Some(Phase::RolledBack)));
    assert!(machine.all(File::before));
}

#[test]
fn unfinished_change_is_continued_only_for_its_own_plan() {
    assert_eq!(Goal::for_unfinished(Phase::Applying, true), Goal::Apply);
    assert_eq!(Goal::for_unfinished(Phase::Applying, false), Goal::Rollback);
    assert_eq!(Goal::for_unfinished(Phase::Stuck, true), Goal::Recover);
    assert_eq!(Goal::for_unfinished(Phase::Stuck, false), Goal::Recover);
}
