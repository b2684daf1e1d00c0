//! Events and their limits.

use crate::cluster::events::{EventReason, Events};
use crate::cluster::tests::{FakeResponse, api_client, identity, requests, status};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

fn created() -> FakeResponse {
    FakeResponse::Json(
        201,
        json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": null }),
    )
}

#[tokio::test(start_paused = true)]
async fn event_regards_the_node() {
    let (client, log) = api_client([created()]);
    let mut events = Events::new(client, identity());
    let published = events
        .publish(EventReason::MigrationUndone, "It failed.", Timestamp::UNIX_EPOCH)
        .await;
    assert!(published.unwrap());
    assert_eq!(
        requests(&log),
        ["POST /apis/events.k8s.io/v1/namespaces/default/events"]
    );
    let body = log.lock().unwrap()[0].body.clone();
    assert_eq!(
        body["regarding"],
        json!({ "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1" })
    );
    assert_eq!(body["reason"], "MigrationUndone");
    assert_eq!(
        (&body["type"], &body["action"], &body["note"]),
        (&json!("Warning"), &json!("Migrate"), &json!("It failed."))
    );
    assert_eq!(body["reportingController"], "mirrorshift.dev/agent");
    assert!(body["metadata"]["name"].as_str().unwrap().starts_with("n1."));
}

#[tokio::test(start_paused = true)]
async fn repeated_event_is_deduplicated_for_an_hour_and_bursts_are_capped() {
    let (client, log) = api_client((0..100).map(|_| created()));
    let mut events = Events::new(client, identity());
    for _ in 0..10 {
        let published = events
            .publish(EventReason::ConflictingWriter, "a", Timestamp::UNIX_EPOCH)
            .await;
        assert!(published.unwrap());
    }
    assert_eq!(requests(&log).len(), 1);
    for number in 0..100 {
        let note = format!("number {number}");
        let published = events
            .publish(EventReason::DriftRepaired, &note, Timestamp::UNIX_EPOCH)
            .await;
        assert_eq!(published.unwrap(), number < 19);
    }
    assert!(
        events
            .publish(EventReason::ConflictingWriter, "a", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
    );
    assert_eq!(requests(&log).len(), 20);
    tokio::time::advance(Duration::from_mins(61)).await;
    assert!(
        events
            .publish(EventReason::ConflictingWriter, "a", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
    );
    let log = log.lock().unwrap();
    let names: BTreeSet<_> = log
        .iter()
        .map(|request| request.body["metadata"]["name"].to_string())
        .collect();
    assert_eq!(names.len(), log.len());
}

#[tokio::test(start_paused = true)]
async fn event_is_retried_after_create_failed() {
    let (client, log) = api_client([
        FakeResponse::Broken,
        FakeResponse::Broken,
        FakeResponse::Broken,
        created(),
    ]);
    let mut events = Events::new(client, identity());
    assert!(
        events
            .publish(EventReason::MigrationDone, "a", Timestamp::UNIX_EPOCH)
            .await
            .is_err()
    );
    assert!(
        events
            .publish(EventReason::MigrationDone, "a", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
    );
    assert_eq!(requests(&log).len(), 4);
}

/// After a lost response it is unknown whether the Event was created. Its name is the same in both requests.
#[tokio::test(start_paused = true)]
async fn event_is_created_once_after_a_lost_response() {
    let (client, log) = api_client([FakeResponse::Broken, status(409, "AlreadyExists")]);
    let mut events = Events::new(client, identity());
    let published = events
        .publish(EventReason::DriftRepaired, "a", Timestamp::UNIX_EPOCH)
        .await;
    assert!(published.unwrap());
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].body["metadata"]["name"], log[1].body["metadata"]["name"]);
}

#[tokio::test(start_paused = true)]
async fn note_and_name_are_truncated_to_the_limits_of_the_api() {
    let (client, log) = api_client([created(), created()]);
    let mut node = identity();
    node.name = format!("{}.n", "a".repeat(219));
    let mut events = Events::new(client, node);
    events
        .publish(EventReason::PolicyInvalid, &"x".repeat(5000), Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    events
        .publish(EventReason::PolicyInvalid, &"€".repeat(5000), Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    for request in log.lock().unwrap().iter() {
        assert!(request.body["note"].as_str().unwrap().len() <= 1024);
        assert!(request.body["metadata"]["name"].as_str().unwrap().len() <= 253);
        assert!(!request.body["metadata"]["name"].as_str().unwrap().contains(".."));
        assert!(request.body["reportingInstance"].as_str().unwrap().len() <= 128);
    }
}

#[test]
fn reasons_are_named_like_their_variants() {
    for reason in EventReason::ALL {
        assert_eq!(reason.name(), format!("{reason:?}"));
    }
}
