use crate::exit::Exit;
use crate::observe::observation::{ChangeSummary, Drifted, Refused};
use crate::reconcile::decide::*;
use mirrorshift_plan::Digest;

fn past(id: &str, phase: Phase) -> ChangeSummary {
    ChangeSummary {
        id: id.to_owned(),
        phase,
        ended: None,
        note: None,
    }
}

fn seen(answer: PlanOutcome) -> NodeObservation {
    NodeObservation {
        containerd: Some("1.7.24".to_owned()),
        invocation: Some("a".to_owned()),
        ..NodeObservation::serving(answer)
    }
}

fn planned() -> Planned {
    Planned {
        digest: Some(Digest::of(b"plan")),
        restart: true,
        files: vec!["/etc/containerd/config.toml".to_owned()],
        ..Planned::default()
    }
}

fn refused() -> PlanOutcome {
    PlanOutcome::Refused(Refused {
        exit: Exit::Refused,
        reason: "owned".to_owned(),
        message: "not ours".to_owned(),
        hint: None,
    })
}

/// A node that is to be migrated, was rehearsed and holds nothing.
fn facts(seen: &NodeObservation) -> ReconcileInput<'_> {
    ReconcileInput {
        want: DesiredMode::Migrate,
        may_restart: true,
        seen,
        rehearsed: true,
        slot: SlotState::Free,
        fate: LastAttempt::Open,
    }
}

#[test]
fn a_migration_goes_step_by_step() {
    let node = seen(PlanOutcome::Planned(planned()));
    let rehearsed = |rehearsed| ReconcileInput {
        rehearsed,
        ..facts(&node)
    };
    assert_eq!(decide(rehearsed(false)), NextAction::Rehearse);
    assert_eq!(
        decide(rehearsed(true)),
        NextAction::Ask,
        "a slot is asked for after the rehearsal"
    );
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..facts(&node)
    };
    assert_eq!(decide(held), NextAction::Change);

    let mut done = seen(PlanOutcome::Planned(Planned::default()));
    done.in_force = Some(past("1", Phase::Settled));
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..facts(&done)
    };
    assert_eq!(decide(held), NextAction::GiveBack);
    assert_eq!(decide(facts(&done)), NextAction::Rest(RestState::Migrated));
    done.serves = false;
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..facts(&done)
    };
    assert_eq!(
        decide(held),
        NextAction::Rest(RestState::Migrated),
        "health is claimed, not assumed"
    );
}

#[test]
fn what_only_observes_changes_nothing() {
    let node = seen(PlanOutcome::Planned(planned()));
    let observe = ReconcileInput {
        want: DesiredMode::Observe,
        ..facts(&node)
    };
    assert_eq!(decide(observe), NextAction::Rest(RestState::Planned));
    assert_eq!(
        decide(ReconcileInput {
            rehearsed: false,
            ..observe
        }),
        NextAction::Rehearse
    );
    let mut left = seen(PlanOutcome::Planned(planned()));
    left.unfinished = Some(past("1", Phase::Applying));
    let left = ReconcileInput {
        want: DesiredMode::Observe,
        ..facts(&left)
    };
    assert_eq!(decide(left), NextAction::Rest(RestState::Unfinished));
}

#[test]
fn a_failure_keeps_the_slot_and_is_not_tried_again() {
    let mut node = seen(PlanOutcome::Planned(planned()));
    node.last = Some(past("1", Phase::Undone));
    let failed = ReconcileInput {
        slot: SlotState::Held,
        fate: LastAttempt::Failed,
        ..facts(&node)
    };
    for want in [DesiredMode::Migrate, DesiredMode::Observe] {
        for may_restart in [true, false] {
            let next = decide(ReconcileInput {
                want,
                may_restart,
                ..failed
            });
            assert!(matches!(next, NextAction::Rest(_)), "{want:?}: {next:?}");
        }
    }
    assert_eq!(decide(failed), NextAction::Rest(RestState::Undone));
    let refused = seen(refused());
    let failed = ReconcileInput {
        slot: SlotState::Held,
        fate: LastAttempt::Failed,
        ..facts(&refused)
    };
    assert_eq!(decide(failed), NextAction::Rest(RestState::Refused));
    // And once a person has freed the slot it still is not tried again.
    let before = seen(PlanOutcome::Planned(Planned {
        undone_before: Some("CRI is dead".to_owned()),
        ..planned()
    }));
    assert_eq!(decide(facts(&before)), NextAction::Rest(RestState::Undone));
}

