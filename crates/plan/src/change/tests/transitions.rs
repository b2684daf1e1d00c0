//! The table of transitions: every move, and every pair of phases that a decision may connect.

use crate::change::tests::*;
use std::collections::BTreeSet;

const REASON: UndoReason = UndoReason::Requested;
/// Every move with the phase that it records for a change that has not settled.
const MOVES: [(Move, Option<Phase>); 31] = [
    (Move::Arm, Some(Phase::Armed)),
    (Move::Stage(0), None),
    (Move::Guard, None),
    (Move::BeginApplying, Some(Phase::Applying)),
    (Move::Swap(0), None),
    (Move::Confirm(0), None),
    (Move::PutBack(0), None),
    (Move::RecordForeign(0), None),
    (Move::Complete, Some(Phase::Applied)),
    (Move::BeginRestart, Some(Phase::Restarting)),
    (Move::Restart, None),
    (Move::Verify, Some(Phase::Verifying)),
    (Move::RunTrial, None),
    (Move::Wait, None),
    (Move::RemoveSibling(0), None),
    (Move::Settle, Some(Phase::Settled)),
    (Move::Abandon(REASON), Some(Phase::Idle)),
    (Move::BeginRollback, Some(Phase::RollbackStaging)),
    (Move::StageUndo(0), None),
    (Move::CancelRollback(REASON), Some(Phase::Settled)),
    (Move::Undo(REASON), Some(Phase::Undoing)),
    (Move::SwapBack(0), None),
    (Move::RemoveFolders, None),
    (Move::Restore, Some(Phase::Restoring)),
    (Move::Disarm, None),
    (Move::LeaveToNextRun, None),
    (Move::CloseUndone, Some(Phase::Undone)),
    (Move::GiveUp(REASON), Some(Phase::Stuck)),
    (Move::Refuse(REASON), None),
    (Move::StopWithFault(REASON), None),
    (Move::Done, None),
];

#[test]
fn every_move_records_the_phase_of_the_table() {
    for (next, phase) in MOVES {
        assert_eq!(next.next_phase(false), phase, "{next:?}");
        let rolled_back = match phase {
            Some(Phase::Undone) => Some(Phase::RolledBack),
            phase => phase,
        };
        assert_eq!(next.next_phase(true), rolled_back, "{next:?}");
    }
    let distinct: std::collections::HashSet<_> = MOVES.iter().map(|(next, _)| std::mem::discriminant(next)).collect();
    assert_eq!(distinct.len(), MOVES.len());
    // Each phase is recorded by some move.
    let recorded: std::collections::HashSet<Phase> = MOVES
        .iter()
        .flat_map(|(next, _)| [next.next_phase(false), next.next_phase(true)])
        .flatten()
        .collect();
    assert_eq!(recorded.len(), PHASES.len());
}

/// Collects the transitions of all decisions about one step, with and without a running containerd.
#[test]
fn decisions_connect_only_the_phases_of_the_diagram() {
    let mut pairs = BTreeSet::new();
    let service = |health, started_in_this_phase, restarts_requested| Service {
        guard: Guard::Tried,
        restart: true,
        restarts_requested,
        started_in_this_phase,
        health,
        trial: Trial::Nothing,
        expired: true,
    };
    let mut services = vec![None];
    for health in [Health::Serves, Health::Recovering, Health::Fails, Health::Absent] {
        for started in [false, true] {
            services.extend([0, 2].map(|requested| Some(service(health, started, requested))));
        }
    }
    for phase in PHASES {
        for (goal, kind, mark, at_path, sibling, backup, failed_moves) in observations() {
            for service in &services {
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
                    service: *service,
                };
                if let Some(next) = decide(goal, &facts).next_phase(false) {
                    pairs.insert(format!("{phase:?} -> {next:?}"));
                }
            }
        }
    }
    let diagram = [
        "Applied -> Restarting",
        "Applied -> Settled",
        "Applied -> Stuck",
        "Applied -> Undoing",
        "Applying -> Applied",
        "Applying -> Stuck",
        "Applying -> Undoing",
        "Armed -> Applying",
        "Armed -> Idle",
        "Idle -> Armed",
        "Restarting -> Undoing",
        "Restarting -> Verifying",
        "Restoring -> Stuck",
        "Restoring -> Undone",
        "RollbackStaging -> Settled",
        "RollbackStaging -> Undoing",
        "Settled -> RollbackStaging",
        "Stuck -> Undoing",
        "Undoing -> Restoring",
        "Undoing -> Stuck",
        "Undoing -> Undone",
        "Verifying -> Settled",
        "Verifying -> Stuck",
        "Verifying -> Undoing",
    ];
    assert_eq!(pairs.into_iter().collect::<Vec<_>>(), diagram);
}
