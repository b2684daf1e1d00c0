//! The node's object.

use crate::cluster::error::ApiErrorKind;
use crate::cluster::node_mirror::NodePhase;
use crate::cluster::node_mirror_writer::{NodeMirrorWriter, WriteOutcome};
use crate::cluster::tests::{
    FOREVER, FakeResponse, Log, Then, asked, cluster, event, owner, owner_reference, report, status,
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

/// The status that a report makes, at a time.
fn said(message: &str, second: i64) -> Value {
    let report = report(NodePhase::Pending, message);
    let mut status = report.status.clone();
    status.conditions = report.conditions.after(&[], Some(1), at(second));
    status.observed_generation = Some(1);
    serde_json::to_value(status).unwrap()
}

fn body(log: &Log, number: usize) -> Value {
    log.lock().unwrap()[number].body.clone()
}

#[tokio::test(start_paused = true)]
async fn status_is_created_once_and_not_rewritten_while_unchanged() {
    let (cluster, log) = cluster(vec![
        status(404, "NotFound"),
        FakeResponse::Json(201, object(1, &Value::Null)),
        FakeResponse::Json(200, object(2, &said("a", 100))),
        FakeResponse::Json(200, object(3, &said("b", 100))),
    ]);
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap(),
        WriteOutcome::Made
    );
    let path = OBJECT.strip_suffix("/n1").unwrap();
    assert_eq!(
        asked(&log),
        [
            format!("GET {OBJECT}"),
            format!("POST {path}"),
            format!("PATCH {STATUS}")
        ]
    );
    assert_eq!(body(&log, 1)["metadata"]["ownerReferences"], json!([owner_reference()]));
    assert_eq!(body(&log, 2)["metadata"], json!({ "resourceVersion": "1" }));
    for second in 101..200 {
        let written = mirror
            .apply(&report(NodePhase::Pending, "a"), at(second))
            .await
            .unwrap();
        assert_eq!(written, WriteOutcome::Nothing);
    }
    assert_eq!(asked(&log).len(), 3);
    // Only what differs is written.
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "b"), at(200)).await.unwrap(),
        WriteOutcome::Patched
    );
    assert_eq!(
        body(&log, 3),
        json!({ "metadata": { "resourceVersion": "2" }, "status": { "message": "b" } })
    );
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_again_writes_nothing_that_stands_there() {
    let (cluster, log) = cluster(vec![FakeResponse::Json(200, object(7, &said("a", 100)))]);
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "a"), at(900)).await.unwrap(),
        WriteOutcome::Nothing
    );
    assert_eq!(asked(&log), [format!("GET {OBJECT}")]);
}

#[tokio::test(start_paused = true)]
async fn what_another_version_wrote_is_taken_away_and_the_owner_put_right_first() {
    let mut strange = object(4, &said("a", 100));
    strange["status"]["phase"] = json!("FromTheFuture");
    strange["status"]["novelty"] = json!({ "deep": true });
    strange["status"]["conditions"][0]["type"] = json!("Novel");
    strange["metadata"]["ownerReferences"] = json!([]);
    let mut owned = strange.clone();
    owned["metadata"]["ownerReferences"] = json!([owner_reference()]);
    owned["metadata"]["resourceVersion"] = json!("5");
    let (cluster, log) = cluster(vec![
        FakeResponse::Json(200, strange),
        FakeResponse::Json(200, owned),
        FakeResponse::Json(200, object(6, &said("a", 100))),
    ]);
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap(),
        WriteOutcome::Patched
    );
    assert_eq!(asked(&log)[1..], [format!("PATCH {OBJECT}"), format!("PATCH {STATUS}")]);
    let patch = body(&log, 2);
    assert_eq!(patch["metadata"]["resourceVersion"], "5");
    assert_eq!(
        (&patch["status"]["phase"], &patch["status"]["novelty"]),
        (&json!("Pending"), &Value::Null)
    );
    assert!(patch["status"].as_object().unwrap().contains_key("novelty"));
    assert_eq!(patch["status"]["conditions"], said("a", 100)["conditions"]);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_writes_meanwhile_makes_it_look_again() {
    let (cluster, log) = cluster(vec![
        FakeResponse::Json(200, object(1, &said("a", 100))),
        status(409, "Conflict"),
        FakeResponse::Json(200, object(2, &said("edited", 100))),
        FakeResponse::Json(200, object(3, &said("b", 100))),
    ]);
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "b"), at(100)).await.unwrap(),
        WriteOutcome::Patched
    );
    assert_eq!(body(&log, 3)["metadata"]["resourceVersion"], "2");
}

