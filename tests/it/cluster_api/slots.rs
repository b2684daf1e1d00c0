//! Slots at a real API server.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use jiff::Timestamp;
use libtest_mimic::Failed;
use mirrorshift_tests::Ran;
use mirrorshift_tests::lab::ControlPlanes;
use serde_json::Value;
use tokio::time::timeout;

use crate::world::{Agent, NAMESPACE, World, counts, until};
use mirrorshift_tests::cluster::error::{ApiErrorKind, Error};
use mirrorshift_tests::cluster::slots::{AcquireOutcome, FREE, HeldSlot, PHASE, REASON, SlotNote, SlotPool};

const SOON: Duration = Duration::from_secs(30);

fn slot_note(phase: &str) -> SlotNote {
    SlotNote {
        phase: phase.to_owned(),
        reason: format!("The node is {phase}."),
    }
}

async fn take(gate: &mut SlotPool, slots: u16) -> Result<AcquireOutcome, Error> {
    gate.acquire(slots, &slot_note("changing"), Timestamp::now()).await
}

async fn taken(gate: &mut SlotPool, slots: u16) -> HeldSlot {
    match take(gate, slots).await {
        Ok(AcquireOutcome::New(slot)) => slot,
        other => panic!("no new slot: {other:?}"),
    }
}

fn slot(world: &World, name: &str) -> Result<Value, Failed> {
    Ok(world.get(&["lease", "-n", NAMESPACE, name])?)
}

pub(crate) fn slot_is_acquired_and_released(planes: &ControlPlanes) -> Result<(), Failed> {
    let world = World::new(planes)?;
    let (one, two) = (world.agent("n1")?, world.agent("n2")?);
    let mark = world.plane.audit().mark()?;
    world.run(async || {
        let (mut first, mut second) = (one.gate(), two.gate());
        let held = taken(&mut first, 1).await;
        assert_eq!(held.name(), "slot-0");
        let Ok(AcquireOutcome::Full(holders)) = take(&mut second, 1).await else {
            panic!("two agents hold the slot")
        };
        assert_eq!(
            (holders[0].node.as_str(), holders[0].phase.as_str()),
            ("n1", "changing")
        );
        // A restarted agent finds its slot.
        let mut again = one.gate();
        assert_eq!(again.current_slot().await.expect("an answer").as_ref(), Some(&held));
        assert!(matches!(take(&mut again, 1).await, Ok(AcquireOutcome::Held(slot)) if slot == held));
        assert_eq!(second.current_slot().await.expect("an answer"), None);
        // A slot with a larger number counts against a smaller limit too.
        let third = taken(&mut second, 2).await;
        assert_eq!(third.name(), "slot-1");
        first.release(held).await.expect("the slot is released");
        assert!(matches!(take(&mut first, 1).await, Ok(AcquireOutcome::Full(_))));
        second.release(third).await.expect("the slot is released");

        // A waiting agent learns of a free slot by its watch, without further requests.
        let held = taken(&mut first, 1).await;
        let waits = async {
            timeout(SOON, second.wait(1))
                .await
                .expect("a free slot")
                .expect("a watch");
            let at = Instant::now();
            (taken(&mut second, 1).await, at)
        };
        let gives = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let at = Instant::now();
            first.release(held).await.expect("the slot is released");
            at
        };
        let ((held, tried), freed) = join(waits, gives).await;
        assert!(tried - freed < Duration::from_secs(5), "{:?}", tried - freed);
        report(&format!(
            "a slot changed hands in {:.2} s",
            (tried - freed).as_secs_f32()
        ));

        second.annotate(&held, &slot_note("Undone")).await.expect("told");
        let lease = slot(&world, "slot-0").expect("the lease");
        let said = &lease["metadata"]["annotations"];
        assert_eq!(
            (&said[PHASE], &said[REASON]),
            (&"Undone".into(), &"The node is Undone.".into())
        );
        // The documented command frees the slot. After that it must not be changed or released by its former holder.
        let command = said[FREE].as_str().expect("a command");
        assert_eq!(command, "kubectl -n mirrorshift-system delete lease slot-0");
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        world.plane.kubectl(&words).and_then(Ran::ok).expect("freed");
        assert_eq!(
            second
                .annotate(&held, &slot_note("Undone"))
                .await
                .map_err(|error| error.kind),
            Err(ApiErrorKind::Absent)
        );
        let other = taken(&mut first, 1).await;
        assert_eq!(
            second
                .annotate(&held, &slot_note("Undone"))
                .await
                .map_err(|error| error.kind),
            Err(ApiErrorKind::Conflict)
        );
        second.release(held).await.expect("there is no slot to release");
        assert_eq!(first.current_slot().await.expect("an answer"), Some(other));
    })?;
    // Neither the holder's identity nor a clock ever frees a slot.
    let lease = slot(&world, "slot-0")?;
    assert_eq!(lease["spec"]["holderIdentity"], "n1");
    assert!(lease["spec"].get("leaseDurationSeconds").is_none());
    let asked = world.asked(mark)?;
    let few = counts([
        ("get nodes", 6),
        ("create leases", 5),
        ("delete leases", 4),
        ("watch leases", 1),
    ]);
    for (what, count) in few {
        assert!(asked.get(&what).is_some_and(|asked| *asked <= count), "{asked:?}");
    }
    assert!(
        !asked.contains_key("list nodes") && !asked.contains_key("list pods"),
        "{asked:?}"
    );
    Ok(())
}

