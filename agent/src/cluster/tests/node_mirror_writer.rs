//! The writer of the node's object.

use crate::cluster::error::ApiErrorKind;
use crate::cluster::node_mirror::NodePhase;
use crate::cluster::node_mirror_writer::{NodeMirrorWriter, WriteOutcome};
use crate::cluster::tests::{
    FakeResponse, LIMIT, RequestLog, WatchEnd, api_client, event, identity, owner_reference, report, requests, status,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const OBJECT: &str = "/apis/mirrorshift.dev/v1alpha1/nodemirrors/n1";
const STATUS: &str = "/apis/mirrorshift.dev/v1alpha1/nodemirrors/n1/status";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn object(version: u64, status: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "mirrorshift.dev/v1alpha1", "kind": "NodeMirror",
        "metadata": {
            "name": "n1", "uid": "m1", "generation": 1, "resourceVersion": version.to_string(),
            "ownerReferences": [owner_reference()],
        },
        "spec": {},
    });
    if !status.is_null() {
        object["status"] = status.clone();
    }
    object
}

/// The status of a report at a time.
fn status_with(message: &str, second: i64) -> Value {
    let report = report(NodePhase::Pending, message);
    let mut status = report.status.clone();
    status.conditions = report.conditions.after(&[], Some(1), at(second));
    status.observed_generation = Some(1);
    serde_json::to_value(status).unwrap()
}

fn body(log: &RequestLog, number: usize) -> Value {
    log.lock().unwrap()[number].body.clone()
}

#[tokio::test(start_paused = true)]
async fn status_is_created_once_and_not_rewritten_while_unchanged() {
    let (client, log) = api_client(vec![
        status(404, "NotFound"),
        FakeResponse::Json(201, object(1, &Value::Null)),
        FakeResponse::Json(200, object(2, &status_with("a", 100))),
        FakeResponse::Json(200, object(3, &status_with("b", 100))),
    ]);
    let mut writer = NodeMirrorWriter::new(client, identity());
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap(),
        WriteOutcome::Made
    );
    let path = OBJECT.strip_suffix("/n1").unwrap();
    assert_eq!(
        requests(&log),
        [
            format!("GET {OBJECT}"),
            format!("POST {path}"),
            format!("PATCH {STATUS}")
        ]
    );
    assert_eq!(body(&log, 1)["metadata"]["ownerReferences"], json!([owner_reference()]));
    assert_eq!(body(&log, 2)["metadata"], json!({ "resourceVersion": "1" }));
    for second in 101..200 {
        let written = writer
            .apply(&report(NodePhase::Pending, "a"), at(second))
            .await
            .unwrap();
        assert_eq!(written, WriteOutcome::Nothing);
    }
    assert_eq!(requests(&log).len(), 3);
    // Only what differs is written.
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "b"), at(200)).await.unwrap(),
        WriteOutcome::Patched
    );
    assert_eq!(
        body(&log, 3),
        json!({ "metadata": { "resourceVersion": "2" }, "status": { "message": "b" } })
    );
}

#[tokio::test(start_paused = true)]
async fn restarted_agent_does_not_rewrite_an_equal_status() {
    let (client, log) = api_client(vec![FakeResponse::Json(200, object(7, &status_with("a", 100)))]);
    let mut writer = NodeMirrorWriter::new(client, identity());
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "a"), at(900)).await.unwrap(),
        WriteOutcome::Nothing
    );
    assert_eq!(requests(&log), [format!("GET {OBJECT}")]);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_removed_after_the_owner_is_corrected() {
    let mut other = object(4, &status_with("a", 100));
    other["status"]["phase"] = json!("FromTheFuture");
    other["status"]["novelty"] = json!({ "deep": true });
    other["status"]["conditions"][0]["type"] = json!("Novel");
    other["metadata"]["ownerReferences"] = json!([]);
    let mut owned = other.clone();
    owned["metadata"]["ownerReferences"] = json!([owner_reference()]);
    owned["metadata"]["resourceVersion"] = json!("5");
    let (client, log) = api_client(vec![
        FakeResponse::Json(200, other),
        FakeResponse::Json(200, owned),
        FakeResponse::Json(200, object(6, &status_with("a", 100))),
    ]);
    let mut writer = NodeMirrorWriter::new(client, identity());
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap(),
        WriteOutcome::Patched
    );
    assert_eq!(
        requests(&log)[1..],
        [format!("PATCH {OBJECT}"), format!("PATCH {STATUS}")]
    );
    let patch = body(&log, 2);
    assert_eq!(patch["metadata"]["resourceVersion"], "5");
    assert_eq!(
        (&patch["status"]["phase"], &patch["status"]["novelty"]),
        (&json!("Pending"), &Value::Null)
    );
    assert!(patch["status"].as_object().unwrap().contains_key("novelty"));
    assert_eq!(patch["status"]["conditions"], status_with("a", 100)["conditions"]);
}

#[tokio::test(start_paused = true)]
async fn conflict_reads_the_object_again() {
    let (client, log) = api_client(vec![
        FakeResponse::Json(200, object(1, &status_with("a", 100))),
        status(409, "Conflict"),
        FakeResponse::Json(200, object(2, &status_with("edited", 100))),
        FakeResponse::Json(200, object(3, &status_with("b", 100))),
    ]);
    let mut writer = NodeMirrorWriter::new(client, identity());
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "b"), at(100)).await.unwrap(),
        WriteOutcome::Patched
    );
    assert_eq!(body(&log, 3)["metadata"]["resourceVersion"], "2");
}

