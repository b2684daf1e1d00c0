use super::*;
use crate::exit::Exit;
use crate::live::seen::{Drifted, Past, Refused};
use mirrorshift_plan::Digest;

fn past(id: &str, phase: Phase) -> Past {
    Past {
        id: id.to_owned(),
        phase,
        ended: None,
        note: None,
    }
}

fn seen(answer: Answer) -> Seen {
    Seen {
        containerd: Some("1.7.24".to_owned()),
        invocation: Some("a".to_owned()),
        ..Seen::serving(answer)
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

fn refused() -> Answer {
    Answer::Refused(Refused {
        exit: Exit::Refused,
        reason: "owned".to_owned(),
        message: "not ours".to_owned(),
        hint: None,
    })
}

/// A node that is to be migrated, was rehearsed and holds nothing.
fn facts(seen: &Seen) -> Facts<'_> {
    Facts {
        want: Want::Migrate,
        may_restart: true,
        seen,
        rehearsed: true,
        slot: Slot::Free,
        fate: Fate::Open,
    }
}

#[test]
fn a_migration_goes_step_by_step() {
    let node = seen(Answer::Do(planned()));
    let rehearsed = |rehearsed| Facts {
        rehearsed,
        ..facts(&node)
    };
    assert_eq!(decide(rehearsed(false)), Move::Rehearse);
    assert_eq!(
        decide(rehearsed(true)),
        Move::Ask,
        "a slot is asked for after the rehearsal"
    );
    let held = Facts {
        slot: Slot::Held,
        ..facts(&node)
    };
    assert_eq!(decide(held), Move::Change);

    let mut done = seen(Answer::Do(Planned::default()));
    done.in_force = Some(past("1", Phase::Settled));
    let held = Facts {
        slot: Slot::Held,
        ..facts(&done)
    };
    assert_eq!(decide(held), Move::GiveBack);
    assert_eq!(decide(facts(&done)), Move::Rest(State::Migrated));
    done.serves = false;
    let held = Facts {
        slot: Slot::Held,
        ..facts(&done)
    };
    assert_eq!(
        decide(held),
        Move::Rest(State::Migrated),
        "health is claimed, not assumed"
    );
}

#[test]
fn what_only_observes_changes_nothing() {
    let node = seen(Answer::Do(planned()));
    let observe = Facts {
        want: Want::Observe,
        ..facts(&node)
    };
    assert_eq!(decide(observe), Move::Rest(State::Planned));
    assert_eq!(
        decide(Facts {
            rehearsed: false,
            ..observe
        }),
        Move::Rehearse
    );
    let mut left = seen(Answer::Do(planned()));
    left.unfinished = Some(past("1", Phase::Applying));
    let left = Facts {
        want: Want::Observe,
        ..facts(&left)
    };
    assert_eq!(decide(left), Move::Rest(State::Unfinished));
}

#[test]
fn a_failure_keeps_the_slot_and_is_not_tried_again() {
    let mut node = seen(Answer::Do(planned()));
    node.last = Some(past("1", Phase::Undone));
    let failed = Facts {
        slot: Slot::Held,
        fate: Fate::Failed,
        ..facts(&node)
    };
    for want in [Want::Migrate, Want::Observe] {
        for may_restart in [true, false] {
            let next = decide(Facts {
                want,
                may_restart,
                ..failed
            });
            assert!(matches!(next, Move::Rest(_)), "{want:?}: {next:?}");
        }
    }
    assert_eq!(decide(failed), Move::Rest(State::Undone));
    let refused = seen(refused());
    let failed = Facts {
        slot: Slot::Held,
        fate: Fate::Failed,
        ..facts(&refused)
    };
    assert_eq!(decide(failed), Move::Rest(State::Refused));
    // And once a person has freed the slot it still is not tried again.
    let before = seen(Answer::Do(Planned {
        undone_before: Some("CRI is dead".to_owned()),
        ..planned()
    }));
    assert_eq!(decide(facts(&before)), Move::Rest(State::Undone));
}

#[test]
fn a_refusal_gives_the_slot_back() {
    let node = seen(refused());
    assert_eq!(decide(facts(&node)), Move::Rest(State::Refused));
    let held = Facts {
        slot: Slot::Held,
        ..facts(&node)
    };
    assert_eq!(decide(held), Move::GiveBack);
    let node = seen(Answer::Do(planned()));
    let held = Facts {
        slot: Slot::Held,
        fate: Fate::Declined,
        ..facts(&node)
    };
    assert_eq!(decide(held), Move::GiveBack);
    let after = Facts {
        fate: Fate::Declined,
        ..facts(&node)
    };
    assert_eq!(decide(after), Move::Rest(State::Refused));
}

#[test]
fn no_gate_means_no_change() {
    let node = seen(Answer::Do(planned()));
    let blind = Facts {
        slot: Slot::Unknown,
        ..facts(&node)
    };
    assert_eq!(decide(blind), Move::Rest(State::NoGate));
    let mut left = seen(Answer::Do(planned()));
    left.unfinished = Some(past("1", Phase::Applying));
    let blind = Facts {
        slot: Slot::Unknown,
        ..facts(&left)
    };
    assert_eq!(decide(blind), Move::Rest(State::NoGate));
}

#[test]
fn a_busy_node_does_not_stand_in_front_of_the_gate() {
    let node = seen(Answer::Do(Planned {
        busy: Some("a pull".to_owned()),
        ..planned()
    }));
    assert_eq!(decide(facts(&node)), Move::Rest(State::Busy));
}

#[test]
fn the_way_back_ends_with_nothing_in_force() {
    let mut node = seen(Answer::Do(planned()));
    node.in_force = Some(past("1", Phase::Settled));
    let back = Facts {
        want: Want::Rollback,
        ..facts(&node)
    };
    assert_eq!(decide(back), Move::Ask);
    let gone = seen(Answer::Do(Planned::default()));
    let back = Facts {
        want: Want::Rollback,
        slot: Slot::Held,
        ..facts(&gone)
    };
    assert_eq!(decide(back), Move::GiveBack);
    assert_eq!(
        decide(Facts {
            slot: Slot::Free,
            ..back
        }),
        Move::Rest(State::RolledBack)
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
    let mut node = seen(Answer::Do(Planned::default()));
    node.in_force = Some(past("1", Phase::Settled));
    node.drifted = drifted(true);
    let blind = Facts {
        slot: Slot::Unknown,
        may_restart: false,
        ..facts(&node)
    };
    assert_eq!(decide(blind), Move::Mend, "it takes no restart, so no slot");
    for want in [Want::Observe, Want::Rollback] {
        assert_ne!(decide(Facts { want, ..blind }), Move::Mend);
    }
    let refused = Facts {
        fate: Fate::Declined,
        ..facts(&node)
    };
    assert_eq!(decide(refused), Move::Rest(State::Migrated), "not again in this turn");

    node.mended_ago = Some(3599);
    assert_eq!(decide(facts(&node)), Move::Rest(State::Contested));
    let held = Facts {
        slot: Slot::Held,
        ..facts(&node)
    };
    assert_eq!(decide(held), Move::GiveBack);
    // Nor is it written by the policy's plan, through the gate.
    node.answer = Answer::Do(Planned {
        restart: false,
        files: vec![node.drifted[0].path.clone()],
        ..planned()
    });
    assert_eq!(decide(facts(&node)), Move::Rest(State::Contested));
    // What else there is to do is not held up by it.
    node.answer = Answer::Do(planned());
    assert_eq!(decide(facts(&node)), Move::Ask);
    node.mended_ago = Some(3600);
    assert_eq!(decide(facts(&node)), Move::Mend);

    node.drifted = drifted(false);
    node.answer = Answer::Do(Planned::default());
    assert_eq!(
        decide(facts(&node)),
        Move::Rest(State::Migrated),
        "no copy was kept of it"
    );
}

const FATES: [Fate; 3] = [Fate::Open, Fate::Failed, Fate::Declined];

/// Every combination: nothing is changed without a slot and a rehearsal, and a slot of a failed node is never given back while it
/// is to be migrated or observed.
#[test]
fn every_combination_is_safe() {
    let both = [false, true];
    let answers = || {
        let more = |change: fn(&mut Planned)| {
            let mut plan = planned();
            change(&mut plan);
            Answer::Do(plan)
        };
        [
            Answer::Do(Planned::default()),
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
                    seen_all.extend(fights.map(|(drifted, mended_ago)| Seen {
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
        for want in [Want::Observe, Want::Migrate, Want::Rollback] {
            for slot in [Slot::Unknown, Slot::Free, Slot::Held] {
                for (bits, fate) in (0..4).flat_map(|bits| FATES.map(|fate| (bits, fate))) {
                    if fate == Fate::Failed && slot != Slot::Held {
                        continue;
                    }
                    let facts = Facts {
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
                        Move::Change => {
                            assert!(slot == Slot::Held && fate == Fate::Open, "{facts:?}");
                            assert!(facts.rehearsed || unfinished, "{facts:?}");
                            assert!(want != Want::Observe && !node.under_way, "{facts:?}");
                        }
                        Move::GiveBack => {
                            assert!(slot == Slot::Held && node.serves && !unfinished, "{facts:?}");
                            assert!(
                                fate != Fate::Failed
                                    || matches!(&node.answer, Answer::Do(plan) if plan.is_empty())
                                    || want == Want::Rollback,
                                "{facts:?}"
                            );
                        }
                        Move::Mend => {
                            assert!(want == Want::Migrate && fate == Fate::Open, "{facts:?}");
                            assert!(node.mended_ago.is_none() && !unfinished && !node.under_way, "{facts:?}");
                        }
                        Move::Ask => assert!(slot == Slot::Free && want != Want::Observe, "{facts:?}"),
                        Move::Rehearse => assert!(!facts.rehearsed && !unfinished, "{facts:?}"),
                        Move::Follow => assert!(node.under_way),
                        Move::Rest(_) => assert!(!node.under_way),
                    }
                }
            }
        }
    }
    assert_eq!(counted, seen_all.len() * 3 * (3 * 4 * 2 + 4));
}
