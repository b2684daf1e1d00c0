//! A settled change that is taken back while its containerd runs: wherever that is killed, the bytes of before or of after it
//! are in force, a containerd serves with them, and nobody is needed.

use crate::change::tests::machine::{File, Machine};
use crate::change::tests::world::{PATIENCE, Start, check, live, owner, world};
use crate::change::tests::*;

/// A machine whose change has settled, about to take it back.
fn settled(with_old: Start) -> Machine {
    let mut machine = live(with_old, Start::After(1));
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    machine.taken_back()
}

#[test]
fn it_is_a_change_like_any_other() {
    let mut machine = settled(Start::After(2));
    assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Settled)));
    check(&machine, "taken back");
    assert!(machine.all(File::after) && !machine.leaves);
}

/// What the node ran before the change may no longer serve: then it stays with what is in force.
#[test]
fn old_bytes_that_no_longer_serve_are_not_kept() {
    for bad in [Start::Dies, Start::Dead, Start::Never, Start::After(3 * PATIENCE)] {
        // The change itself was made while they did.
        let mut machine = settled(Start::After(0));
        machine.world = Some(world::World::new(Start::After(1), bad));
        assert_eq!(machine.run(Goal::Apply).ok(), Some(Some(Phase::Undone)), "{bad:?}");
        check(&machine, &format!("{bad:?}"));
        assert!(machine.all(File::before) && !machine.leaves, "{bad:?}");
        assert_eq!(world(&machine).restarts(), 2, "{bad:?}");
    }
}

/// Killed after each effect; then its owner alone, `rollback` again, or a reset, a boot and its guards.
#[test]
fn a_kill_anywhere_leaves_old_or_new_and_never_a_person_to_ask() {
    let mut points = 0;
    for with_old in [Start::After(0), Start::After(2), Start::Dies, Start::Dead] {
        for after in ["owner", "again", "reset"] {
            for fuel in 0..200 {
                let mut machine = settled(Start::After(0));
                machine.world = Some(world::World::new(Start::After(1), with_old));
                machine.fuel = fuel;
                let killed = machine.run(Goal::Apply).is_err();
                machine.fuel = u32::MAX;
                let context = format!("{with_old:?}, {after} after {fuel} effects");
                if after == "reset" {
                    machine.reset(&context);
                }
                if after == "again" && !machine.phase.is_closed() {
                    machine.run(Goal::Rollback).ok().unwrap();
                } else {
                    owner(&mut machine);
                }
                check(&machine, &context);
                assert!(!machine.leaves, "{context}");
                points += 1;
                if !killed {
                    break;
                }
            }
        }
    }
    assert!(points > 300, "{points} points");
}