#[tokio::test(start_paused = true)]
async fn repeated_conflicts_end_with_an_error() {
    let rounds = (0..20).flat_map(|round| {
        [
            FakeResponse::Json(200, object(round, &status_with("a", 100))),
            status(409, "Conflict"),
        ]
    });
    let (client, log) = api_client(rounds);
    let mut writer = NodeMirrorWriter::new(client, identity());
    let error = writer
        .apply(&report(NodePhase::Pending, "b"), at(100))
        .await
        .unwrap_err();
    assert_eq!((error.kind, requests(&log).len()), (ApiErrorKind::Conflict, 10));
}

#[tokio::test(start_paused = true)]
async fn field_that_the_definition_lacks_is_not_written_again() {
    let mut pruned = status_with("a", 100);
    pruned.as_object_mut().unwrap().remove("message");
    let (client, log) = api_client(vec![
        FakeResponse::Json(200, object(1, &Value::Null)),
        FakeResponse::Json(200, object(2, &pruned)),
    ]);
    let mut writer = NodeMirrorWriter::new(client, identity());
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap(),
        WriteOutcome::Patched
    );
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "a"), at(300)).await.unwrap(),
        WriteOutcome::Nothing
    );
    assert_eq!(requests(&log).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn failed_write_is_repeated_without_reading_the_object() {
    let (client, log) = api_client(vec![
        FakeResponse::Json(200, object(1, &status_with("a", 100))),
        status(403, "Forbidden"),
        FakeResponse::Json(200, object(2, &status_with("b", 100))),
    ]);
    let mut writer = NodeMirrorWriter::new(client, identity());
    let error = writer
        .apply(&report(NodePhase::Pending, "b"), at(100))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Forbidden);
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "b"), at(100)).await.unwrap(),
        WriteOutcome::Patched
    );
    assert_eq!(requests(&log).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn write_with_a_lost_response_is_detected() {
    let responses = [FakeResponse::Json(200, object(1, &status_with("a", 100)))].into_iter();
    let lost = (0..3).map(|_| FakeResponse::Broken);
    let (client, log) = api_client(responses.chain(lost).chain([
        status(409, "Conflict"),
        FakeResponse::Json(200, object(2, &status_with("b", 100))),
    ]));
    let mut writer = NodeMirrorWriter::new(client, identity());
    let error = writer
        .apply(&report(NodePhase::Pending, "b"), at(100))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Broken);
    tokio::time::sleep(LIMIT).await;
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "b"), at(100)).await.unwrap(),
        WriteOutcome::Nothing
    );
    assert_eq!(requests(&log).len(), 6);
}

fn list(version: u64, items: &[Value]) -> FakeResponse {
    FakeResponse::Json(
        200,
        json!({
            "apiVersion": "mirrorshift.dev/v1alpha1", "kind": "NodeMirrorList",
            "metadata": { "resourceVersion": version.to_string() }, "items": items,
        }),
    )
}

#[tokio::test(start_paused = true)]
async fn watch_ignores_own_writes_and_reports_those_of_others() {
    let (client, log) = api_client(vec![
        FakeResponse::Json(200, object(1, &Value::Null)),
        FakeResponse::Json(200, object(3, &status_with("a", 100))),
        // The list is older than the write.
        list(2, &[object(1, &Value::Null)]),
        FakeResponse::Watch(
            vec![
                event("MODIFIED", &object(2, &status_with("x", 100))),
                event("MODIFIED", &object(3, &status_with("a", 100))),
                // Only an annotation has changed.
                event("MODIFIED", &object(4, &status_with("a", 100))),
                event("MODIFIED", &object(5, &status_with("edited", 100))),
            ],
            WatchEnd::Open,
        ),
        FakeResponse::Json(200, object(6, &status_with("a", 100))),
    ]);
    let mut writer = NodeMirrorWriter::new(client, identity());
    writer.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap();
    timeout(LIMIT, writer.wait_for_external_change())
        .await
        .expect("a change")
        .unwrap();
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "a"), at(200)).await.unwrap(),
        WriteOutcome::Patched
    );
    // The object from the watch makes reading it unnecessary.
    assert_eq!(requests(&log)[4], format!("PATCH {STATUS}"));
    assert_eq!(body(&log, 4)["metadata"]["resourceVersion"], "5");
    assert!(
        timeout(Duration::from_mins(1), writer.wait_for_external_change())
            .await
            .is_err()
    );
    let queries: Vec<_> = log
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.query.clone())
        .collect();
    assert!(
        queries[2].contains("fieldSelector=metadata.name%3Dn1"),
        "{}",
        queries[2]
    );
    assert!(
        queries[3].contains("fieldSelector=metadata.name%3Dn1"),
        "{}",
        queries[3]
    );
}

#[tokio::test(start_paused = true)]
async fn deleted_object_is_created_again() {
    let (client, log) = api_client(vec![
        FakeResponse::Json(200, object(1, &status_with("a", 100))),
        list(1, &[object(1, &status_with("a", 100))]),
        FakeResponse::Watch(
            vec![event("DELETED", &object(8, &status_with("a", 100)))],
            WatchEnd::Open,
        ),
        status(404, "NotFound"),
        FakeResponse::Json(201, object(9, &Value::Null)),
        FakeResponse::Json(200, object(10, &status_with("a", 500))),
    ]);
    let mut writer = NodeMirrorWriter::new(client, identity());
    writer.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap();
    timeout(LIMIT, writer.wait_for_external_change())
        .await
        .expect("a change")
        .unwrap();
    assert_eq!(
        writer.apply(&report(NodePhase::Pending, "a"), at(500)).await.unwrap(),
        WriteOutcome::Made
    );
    assert_eq!(requests(&log).len(), 6);
}
