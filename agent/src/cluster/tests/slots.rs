//! Slots.

use crate::cluster::error::ApiErrorKind;
use crate::cluster::slots::{AcquireOutcome, FREE, HeldSlot, PHASE, REASON, SlotNote, SlotPool, WaitOutcome};
use crate::cluster::tests::{
    FakeResponse, LIMIT, RequestLog, WatchEnd, api_client, event, identity, owner_reference, requests, status,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";

fn slot_pool(responses: Vec<FakeResponse>) -> (SlotPool, RequestLog) {
    let (client, log) = api_client(responses);
    (SlotPool::new(client, "ns", identity()), log)
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

fn note() -> SlotNote {
    SlotNote {
        phase: "Changing".into(),
        reason: "Plan 12ab is being carried out.".into(),
    }
}

async fn acquire(slots: &mut SlotPool, max: u16) -> Result<AcquireOutcome, ApiErrorKind> {
    slots
        .acquire(max, &note(), Timestamp::UNIX_EPOCH)
        .await
        .map_err(|error| error.kind)
}

fn name(acquired: &AcquireOutcome) -> &str {
    match acquired {
        AcquireOutcome::New(slot) | AcquireOutcome::Held(slot) => slot.name(),
        AcquireOutcome::Full(_) => "full",
    }
}

#[tokio::test(start_paused = true)]
async fn free_slot_is_acquired_with_annotations_for_operators() {
    let (mut slots, log) = slot_pool(vec![
        list(&[lease("slot-0", "n2", "u2"), lease("leader", "n3", "u3")]),
        node("u1"),
        FakeResponse::Json(201, lease("slot-1", "n1", "u1")),
    ]);
    let acquired = acquire(&mut slots, 2).await.unwrap();
    assert!(
        matches!(&acquired, AcquireOutcome::New(slot) if slot.name() == "slot-1"),
        "{acquired:?}"
    );
    assert_eq!(
        requests(&log),
        [
            format!("GET {LEASES}"),
            "GET /api/v1/nodes/n1".into(),
            format!("POST {LEASES}")
        ]
    );
    let sent = log.lock().unwrap();
    // The list must be current, not from a cache of the server.
    assert!(!sent[0].query.contains("resourceVersion"), "{}", sent[0].query);
    assert_eq!(
        sent[2].body["metadata"]["annotations"],
        json!({
            PHASE: "Changing", REASON: "Plan 12ab is being carried out.",
            FREE: "kubectl -n ns delete lease slot-1",
        })
    );
    assert_eq!(sent[2].body["metadata"]["ownerReferences"], json!([owner_reference()]));
    assert_eq!(sent[2].body["spec"]["holderIdentity"], "n1");
    assert_eq!(sent[2].body["spec"]["acquireTime"], "1970-01-01T00:00:00.000000Z");
    // With a duration, other programs could consider the Lease expired and delete it.
    assert!(sent[2].body["spec"].get("leaseDurationSeconds").is_none());
}

#[tokio::test(start_paused = true)]
async fn acquire_returns_the_holders_when_all_slots_are_held() {
    for held in [1, 3] {
        let names: Vec<_> = (0..held)
            .map(|number| lease(&format!("slot-{}", number + 2), "n2", "u2"))
            .collect();
        // Includes slots from a time with a larger limit.
        let (mut slots, log) = slot_pool(vec![list(&names)]);
        let Ok(AcquireOutcome::Full(holders)) = acquire(&mut slots, 1).await else {
            panic!("acquired")
        };
        assert_eq!(requests(&log).len(), 1);
        assert_eq!(holders.len(), held);
        assert_eq!((holders[0].slot.as_str(), holders[0].node.as_str()), ("slot-2", "n2"));
        assert_eq!(
            (holders[0].phase.as_str(), holders[0].reason.as_str()),
            ("Changing", "It failed.")
        );
        assert_eq!(holders[0].free, "kubectl -n ns delete lease slot-2");
    }
    let (mut slots, _) = slot_pool(vec![list(&[]), list(&[])]);
    assert_eq!(acquire(&mut slots, 0).await, Ok(AcquireOutcome::Full(vec![])));
}

#[tokio::test(start_paused = true)]
async fn node_that_loses_the_race_tries_no_other_slot() {
    let (mut slots, log) = slot_pool(vec![
        list(&[]),
        node("u1"),
        status(409, "AlreadyExists"),
        list(&[lease("slot-0", "n2", "u2")]),
    ]);
    let Ok(AcquireOutcome::Full(holders)) = acquire(&mut slots, 2).await else {
        panic!("acquired")
    };
    assert_eq!(holders.len(), 1);
    assert_eq!(requests(&log).iter().filter(|call| call.starts_with("POST")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_free_slot_is_chosen_at_some_time() {
    let lost = || {
        [
            list(&[lease("slot-1", "n2", "u2")]),
            node("u1"),
            status(409, "AlreadyExists"),
            list(&[]),
        ]
    };
    let (mut slots, log) = slot_pool((0..50).flat_map(|_| lost()).collect());
    for _ in 0..50 {
        assert_eq!(acquire(&mut slots, 4).await, Ok(AcquireOutcome::Full(vec![])));
    }
    let sent = log.lock().unwrap();
    let tried = sent.iter().filter_map(|call| call.body["metadata"]["name"].as_str());
    let tried: BTreeSet<&str> = tried.collect();
    assert_eq!(tried, BTreeSet::from(["slot-0", "slot-2", "slot-3"]));
}

#[tokio::test(start_paused = true)]
async fn any_error_means_no_slot() {
    for responses in [
        vec![status(403, "Forbidden")],
        vec![list(&[]), status(403, "Forbidden")],
        vec![list(&[]), node("u1"), status(403, "Forbidden")],
        vec![list(&[]), node("u1"), status(500, "InternalError")],
        vec![list(&[]), node("u1"), FakeResponse::Silence],
        vec![list(&[]), node("u1"), FakeResponse::Broken],
    ] {
        let expected = responses.len();
        let (mut slots, log) = slot_pool(responses);
        let outcome = timeout(LIMIT, acquire(&mut slots, 1)).await.expect("an end");
        assert!(outcome.is_err());
        // The creation is not repeated after a lost response.
        assert_eq!(requests(&log).len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn recreated_node_acquires_no_slot_for_the_old_one() {
    let (mut slots, log) = slot_pool(vec![list(&[lease("slot-0", "n1", "u0")]), node("u2")]);
    assert_eq!(acquire(&mut slots, 2).await, Err(ApiErrorKind::OtherNode));
    assert_eq!(requests(&log).len(), 2);
    let (mut slots, _) = slot_pool(vec![list(&[]), status(404, "NotFound")]);
    assert_eq!(acquire(&mut slots, 2).await, Err(ApiErrorKind::OtherNode));
}

#[tokio::test(start_paused = true)]
async fn held_slot_is_found_again_and_a_second_one_is_released() {
    let own = [
        lease("slot-1", "n1", "u1"),
        lease("slot-0", "n2", "u2"),
        lease("slot-2", "n1", "u1"),
    ];
    let (mut slots, log) = slot_pool(vec![
        list(&own),
        FakeResponse::Json(200, json!({ "kind": "Status", "status": "Success" })),
    ]);
    let acquired = acquire(&mut slots, 1).await.unwrap();
    assert!(
        matches!(&acquired, AcquireOutcome::Held(slot) if slot.name() == "slot-1"),
        "{acquired:?}"
    );
    assert_eq!(requests(&log)[1], format!("DELETE {LEASES}/slot-2"));
    let (slots, _) = slot_pool(vec![list(&own[1..2])]);
    assert_eq!(slots.current_slot().await.unwrap(), None);
}

async fn held() -> (SlotPool, RequestLog, HeldSlot) {
    let (mut slots, log) = slot_pool(vec![list(&[lease("slot-0", "n1", "u1")])]);
    let Ok(AcquireOutcome::Held(slot)) = acquire(&mut slots, 1).await else {
        panic!("not held")
    };
    (slots, log, slot)
}

/// The server asks all clients to wait for a minute. Only a node that holds a slot sends requests before.
#[tokio::test(start_paused = true)]
async fn node_with_a_slot_bypasses_the_throttle() {
    let retry_later = || FakeResponse::Later(429, "60");
    let (mut slots, log) = slot_pool(vec![
        list(&[]),
        node("u1"),
        FakeResponse::Json(201, lease("slot-0", "n1", "u1")),
        retry_later(),
        retry_later(),
        retry_later(),
        retry_later(),
        FakeResponse::Json(200, lease("slot-0", "n1", "u1")),
    ]);
    let Ok(AcquireOutcome::New(slot)) = acquire(&mut slots, 1).await else {
        panic!("not acquired")
    };
    for _ in 0..4 {
        let written = slots.annotate(&slot, &note()).await;
        assert!(matches!(written.unwrap_err().kind, ApiErrorKind::Busy(_)));
    }
    slots.release(slot).await.unwrap();
    assert_eq!(requests(&log).len(), 8);
    assert_eq!(slots.current_slot().await.unwrap_err().kind, ApiErrorKind::Paused);
    assert_eq!(requests(&log).len(), 8);
}

#[tokio::test(start_paused = true)]
async fn release_deletes_only_the_own_lease() {
    let success = || FakeResponse::Json(200, json!({ "kind": "Status", "status": "Success" }));
    for (answer, good) in [
        (success(), true),
        (status(404, "NotFound"), true),
        (status(409, "Conflict"), true),
        (status(403, "Forbidden"), false),
    ] {
        let (_, _, slot) = held().await;
        let (slots, log) = slot_pool(vec![answer]);
        assert_eq!(slots.release(slot).await.is_ok(), good);
        assert_eq!(
            log.lock().unwrap()[0].body["preconditions"],
            json!({ "uid": "uid-of-slot-0" })
        );
    }
}

#[tokio::test(start_paused = true)]
async fn annotate_writes_only_to_the_own_lease() {
    let (_, _, slot) = held().await;
    let (slots, log) = slot_pool(vec![
        FakeResponse::Json(
            200,
            json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {} }),
        ),
        status(409, "Conflict"),
        status(422, "Invalid"),
    ]);
    slots.annotate(&slot, &note()).await.unwrap();
    let body = log.lock().unwrap()[0].body.clone();
    assert_eq!(body["metadata"]["uid"], "uid-of-slot-0");
    assert_eq!(body["metadata"]["annotations"][PHASE], "Changing");
    for _ in 0..2 {
        assert_eq!(
            slots.annotate(&slot, &note()).await.unwrap_err().kind,
            ApiErrorKind::Conflict
        );
    }
}

#[tokio::test(start_paused = true)]
async fn wait_ends_when_a_slot_is_free() {
    let (mut slots, log) = slot_pool(vec![
        list(&[lease("slot-0", "n2", "u2")]),
        FakeResponse::Watch(
            vec![
                event("ADDED", &lease("leader", "n3", "u3")),
                event("DELETED", &lease("leader", "n3", "u3")),
                event("DELETED", &lease("slot-0", "n2", "u2")),
            ],
            WatchEnd::Open,
        ),
    ]);
    let begun = Instant::now();
    timeout(LIMIT, slots.wait(1)).await.expect("a slot").unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(requests(&log).len(), 2);
    // The slot is still free: the next turn comes after another delay, and without a request.
    timeout(LIMIT, slots.wait(1)).await.expect("a slot").unwrap();
    assert_eq!(requests(&log).len(), 2);
    slots.stop_watching();
}

#[tokio::test(start_paused = true)]
async fn wait_reports_a_failed_holder_once() {
    let changing = lease("slot-0", "n2", "u2");
    let mut failed = changing.clone();
    failed["metadata"]["annotations"][PHASE] = json!("Undone");
    let mut annotated = failed.clone();
    annotated["metadata"]["annotations"][REASON] = json!("It failed for another reason.");
    let (mut slots, _log) = slot_pool(vec![
        list(&[changing]),
        FakeResponse::Watch(
            vec![
                event("MODIFIED", &failed),
                event("MODIFIED", &annotated),
                event("DELETED", &annotated),
            ],
            WatchEnd::Open,
        ),
    ]);
    let outcome = timeout(LIMIT, slots.wait(1)).await.expect("an end").unwrap();
    let WaitOutcome::Failed(holders) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(holders.len(), 1);
    assert!(holders[0].failed() && holders[0].node == "n2");
    // The same failure is not reported again, but a free slot is.
    let free = timeout(LIMIT, slots.wait(1)).await.expect("a slot").unwrap();
    assert_eq!(free, WaitOutcome::Free);
}

#[tokio::test(start_paused = true)]
async fn wait_goes_on_when_other_nodes_acquire_the_slot_first() {
    // Ten times the slot is released and acquired by another node at the same moment.
    let rounds = (0..10).flat_map(|_| {
        let held = lease("slot-0", "n2", "u2");
        [event("DELETED", &held), event("ADDED", &held)]
    });
    let (mut slots, log) = slot_pool(vec![
        list(&[lease("slot-0", "n2", "u2")]),
        FakeResponse::Watch(rounds.collect(), WatchEnd::Open),
    ]);
    assert!(timeout(Duration::from_secs(200), slots.wait(1)).await.is_err());
    assert_eq!(requests(&log).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn delay_before_an_attempt_is_short_at_first_and_grows_with_lost_races() {
    let mut waits = Vec::new();
    for _ in 0..200 {
        let (mut slots, _) = slot_pool(vec![list(&[]), FakeResponse::Watch(vec![], WatchEnd::Open)]);
        let begun = Instant::now();
        timeout(LIMIT, slots.wait(1)).await.expect("a slot").unwrap();
        waits.push(begun.elapsed());
    }
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)));
    // A node that has lost several races spreads its attempts over a minute.
    let lost = (0..7).flat_map(|_| [list(&[]), node("u1"), status(409, "AlreadyExists"), list(&[])]);
    let (mut slots, _) = slot_pool(
        lost.chain((0..9).map(|_| FakeResponse::Watch(vec![], WatchEnd::Open)))
            .collect(),
    );
    for _ in 0..7 {
        assert_eq!(name(&acquire(&mut slots, 1).await.unwrap()), "full");
    }
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        timeout(LIMIT, slots.wait(1)).await.expect("a slot").unwrap();
        longest = longest.max(begun.elapsed());
    }
    assert!(longest > Duration::from_secs(40), "{longest:?}");
    assert!(longest <= Duration::from_mins(1), "{longest:?}");
}
