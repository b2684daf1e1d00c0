//! A settled change that is rolled back while its containerd runs. Wherever the rollback is killed, the files are those
//! before or after it, a containerd serves with them, and no operator is needed.

use crate::change::tests::machine::{File, Machine};
use crate::change::tests::world::{Start, TIME_LIMIT, check, live, run_undo_unit, world};
use crate::change::tests::*;

/// Returns a machine whose change has settled, with the rollback as its next change.
fn settled(with_old: Start) -> Machine {
    let mut machine = live(with_old, Start::After(1));
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    machine.into_rollback()
}

#[test]
fn rollback_settles_like_any_change() {
    let mut machine = settled(Start::After(2));
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    check(&machine, "rolled back");
    assert!(machine.all(File::after) && !machine.has_folders_to_remove);
}

/// The original files may no longer serve. Then the rollback is undone.
#[test]
fn rollback_to_files_that_no_longer_serve_is_undone() {
    for start in [Start::Dies, Start::Dead, Start::Never, Start::After(3 * TIME_LIMIT)] {
        // They did serve when the change itself was made.
        let mut machine = settled(Start::After(0));
        machine.world = Some(world::World::new(Start::After(1), start));
        assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Undone)), "{start:?}");
        check(&machine, &format!("{start:?}"));
        assert!(machine.all(File::before) && !machine.has_folders_to_remove, "{start:?}");
        assert_eq!(world(&machine).restarts(), 2, "{start:?}");
    }
}

/// The rollback is killed after each effect; then its undo unit runs, or `rollback` again, or the machine boots with its
/// guards.
#[test]
fn killed_rollback_ends_without_an_operator() {
    let mut points = 0;
    for with_old in [Start::After(0), Start::After(2), Start::Dies, Start::Dead] {
        for next in ["undo unit", "again", "reset"] {
            for fuel in 0..200 {
                let mut machine = settled(Start::After(0));
                machine.world = Some(world::World::new(Start::After(1), with_old));
                machine.fuel = fuel;
                let killed = machine.run(Goal::Apply).is_err();
                machine.fuel = u32::MAX;
                let context = format!("{with_old:?}, {next} after {fuel} effects");
                if next == "reset" {
                    machine.reset(&context);
                }
                if next == "again" && !machine.phase.is_closed() {
                    machine.run(Goal::Rollback).ok().unwrap();
                } else {
                    run_undo_unit(&mut machine);
                }
                check(&machine, &context);
                assert!(!machine.has_folders_to_remove, "{context}");
                points += 1;
                if !killed {
                    break;
                }
            }
        }
    }
    assert!(points > 300, "{points} points");
}
