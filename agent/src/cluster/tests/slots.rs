//! Slots.

use crate::cluster::error::ApiErrorKind;
use crate::cluster::slots::{AcquireOutcome, FREE, HeldSlot, PHASE, REASON, SlotNote, SlotPool, WaitOutcome};
use crate::cluster::tests::{FOREVER, FakeResponse, Log, Then, asked, cluster, event, owner, owner_reference, status};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";

fn gate(answers: Vec<FakeResponse>) -> (SlotPool, Log) {
    let (cluster, log) = cluster(answers);
    (SlotPool::new(cluster, "ns", owner()), log)
}

fn lease(name: &str, node: &str, uid: &str) -> Value {
    let mut reference = owner_reference();
    reference["name"] = json!(node);
    reference["uid"] = json!(uid);
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "uid": format!("uid-of-{name}"), "resourceVersion": "9", "ownerReferences": [reference],
            "annotations": { PHASE: "Changing", REASON: "It failed.", FREE: "rm -rf /" },
        },
        "spec": { "holderIdentity": node },
    })
}

fn list(items: &[Value]) -> FakeResponse {
    FakeResponse::Json(
        200,
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList",
            "metadata": { "resourceVersion": "9" }, "items": items,
        }),
    )
}

fn node(uid: &str) -> FakeResponse {
    FakeResponse::Json(
        200,
        json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": { "name": "n1", "uid": uid },
        }),
    )
}

fn why() -> SlotNote {
    SlotNote {
        phase: "Changing".into(),
        reason: "Plan 12ab is being carried out.".into(),
    }
}

async fn take(gate: &mut SlotPool, slots: u16) -> Result<AcquireOutcome, ApiErrorKind> {
    gate.acquire(slots, &why(), Timestamp::UNIX_EPOCH)
        .await
        .map_err(|error| error.kind)
}

fn name(taken: &AcquireOutcome) -> &str {
    match taken {
        AcquireOutcome::New(slot) | AcquireOutcome::Held(slot) => slot.name(),
        AcquireOutcome::Full(_) => "full",
    }
}

#[tokio::test(start_paused = true)]
async fn a_free_slot_is_taken_with_all_that_a_person_wants_to_know() {
    let (mut gate, log) = gate(vec![
        list(&[lease("slot-0", "n2", "u2"), lease("leader", "n3", "u3")]),
        node("u1"),
        FakeResponse::Json(201, lease("slot-1", "n1", "u1")),
    ]);
    let taken = take(&mut gate, 2).await.unwrap();
    assert!(
        matches!(&taken, AcquireOutcome::New(slot) if slot.name() == "slot-1"),
        "{taken:?}"
    );
    assert_eq!(
        asked(&log),
        [
            format!("GET {LEASES}"),
            "GET /api/v1/nodes/n1".into(),
            format!("POST {LEASES}")
        ]
    );
    let heard = log.lock().unwrap();
    // As it is now, and not as some server remembers it.
    assert!(!heard[0].query.contains("resourceVersion"), "{}", heard[0].query);
    assert_eq!(
        heard[2].body["metadata"]["annotations"],
        json!({
            PHASE: "Changing", REASON: "Plan 12ab is being carried out.",
            FREE: "kubectl -n ns delete lease slot-1",
        })
    );
    assert_eq!(heard[2].body["metadata"]["ownerReferences"], json!([owner_reference()]));
    assert_eq!(heard[2].body["spec"]["holderIdentity"], "n1");
    assert_eq!(heard[2].body["spec"]["acquireTime"], "1970-01-01T00:00:00.000000Z");
    // Whatever says that it holds for a time would be taken away in the end by something that believes it.
    assert!(heard[2].body["spec"].get("leaseDurationSeconds").is_none());
}

#[tokio::test(start_paused = true)]
async fn full_is_full_and_says_by_whom() {
    for held in [1, 3] {
        let names: Vec<_> = (0..held)
            .map(|number| lease(&format!("slot-{}", number + 2), "n2", "u2"))
            .collect();
        // Slots that a larger number allowed count as well.
        let (mut gate, log) = gate(vec![list(&names)]);
        let Ok(AcquireOutcome::Full(holders)) = take(&mut gate, 1).await else {
            panic!("taken")
        };
        assert_eq!(asked(&log).len(), 1);
        assert_eq!(holders.len(), held);
        assert_eq!((holders[0].slot.as_str(), holders[0].node.as_str()), ("slot-2", "n2"));
        assert_eq!(
            (holders[0].phase.as_str(), holders[0].reason.as_str()),
            ("Changing", "It failed.")
        );
        assert_eq!(holders[0].free, "kubectl -n ns delete lease slot-2");
    }
    let (mut gate, _) = gate(vec![list(&[]), list(&[])]);
    assert_eq!(take(&mut gate, 0).await, Ok(AcquireOutcome::Full(vec![])));
}