#[tokio::test(start_paused = true)]
async fn somebody_who_never_stops_writing_is_left_to_it() {
    let rounds = (0..20).flat_map(|round| {
        [
            FakeResponse::Json(200, object(round, &said("a", 100))),
            status(409, "Conflict"),
        ]
    });
    let (cluster, log) = cluster(rounds);
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    let error = mirror
        .apply(&report(NodePhase::Pending, "b"), at(100))
        .await
        .unwrap_err();
    assert_eq!((error.kind, asked(&log).len()), (ApiErrorKind::Conflict, 10));
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_lacks_a_field_is_no_reason_to_write_for_ever() {
    let mut pruned = said("a", 100);
    pruned.as_object_mut().unwrap().remove("message");
    let (cluster, log) = cluster(vec![
        FakeResponse::Json(200, object(1, &Value::Null)),
        FakeResponse::Json(200, object(2, &pruned)),
    ]);
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap(),
        WriteOutcome::Patched
    );
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "a"), at(300)).await.unwrap(),
        WriteOutcome::Nothing
    );
    assert_eq!(asked(&log).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_and_nothing_is_lost() {
    let (cluster, log) = cluster(vec![
        FakeResponse::Json(200, object(1, &said("a", 100))),
        status(403, "Forbidden"),
        FakeResponse::Json(200, object(2, &said("b", 100))),
    ]);
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    let error = mirror
        .apply(&report(NodePhase::Pending, "b"), at(100))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Forbidden);
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "b"), at(100)).await.unwrap(),
        WriteOutcome::Patched
    );
    // It is not read again for that.
    assert_eq!(asked(&log).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_although_nobody_knew_is_found() {
    let answers = [FakeResponse::Json(200, object(1, &said("a", 100)))].into_iter();
    let nobody_knows = (0..3).map(|_| FakeResponse::Broken);
    let (cluster, log) = cluster(answers.chain(nobody_knows).chain([
        status(409, "Conflict"),
        FakeResponse::Json(200, object(2, &said("b", 100))),
    ]));
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    let error = mirror
        .apply(&report(NodePhase::Pending, "b"), at(100))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Broken);
    tokio::time::sleep(FOREVER).await;
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "b"), at(100)).await.unwrap(),
        WriteOutcome::Nothing
    );
    assert_eq!(asked(&log).len(), 6);
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
async fn its_own_writes_do_not_disturb_it_and_others_do() {
    let (cluster, log) = cluster(vec![
        FakeResponse::Json(200, object(1, &Value::Null)),
        FakeResponse::Json(200, object(3, &said("a", 100))),
        // The list is older than what was written.
        list(2, &[object(1, &Value::Null)]),
        FakeResponse::Watch(
            vec![
                event("MODIFIED", &object(2, &said("x", 100))),
                event("MODIFIED", &object(3, &said("a", 100))),
                // Somebody's annotation changes nothing that is told here.
                event("MODIFIED", &object(4, &said("a", 100))),
                event("MODIFIED", &object(5, &said("edited", 100))),
            ],
            Then::Goes,
        ),
        FakeResponse::Json(200, object(6, &said("a", 100))),
    ]);
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    mirror.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap();
    timeout(FOREVER, mirror.wait_for_external_change())
        .await
        .expect("disturbed")
        .unwrap();
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "a"), at(200)).await.unwrap(),
        WriteOutcome::Patched
    );
    // What the watch has shown spares the question.
    assert_eq!(asked(&log)[4], format!("PATCH {STATUS}"));
    assert_eq!(body(&log, 4)["metadata"]["resourceVersion"], "5");
    assert!(
        timeout(Duration::from_mins(1), mirror.wait_for_external_change())
            .await
            .is_err()
    );
    let queries: Vec<_> = log.lock().unwrap().iter().map(|heard| heard.query.clone()).collect();
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
async fn deleted_it_is_made_again() {
    let (cluster, log) = cluster(vec![
        FakeResponse::Json(200, object(1, &said("a", 100))),
        list(1, &[object(1, &said("a", 100))]),
        FakeResponse::Watch(vec![event("DELETED", &object(8, &said("a", 100)))], Then::Goes),
        status(404, "NotFound"),
        FakeResponse::Json(201, object(9, &Value::Null)),
        FakeResponse::Json(200, object(10, &said("a", 500))),
    ]);
    let mut mirror = NodeMirrorWriter::new(cluster, owner());
    mirror.apply(&report(NodePhase::Pending, "a"), at(100)).await.unwrap();
    timeout(FOREVER, mirror.wait_for_external_change())
        .await
        .expect("disturbed")
        .unwrap();
    assert_eq!(
        mirror.apply(&report(NodePhase::Pending, "a"), at(500)).await.unwrap(),
        WriteOutcome::Made
    );
    assert_eq!(asked(&log).len(), 6);
}