#[test]
fn a_refusal_gives_the_slot_back() {
    let node = seen(refused());
    assert_eq!(decide(facts(&node)), NextAction::Rest(RestState::Refused));
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..facts(&node)
    };
    assert_eq!(decide(held), NextAction::GiveBack);
    let node = seen(PlanOutcome::Planned(planned()));
    let held = ReconcileInput {
        slot: SlotState::Held,
        fate: LastAttempt::Declined,
        ..facts(&node)
    };
    assert_eq!(decide(held), NextAction::GiveBack);
    let after = ReconcileInput {
        fate: LastAttempt::Declined,
        ..facts(&node)
    };
    assert_eq!(decide(after), NextAction::Rest(RestState::Refused));
}

#[test]
fn no_gate_means_no_change() {
    let node = seen(PlanOutcome::Planned(planned()));
    let blind = ReconcileInput {
        slot: SlotState::Unknown,
        ..facts(&node)
    };
    assert_eq!(decide(blind), NextAction::Rest(RestState::NoGate));
    let mut left = seen(PlanOutcome::Planned(planned()));
    left.unfinished = Some(past("1", Phase::Applying));
    let blind = ReconcileInput {
        slot: SlotState::Unknown,
        ..facts(&left)
    };
    assert_eq!(decide(blind), NextAction::Rest(RestState::NoGate));
}

#[test]
fn a_busy_node_does_not_stand_in_front_of_the_gate() {
    let node = seen(PlanOutcome::Planned(Planned {
        busy: Some("a pull".to_owned()),
        ..planned()
    }));
    assert_eq!(decide(facts(&node)), NextAction::Rest(RestState::Busy));
}

#[test]
fn the_way_back_ends_with_nothing_in_force() {
    let mut node = seen(PlanOutcome::Planned(planned()));
    node.in_force = Some(past("1", Phase::Settled));
    let back = ReconcileInput {
        want: DesiredMode::Rollback,
        ..facts(&node)
    };
    assert_eq!(decide(back), NextAction::Ask);
    let gone = seen(PlanOutcome::Planned(Planned::default()));
    let back = ReconcileInput {
        want: DesiredMode::Rollback,
        slot: SlotState::Held,
        ..facts(&gone)
    };
    assert_eq!(decide(back), NextAction::GiveBack);
    assert_eq!(
        decide(ReconcileInput {
            slot: SlotState::Free,
            ..back
        }),
        NextAction::Rest(RestState::RolledBack)
    );
}

fn drifted(mendable: bool) -> Vec<Drifted> {
    vec![Drifted {
        path: "/etc/containerd/certs.d/quay.io/hosts.toml".to_owned(),
        now: None,
        mendable,
    }]
}

#[test]
fn what_somebody_wrote_over_is_put_back_once_an_hour() {
    let mut node = seen(PlanOutcome::Planned(Planned::default()));
    node.in_force = Some(past("1", Phase::Settled));
    node.drifted = drifted(true);
    let blind = ReconcileInput {
        slot: SlotState::Unknown,
        may_restart: false,
        ..facts(&node)
    };
    assert_eq!(decide(blind), NextAction::Mend, "it takes no restart, so no slot");
    for want in [DesiredMode::Observe, DesiredMode::Rollback] {
        assert_ne!(decide(ReconcileInput { want, ..blind }), NextAction::Mend);
    }
    let refused = ReconcileInput {
        fate: LastAttempt::Declined,
        ..facts(&node)
    };
    assert_eq!(
        decide(refused),
        NextAction::Rest(RestState::Migrated),
        "not again in this turn"
    );

    node.mended_ago = Some(3599);
    assert_eq!(decide(facts(&node)), NextAction::Rest(RestState::Contested));
    let held = ReconcileInput {
        slot: SlotState::Held,
        ..facts(&node)
    };
    assert_eq!(decide(held), NextAction::GiveBack);
    // Nor is it written by the policy's plan, through the gate.
    node.answer = PlanOutcome::Planned(Planned {
        restart: false,
        files: vec![node.drifted[0].path.clone()],
        ..planned()
    });
    assert_eq!(decide(facts(&node)), NextAction::Rest(RestState::Contested));
    // What else there is to do is not held up by it.
    node.answer = PlanOutcome::Planned(planned());
    assert_eq!(decide(facts(&node)), NextAction::Ask);
    node.mended_ago = Some(3600);
    assert_eq!(decide(facts(&node)), NextAction::Mend);

    node.drifted = drifted(false);
    node.answer = PlanOutcome::Planned(Planned::default());
    assert_eq!(
        decide(facts(&node)),
        NextAction::Rest(RestState::Migrated),
        "no copy was kept of it"
    );
}