#[tokio::test(start_paused = true)]
async fn who_comes_second_waits_and_tries_no_other() {
    let (mut gate, log) = gate(vec![
        list(&[]),
        node("u1"),
        status(409, "AlreadyExists"),
        list(&[lease("slot-0", "n2", "u2")]),
    ]);
    let Ok(AcquireOutcome::Full(holders)) = take(&mut gate, 2).await else {
        panic!("taken")
    };
    assert_eq!(holders.len(), 1);
    assert_eq!(asked(&log).iter().filter(|call| call.starts_with("POST")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_free_slot_is_tried_at_some_time() {
    let lost = || {
        [
            list(&[lease("slot-1", "n2", "u2")]),
            node("u1"),
            status(409, "AlreadyExists"),
            list(&[]),
        ]
    };
    let (mut gate, log) = gate((0..50).flat_map(|_| lost()).collect());
    for _ in 0..50 {
        assert_eq!(take(&mut gate, 4).await, Ok(AcquireOutcome::Full(vec![])));
    }
    let heard = log.lock().unwrap();
    let tried = heard.iter().filter_map(|call| call.body["metadata"]["name"].as_str());
    let tried: BTreeSet<&str> = tried.collect();
    assert_eq!(tried, BTreeSet::from(["slot-0", "slot-2", "slot-3"]));
}

#[tokio::test(start_paused = true)]
async fn any_error_is_a_no() {
    for answers in [
        vec![status(403, "Forbidden")],
        vec![list(&[]), status(403, "Forbidden")],
        vec![list(&[]), node("u1"), status(403, "Forbidden")],
        vec![list(&[]), node("u1"), status(500, "InternalError")],
        vec![list(&[]), node("u1"), FakeResponse::Silence],
        vec![list(&[]), node("u1"), FakeResponse::Broken],
    ] {
        let asks = answers.len();
        let (mut gate, log) = gate(answers);
        let outcome = timeout(FOREVER, take(&mut gate, 1)).await.expect("an end");
        assert!(outcome.is_err());
        // A slot whose answer was lost is not taken twice.
        assert_eq!(asked(&log).len(), asks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_made_again_takes_nothing_in_the_name_of_the_old() {
    let (mut gate, log) = gate(vec![list(&[lease("slot-0", "n1", "u0")]), node("u2")]);
    assert_eq!(take(&mut gate, 2).await, Err(ApiErrorKind::OtherNode));
    assert_eq!(asked(&log).len(), 2);
    let (mut gate, _) = crate::cluster::tests::slots::gate(vec![list(&[]), status(404, "NotFound")]);
    assert_eq!(take(&mut gate, 2).await, Err(ApiErrorKind::OtherNode));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_found_again_and_one_is_enough() {
    let own = [
        lease("slot-1", "n1", "u1"),
        lease("slot-0", "n2", "u2"),
        lease("slot-2", "n1", "u1"),
    ];
    let (mut gate, log) = gate(vec![
        list(&own),
        FakeResponse::Json(200, json!({ "kind": "Status", "status": "Success" })),
    ]);
    let taken = take(&mut gate, 1).await.unwrap();
    assert!(
        matches!(&taken, AcquireOutcome::Held(slot) if slot.name() == "slot-1"),
        "{taken:?}"
    );
    assert_eq!(asked(&log)[1], format!("DELETE {LEASES}/slot-2"));
    let (gate, _) = crate::cluster::tests::slots::gate(vec![list(&own[1..2])]);
    assert_eq!(gate.current_slot().await.unwrap(), None);
}

async fn held() -> (SlotPool, Log, HeldSlot) {
    let (mut gate, log) = gate(vec![list(&[lease("slot-0", "n1", "u1")])]);
    let Ok(AcquireOutcome::Held(slot)) = take(&mut gate, 1).await else {
        panic!("not held")
    };
    (gate, log, slot)
}

/// A server that puts everybody off for a minute is asked all the same by whom others wait for, and by nobody else.
#[tokio::test(start_paused = true)]
async fn whoever_holds_a_slot_asks_at_once() {
    let put_off = || FakeResponse::Later(429, "60");
    let (mut gate, log) = gate(vec![
        list(&[]),
        node("u1"),
        FakeResponse::Json(201, lease("slot-0", "n1", "u1")),
        put_off(),
        put_off(),
        put_off(),
        put_off(),
        FakeResponse::Json(200, lease("slot-0", "n1", "u1")),
    ]);
    let Ok(AcquireOutcome::New(slot)) = take(&mut gate, 1).await else {
        panic!("not taken")
    };
    for _ in 0..4 {
        let told = gate.annotate(&slot, &why()).await;
        assert!(matches!(told.unwrap_err().kind, ApiErrorKind::Busy(_)));
    }
    gate.release(slot).await.unwrap();
    assert_eq!(asked(&log).len(), 8);
    assert_eq!(gate.current_slot().await.unwrap_err().kind, ApiErrorKind::Paused);
    assert_eq!(asked(&log).len(), 8);
}

#[tokio::test(start_paused = true)]
async fn given_back_is_this_lease_and_no_other() {
    let success = || FakeResponse::Json(200, json!({ "kind": "Status", "status": "Success" }));
    for (answer, good) in [
        (success(), true),
        (status(404, "NotFound"), true),
        (status(409, "Conflict"), true),
        (status(403, "Forbidden"), false),
    ] {
        let (_, _, slot) = held().await;
        let (gate, log) = gate(vec![answer]);
        assert_eq!(gate.release(slot).await.is_ok(), good);
        assert_eq!(
            log.lock().unwrap()[0].body["preconditions"],
            json!({ "uid": "uid-of-slot-0" })
        );
    }
}

#[tokio::test(start_paused = true)]
async fn told_at_this_lease_and_no_other() {
    let (_, _, slot) = held().await;
    let (gate, log) = gate(vec![
        FakeResponse::Json(
            200,
            json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {} }),
        ),
        status(409, "Conflict"),
        status(422, "Invalid"),
    ]);
    gate.annotate(&slot, &why()).await.unwrap();
    let body = log.lock().unwrap()[0].body.clone();
    assert_eq!(body["metadata"]["uid"], "uid-of-slot-0");
    assert_eq!(body["metadata"]["annotations"][PHASE], "Changing");
    for _ in 0..2 {
        assert_eq!(
            gate.annotate(&slot, &why()).await.unwrap_err().kind,
            ApiErrorKind::Conflict
        );
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_until_a_slot_is_free() {
    let (mut gate, log) = gate(vec![
        list(&[lease("slot-0", "n2", "u2")]),
        FakeResponse::Watch(
            vec![
                event("ADDED", &lease("leader", "n3", "u3")),
                event("DELETED", &lease("leader", "n3", "u3")),
                event("DELETED", &lease("slot-0", "n2", "u2")),
            ],
            Then::Goes,
        ),
    ]);
    let begun = Instant::now();
    timeout(FOREVER, gate.wait(1)).await.expect("a slot").unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(asked(&log).len(), 2);
    // Still free: the next turn comes after another while, and without a question.
    timeout(FOREVER, gate.wait(1)).await.expect("a slot").unwrap();
    assert_eq!(asked(&log).len(), 2);
    gate.stop_watching();
}

#[tokio::test(start_paused = true)]
async fn who_waits_learns_once_that_the_fleet_stands_still() {
    let changing = lease("slot-0", "n2", "u2");
    let mut failed = changing.clone();
    failed["metadata"]["annotations"][PHASE] = json!("Undone");
    let mut told = failed.clone();
    told["metadata"]["annotations"][REASON] = json!("It failed for another reason.");
    let (mut gate, _log) = gate(vec![
        list(&[changing]),
        FakeResponse::Watch(
            vec![
                event("MODIFIED", &failed),
                event("MODIFIED", &told),
                event("DELETED", &told),
            ],
            Then::Goes,
        ),
    ]);
    let said = timeout(FOREVER, gate.wait(1)).await.expect("an end").unwrap();
    let WaitOutcome::Failed(holders) = said else {
        panic!("{said:?}");
    };
    assert_eq!(holders.len(), 1);
    assert!(holders[0].failed() && holders[0].node == "n2");
    // The same failure is no news, and a slot that is freed is.
    let free = timeout(FOREVER, gate.wait(1)).await.expect("a slot").unwrap();
    assert_eq!(free, WaitOutcome::Free);
}

#[tokio::test(start_paused = true)]
async fn who_is_beaten_to_it_goes_on_waiting_and_tries_later() {
    // Freed and taken by others in the same moment, ten times; never its turn.
    let rounds = (0..10).flat_map(|_| {
        let held = lease("slot-0", "n2", "u2");
        [event("DELETED", &held), event("ADDED", &held)]
    });
    let (mut gate, log) = gate(vec![
        list(&[lease("slot-0", "n2", "u2")]),
        FakeResponse::Watch(rounds.collect(), Then::Goes),
    ]);
    assert!(timeout(Duration::from_secs(200), gate.wait(1)).await.is_err());
    assert_eq!(asked(&log).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_thousands_few_try_and_a_handful_does_not_wait_long() {
    let mut waits = Vec::new();
    for _ in 0..200 {
        let (mut gate, _) = gate(vec![list(&[]), FakeResponse::Watch(vec![], Then::Goes)]);
        let begun = Instant::now();
        timeout(FOREVER, gate.wait(1)).await.expect("a slot").unwrap();
        waits.push(begun.elapsed());
    }
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)));
    // One that has lost again and again spreads its tries over a minute.
    let lost = (0..7).flat_map(|_| [list(&[]), node("u1"), status(409, "AlreadyExists"), list(&[])]);
    let (mut gate, _) = gate(
        lost.chain((0..9).map(|_| FakeResponse::Watch(vec![], Then::Goes)))
            .collect(),
    );
    for _ in 0..7 {
        assert_eq!(name(&take(&mut gate, 1).await.unwrap()), "full");
    }
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        timeout(FOREVER, gate.wait(1)).await.expect("a slot").unwrap();
        longest = longest.max(begun.elapsed());
    }
    assert!(longest > Duration::from_secs(40), "{longest:?}");
    assert!(longest <= Duration::from_mins(1), "{longest:?}");
}