pub(crate) fn three_of_twenty_agents_get_a_slot(planes: &ControlPlanes) -> Result<(), Failed> {
    const SLOTS: u16 = 3;
    const ROUNDS: usize = 10;
    let world = World::new(planes)?;
    let agents: Vec<Agent> = (0..20)
        .map(|number| world.agent(&format!("n{number}")))
        .collect::<Result<_, _>>()?;
    let mark = world.plane.audit().mark()?;
    let mut made_by_word = 0;
    world.run(async || {
        let mut gates: Vec<SlotPool> = agents.iter().map(Agent::gate).collect();
        for _ in 0..ROUNDS {
            let outcomes = join_all(gates.iter_mut().map(|gate| take(gate, SLOTS))).await;
            let mut slots = Vec::new();
            for (number, outcome) in outcomes.into_iter().enumerate() {
                match outcome {
                    Ok(AcquireOutcome::New(slot)) => slots.push((number, slot)),
                    Ok(AcquireOutcome::Full(holders)) => assert!(!holders.is_empty()),
                    other => panic!("{other:?}"),
                }
            }
            let mut names: Vec<&str> = slots.iter().map(|(_, slot)| slot.name()).collect();
            names.sort_unstable();
            // No agent tries a second slot, so a slot that no agent tried is free.
            assert!(!names.is_empty(), "no agent holds a slot");
            assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
            made_by_word += names.len();
            for (number, slot) in slots {
                gates[number].release(slot).await.expect("the slot is released");
            }
        }
    })?;
    // According to the audit log, never more than three slots exist at the same time.
    let (mut held, mut most, mut made, mut tried) = (0_i32, 0, 0, 0);
    for event in world.plane.audit().since(mark)? {
        if event.object_ref.resource == "leases" && event.object_ref.namespace == NAMESPACE {
            tried += usize::from(event.verb == "create" && event.code().is_some());
            match (event.verb.as_str(), event.code()) {
                ("create", Some(201)) => (held, made) = (held + 1, made + 1),
                ("delete", Some(200)) => held -= 1,
                _ => {}
            }
            most = most.max(held);
        }
    }
    assert!(most <= i32::from(SLOTS), "{most} at the same time");
    assert_eq!(made, made_by_word);
    assert!(tried <= agents.len() * ROUNDS, "{tried} tries");
    Ok(())
}

pub(crate) fn slot_is_deleted_only_with_its_node(planes: &ControlPlanes) -> Result<(), Failed> {
    let world = World::new(planes)?;
    let (one, two) = (world.agent("n1")?, world.agent("n2")?);
    world.run(async || taken(&mut one.gate(), 1).await)?;
    world.plane.kubectl(&["delete", "node", "n1"])?.ok()?;
    until("the slot outlives its Node", || {
        world.absent(&["lease", "-n", NAMESPACE, "slot-0"])
    })?;
    let held = world.run(async || taken(&mut two.gate(), 1).await)?;

    // A Node that is created again under the same name is another Node. The old token must not acquire a slot in its
    // name, because the garbage collector would delete that slot during a change.
    world.run(async || two.gate().release(held).await)??;
    world.node("n1")?;
    let refused = world.run(async || take(&mut one.gate(), 1).await)?;
    assert_eq!(refused.map_err(|error| error.kind), Err(ApiErrorKind::OtherNode));
    assert!(world.absent(&["lease", "-n", NAMESPACE, "slot-0"])?);
    let again = world.agent("n1")?;
    world.run(async || taken(&mut again.gate(), 1).await)?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
fn report(text: &str) {
    eprintln!("{text}");
}
