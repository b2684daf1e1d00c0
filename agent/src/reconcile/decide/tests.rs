use crate::change_run::failure_summary::FailureSummary;
use crate::exit::Exit;
use crate::observe::observation::{ChangeSummary, DriftedFile};
use crate::reconcile::decide::*;
use mirrorshift_plan::Digest;

fn change_in(id: &str, phase: Phase) -> ChangeSummary {
    ChangeSummary {
        id: id.to_owned(),
        phase,
        ended: None,
        note: None,
    }
}

fn observed(plan: PlanOutcome) -> NodeObservation {
    NodeObservation {
        containerd: Some("1.7.24".to_owned()),
        last_start: None,
        invocation: Some("a".to_owned()),
        ..NodeObservation::serving(plan)
    }
}

fn planned() -> PlannedChange {
    PlannedChange {
        digest: Some(Digest::of(b"plan")),
        restart: true,
        files: vec!["/etc/containerd/config.toml".to_owned()],
        ..PlannedChange::default()
    }
}

fn refused() -> PlanOutcome {
    PlanOutcome::Refused(FailureSummary {
        exit: Exit::Refused,
        reason: "owned".to_owned(),
        message: "owned by another tool".to_owned(),
        hint: None,
    })
}

/// A node to migrate whose plan was rehearsed, without a slot.
fn input(observation: &NodeObservation) -> ReconcileInput<'_> {
    ReconcileInput {
        mode: DesiredMode::Migrate,
        may_restart: true,
        observation,
        rehearsed: true,
        slot: SlotState::NotHeld,
        attempt: &Attempt::None,
    }
}

static FAILED: Attempt = Attempt::Failed { reason: String::new() };
static DECLINED: Attempt = Attempt::Declined { reason: String::new() };

#[test]
fn migration_rehearses_acquires_a_slot_changes_and_releases() {
    let node = observed(PlanOutcome::Planned(planned()));
    let rehearsed = |rehearsed| ReconcileInput {
        rehearsed,
        ..input(&node)
    };
    assert_eq!(next_action(rehearsed(false)), NextAction::Rehearse);
    assert_eq!(
        next_action(rehearsed(true)),
        NextAction::AcquireSlot,
        "the slot is acquired after the rehearsal"
    );
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..input(&node)
    };
    assert_eq!(next_action(held), NextAction::Change);

    let mut done = observed(PlanOutcome::Planned(PlannedChange::default()));
    done.in_force = Some(change_in("1", Phase::Settled));
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..input(&done)
    };
    assert_eq!(next_action(held), NextAction::ReleaseSlot);
    assert_eq!(next_action(input(&done)), NextAction::Rest(RestState::Migrated));
    done.serves = false;
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..input(&done)
    };
    assert_eq!(
        next_action(held),
        NextAction::Rest(RestState::Migrated),
        "a node that does not serve keeps its slot"
    );
}

#[test]
fn observe_mode_rehearses_and_changes_nothing() {
    let node = observed(PlanOutcome::Planned(planned()));
    let observe = ReconcileInput {
        mode: DesiredMode::Observe,
        ..input(&node)
    };
    assert_eq!(next_action(observe), NextAction::Rest(RestState::Planned));
    assert_eq!(
        next_action(ReconcileInput {
            rehearsed: false,
            ..observe
        }),
        NextAction::Rehearse
    );
    let mut unfinished = observed(PlanOutcome::Planned(planned()));
    unfinished.unfinished = Some(change_in("1", Phase::Applying));
    let observe = ReconcileInput {
        mode: DesiredMode::Observe,
        ..input(&unfinished)
    };
    assert_eq!(next_action(observe), NextAction::Rest(RestState::Unfinished));
}

#[test]
fn failed_change_keeps_the_slot_and_is_not_attempted_again() {
    let mut node = observed(PlanOutcome::Planned(planned()));
    node.last = Some(change_in("1", Phase::Undone));
    let failed = ReconcileInput {
        slot: SlotState::Held,
        attempt: &FAILED,
        ..input(&node)
    };
    for mode in [DesiredMode::Migrate, DesiredMode::Observe] {
        for may_restart in [true, false] {
            let next = next_action(ReconcileInput {
                mode,
                may_restart,
                ..failed
            });
            assert!(matches!(next, NextAction::Rest(_)), "{mode:?}: {next:?}");
        }
    }
    assert_eq!(next_action(failed), NextAction::Rest(RestState::Undone));
    let refused = observed(refused());
    let failed = ReconcileInput {
        slot: SlotState::Held,
        attempt: &FAILED,
        ..input(&refused)
    };
    assert_eq!(next_action(failed), NextAction::Rest(RestState::Refused));
    // After an operator has released the slot, the same plan still is not attempted again.
    let before = observed(PlanOutcome::Planned(PlannedChange {
        undone_before: Some("CRI did not load".to_owned()),
        ..planned()
    }));
    assert_eq!(next_action(input(&before)), NextAction::Rest(RestState::Undone));
}