const FATES: [LastAttempt; 3] = [LastAttempt::Open, LastAttempt::Failed, LastAttempt::Declined];

/// Every combination: nothing is changed without a slot and a rehearsal, and a slot of a failed node is never given back while it
/// is to be migrated or observed.
#[test]
fn every_combination_is_safe() {
    let both = [false, true];
    let answers = || {
        let more = |change: fn(&mut Planned)| {
            let mut plan = planned();
            change(&mut plan);
            PlanOutcome::Planned(plan)
        };
        [
            PlanOutcome::Planned(Planned::default()),
            more(|_| {}),
            more(|plan| plan.restart = false),
            more(|plan| plan.busy = Some("x".to_owned())),
            more(|plan| plan.undone_before = Some("x".to_owned())),
            refused(),
        ]
    };
    let unfinished = [None, Some(Phase::Applying), Some(Phase::Stuck)];
    let mut seen_all = Vec::new();
    for answer in answers() {
        for phase in unfinished {
            for (under_way, serves) in both.into_iter().flat_map(|way| both.map(|serves| (way, serves))) {
                for in_force in both {
                    let mut node = seen(answer.clone());
                    node.unfinished = phase.map(|phase| past("2", phase));
                    node.under_way = under_way;
                    node.serves = serves;
                    node.in_force = in_force.then(|| past("1", Phase::Settled));
                    let fights = [(Vec::new(), None), (drifted(true), None), (drifted(true), Some(5))];
                    seen_all.extend(fights.map(|(drifted, mended_ago)| NodeObservation {
                        drifted,
                        mended_ago,
                        ..node.clone()
                    }));
                }
            }
        }
    }
    let mut counted = 0;
    for node in &seen_all {
        for want in [DesiredMode::Observe, DesiredMode::Migrate, DesiredMode::Rollback] {
            for slot in [SlotState::Unknown, SlotState::Free, SlotState::Held] {
                for (bits, fate) in (0..4).flat_map(|bits| FATES.map(|fate| (bits, fate))) {
                    if fate == LastAttempt::Failed && slot != SlotState::Held {
                        continue;
                    }
                    let facts = ReconcileInput {
                        want,
                        may_restart: bits & 1 != 0,
                        seen: node,
                        rehearsed: bits & 2 != 0,
                        slot,
                        fate,
                    };
                    let next = decide(facts);
                    counted += 1;
                    let unfinished = node.unfinished.is_some();
                    match next {
                        NextAction::Change => {
                            assert!(slot == SlotState::Held && fate == LastAttempt::Open, "{facts:?}");
                            assert!(facts.rehearsed || unfinished, "{facts:?}");
                            assert!(want != DesiredMode::Observe && !node.under_way, "{facts:?}");
                        }
                        NextAction::GiveBack => {
                            assert!(slot == SlotState::Held && node.serves && !unfinished, "{facts:?}");
                            assert!(
                                fate != LastAttempt::Failed
                                    || matches!(&node.answer, PlanOutcome::Planned(plan) if plan.is_empty())
                                    || want == DesiredMode::Rollback,
                                "{facts:?}"
                            );
                        }
                        NextAction::Mend => {
                            assert!(want == DesiredMode::Migrate && fate == LastAttempt::Open, "{facts:?}");
                            assert!(node.mended_ago.is_none() && !unfinished && !node.under_way, "{facts:?}");
                        }
                        NextAction::Ask => {
                            assert!(slot == SlotState::Free && want != DesiredMode::Observe, "{facts:?}");
                        }
                        NextAction::Rehearse => assert!(!facts.rehearsed && !unfinished, "{facts:?}"),
                        NextAction::Follow => assert!(node.under_way),
                        NextAction::Rest(_) => assert!(!node.under_way),
                    }
                }
            }
        }
    }
    assert_eq!(counted, seen_all.len() * 3 * (3 * 4 * 2 + 4));
}
