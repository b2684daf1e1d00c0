//! Events, and how many.

use crate::cluster::events::{EventReason, Events};
use crate::cluster::tests::{FakeResponse, asked, cluster, owner, status};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

fn made() -> FakeResponse {
    FakeResponse::Json(
        201,
        json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": null }),
    )
}

#[tokio::test(start_paused = true)]
async fn an_event_is_on_the_node() {
    let (cluster, log) = cluster([made()]);
    let mut events = Events::new(cluster, owner());
    let told = events
        .publish(EventReason::MigrationUndone, "It failed.", Timestamp::UNIX_EPOCH)
        .await;
    assert!(told.unwrap());
    assert_eq!(asked(&log), ["POST /apis/events.k8s.io/v1/namespaces/default/events"]);
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
    let (cluster, log) = cluster((0..100).map(|_| made()));
    let mut events = Events::new(cluster, owner());
    for _ in 0..10 {
        let told = events
            .publish(EventReason::DriftFight, "a", Timestamp::UNIX_EPOCH)
            .await;
        assert!(told.unwrap());
    }
    assert_eq!(asked(&log).len(), 1);
    for number in 0..100 {
        let note = format!("number {number}");
        let told = events
            .publish(EventReason::DriftRepaired, &note, Timestamp::UNIX_EPOCH)
            .await;
        assert_eq!(told.unwrap(), number < 19);
    }
    assert!(
        events
            .publish(EventReason::DriftFight, "a", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
    );
    assert_eq!(asked(&log).len(), 20);
    tokio::time::advance(Duration::from_mins(61)).await;
    assert!(
        events
            .publish(EventReason::DriftFight, "a", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
    );
    let log = log.lock().unwrap();
    let names: BTreeSet<_> = log
        .iter()
        .map(|heard| heard.body["metadata"]["name"].to_string())
        .collect();
    assert_eq!(names.len(), log.len());
}

#[tokio::test(start_paused = true)]
async fn event_is_retried_after_create_failed() {
    let (cluster, log) = cluster([FakeResponse::Broken, FakeResponse::Broken, FakeResponse::Broken, made()]);
    let mut events = Events::new(cluster, owner());
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
    assert_eq!(asked(&log).len(), 4);
}

/// Nobody knows whether it was made when a connection breaks, and its name tells.
#[tokio::test(start_paused = true)]
async fn one_is_made_once() {
    let (cluster, log) = cluster([FakeResponse::Broken, status(409, "AlreadyExists")]);
    let mut events = Events::new(cluster, owner());
    let told = events
        .publish(EventReason::DriftRepaired, "a", Timestamp::UNIX_EPOCH)
        .await;
    assert!(told.unwrap());
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].body["metadata"]["name"], log[1].body["metadata"]["name"]);
}

#[tokio::test(start_paused = true)]
async fn notes_and_names_fit() {
    let (cluster, log) = cluster([made(), made()]);
    let mut lengthy = owner();
    lengthy.name = format!("{}.n", "a".repeat(219));
    let mut events = Events::new(cluster, lengthy);
    events
        .publish(EventReason::PolicyInvalid, &"x".repeat(5000), Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    events
        .publish(EventReason::PolicyInvalid, &"€".repeat(5000), Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    for heard in log.lock().unwrap().iter() {
        assert!(heard.body["note"].as_str().unwrap().len() <= 1024);
        assert!(heard.body["metadata"]["name"].as_str().unwrap().len() <= 253);
        assert!(!heard.body["metadata"]["name"].as_str().unwrap().contains(".."));
        assert!(heard.body["reportingInstance"].as_str().unwrap().len() <= 128);
    }
}

#[test]
fn every_reason_is_named_as_it_is_written() {
    for happened in EventReason::ALL {
        assert_eq!(happened.name(), format!("{happened:?}"));
    }
}