#[test]
fn refusal_releases_the_slot() {
    let node = observed(refused());
    assert_eq!(next_action(input(&node)), NextAction::Rest(RestState::Refused));
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..input(&node)
    };
    assert_eq!(next_action(held), NextAction::ReleaseSlot);
    let node = observed(PlanOutcome::Planned(planned()));
    let held = ReconcileInput {
        slot: SlotState::Held,
        attempt: &DECLINED,
        ..input(&node)
    };
    assert_eq!(next_action(held), NextAction::ReleaseSlot);
    let after = ReconcileInput {
        attempt: &DECLINED,
        ..input(&node)
    };
    assert_eq!(next_action(after), NextAction::Rest(RestState::Refused));
}

#[test]
fn unknown_slot_prevents_a_change() {
    let node = observed(PlanOutcome::Planned(planned()));
    let unknown = ReconcileInput {
        slot: SlotState::Unknown,
        ..input(&node)
    };
    assert_eq!(next_action(unknown), NextAction::Rest(RestState::SlotUnknown));
    let mut unfinished = observed(PlanOutcome::Planned(planned()));
    unfinished.unfinished = Some(change_in("1", Phase::Applying));
    let unknown = ReconcileInput {
        slot: SlotState::Unknown,
        ..input(&unfinished)
    };
    assert_eq!(next_action(unknown), NextAction::Rest(RestState::SlotUnknown));
}

#[test]
fn busy_node_rests_without_a_slot() {
    let node = observed(PlanOutcome::Planned(PlannedChange {
        busy: Some("a pull".to_owned()),
        ..planned()
    }));
    assert_eq!(next_action(input(&node)), NextAction::Rest(RestState::Busy));
}

#[test]
fn rollback_ends_when_no_change_is_in_force() {
    let mut node = observed(PlanOutcome::Planned(planned()));
    node.in_force = Some(change_in("1", Phase::Settled));
    let rollback = ReconcileInput {
        mode: DesiredMode::Rollback,
        ..input(&node)
    };
    assert_eq!(next_action(rollback), NextAction::AcquireSlot);
    let original = observed(PlanOutcome::Planned(PlannedChange::default()));
    let rollback = ReconcileInput {
        mode: DesiredMode::Rollback,
        slot: SlotState::Held,
        ..input(&original)
    };
    assert_eq!(next_action(rollback), NextAction::ReleaseSlot);
    assert_eq!(
        next_action(ReconcileInput {
            slot: SlotState::NotHeld,
            ..rollback
        }),
        NextAction::Rest(RestState::RolledBack)
    );
}

fn drifted(repairable: bool) -> Vec<DriftedFile> {
    vec![DriftedFile {
        path: "/etc/containerd/certs.d/quay.io/hosts.toml".to_owned(),
        now: None,
        repairable,
    }]
}

#[test]
fn drifted_file_is_repaired_once_per_hour() {
    let mut node = observed(PlanOutcome::Planned(PlannedChange::default()));
    node.in_force = Some(change_in("1", Phase::Settled));
    node.drifted = drifted(true);
    let unknown = ReconcileInput {
        slot: SlotState::Unknown,
        may_restart: false,
        ..input(&node)
    };
    assert_eq!(
        next_action(unknown),
        NextAction::Repair,
        "a repair needs no restart and no slot"
    );
    for mode in [DesiredMode::Observe, DesiredMode::Rollback] {
        assert_ne!(next_action(ReconcileInput { mode, ..unknown }), NextAction::Repair);
    }
    let refused = ReconcileInput {
        attempt: &DECLINED,
        ..input(&node)
    };
    assert_eq!(
        next_action(refused),
        NextAction::Rest(RestState::Migrated),
        "a declined repair is not repeated in this cycle"
    );

    node.repaired_ago = Some(3599);
    assert_eq!(next_action(input(&node)), NextAction::Rest(RestState::Contested));
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..input(&node)
    };
    assert_eq!(next_action(held), NextAction::ReleaseSlot);
    // A plan that would only restore the file is not carried out either.
    node.plan = PlanOutcome::Planned(PlannedChange {
        restart: false,
        files: vec![node.drifted[0].path.clone()],
        ..planned()
    });
    assert_eq!(next_action(input(&node)), NextAction::Rest(RestState::Contested));
    // A plan with other files is carried out.
    node.plan = PlanOutcome::Planned(planned());
    assert_eq!(next_action(input(&node)), NextAction::AcquireSlot);
    node.repaired_ago = Some(3600);
    assert_eq!(next_action(input(&node)), NextAction::Repair);

    node.drifted = drifted(false);
    node.plan = PlanOutcome::Planned(PlannedChange::default());
    assert_eq!(
        next_action(input(&node)),
        NextAction::Rest(RestState::Migrated),
        "a file without a copy cannot be repaired"
    );
}

static ATTEMPTS: [&Attempt; 3] = [&Attempt::None, &FAILED, &DECLINED];

/// Every combination: no change without a slot and a rehearsal. A node whose change failed never releases its slot
/// while there is still something to do.
#[test]
fn every_input_has_a_safe_action() {
    let both = [false, true];
    let plans = || {
        let more = |change: fn(&mut PlannedChange)| {
            let mut plan = planned();
            change(&mut plan);
            PlanOutcome::Planned(plan)
        };
        [
            PlanOutcome::Planned(PlannedChange::default()),
            more(|_| {}),
            more(|plan| plan.restart = false),
            more(|plan| plan.busy = Some("x".to_owned())),
            more(|plan| plan.undone_before = Some("x".to_owned())),
            refused(),
        ]
    };
    let unfinished = [None, Some(Phase::Applying), Some(Phase::Stuck)];
    let mut observations = Vec::new();
    for plan in plans() {
        for phase in unfinished {
            for (under_way, serves) in both.into_iter().flat_map(|way| both.map(|serves| (way, serves))) {
                for in_force in both {
                    let mut node = observed(plan.clone());
                    node.unfinished = phase.map(|phase| change_in("2", phase));
                    node.under_way = under_way;
                    node.serves = serves;
                    node.in_force = in_force.then(|| change_in("1", Phase::Settled));
                    let drifts = [(Vec::new(), None), (drifted(true), None), (drifted(true), Some(5))];
                    observations.extend(drifts.map(|(drifted, repaired_ago)| NodeObservation {
                        drifted,
                        repaired_ago,
                        ..node.clone()
                    }));
                }
            }
        }
    }
    let mut count = 0;
    for node in &observations {
        for mode in [DesiredMode::Observe, DesiredMode::Migrate, DesiredMode::Rollback] {
            for slot in [SlotState::Unknown, SlotState::NotHeld, SlotState::Held] {
                for (bits, attempt) in (0..4).flat_map(|bits| ATTEMPTS.map(|attempt| (bits, attempt))) {
                    if attempt == &FAILED && slot != SlotState::Held {
                        continue;
                    }
                    let input = ReconcileInput {
                        mode,
                        may_restart: bits & 1 != 0,
                        observation: node,
                        rehearsed: bits & 2 != 0,
                        slot,
                        attempt,
                    };
                    let next = next_action(input);
                    count += 1;
                    let unfinished = node.unfinished.is_some();
                    match next {
                        NextAction::Change => {
                            assert!(slot == SlotState::Held && attempt == &Attempt::None, "{input:?}");
                            assert!(input.rehearsed || unfinished, "{input:?}");
                            assert!(mode != DesiredMode::Observe && !node.under_way, "{input:?}");
                        }
                        NextAction::ReleaseSlot => {
                            assert!(slot == SlotState::Held && node.serves && !unfinished, "{input:?}");
                            assert!(
                                attempt != &FAILED
                                    || matches!(&node.plan, PlanOutcome::Planned(plan) if plan.is_empty())
                                    || mode == DesiredMode::Rollback,
                                "{input:?}"
                            );
                        }
                        NextAction::Repair => {
                            assert!(mode == DesiredMode::Migrate && attempt == &Attempt::None, "{input:?}");
                            assert!(
                                node.repaired_ago.is_none() && !unfinished && !node.under_way,
                                "{input:?}"
                            );
                        }
                        NextAction::AcquireSlot => {
                            assert!(slot == SlotState::NotHeld && mode != DesiredMode::Observe, "{input:?}");
                        }
                        NextAction::Rehearse => assert!(!input.rehearsed && !unfinished, "{input:?}"),
                        NextAction::Follow => assert!(node.under_way),
                        NextAction::Rest(_) => assert!(!node.under_way),
                    }
                }
            }
        }
    }
    assert_eq!(count, observations.len() * 3 * (3 * 4 * 2 + 4));
}
