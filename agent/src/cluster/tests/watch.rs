//! Interrupted watches.

use crate::cluster::client::ApiClient;
use crate::cluster::error::{ApiErrorKind, Error};
use crate::cluster::tests::{FakeResponse, LIMIT, RequestLog, WatchEnd, api_client, event, status};
use crate::cluster::watch::{Watch, WatchEvent};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout};

fn lease(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": name, "resourceVersion": version },
    })
}

fn list(version: &str, items: &[Value]) -> FakeResponse {
    FakeResponse::Json(
        200,
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList",
            "metadata": { "resourceVersion": version }, "items": items,
        }),
    )
}

fn watch(responses: Vec<FakeResponse>) -> (Watch<Lease>, ApiClient, RequestLog) {
    let (client, log) = api_client(responses);
    let leases = Api::namespaced(client.client(), "ns");
    (Watch::new(leases, "Leases", None), client, log)
}

async fn next(watch: &mut Watch<Lease>, client: &ApiClient) -> Result<String, Error> {
    within(LIMIT, watch, client).await
}

async fn within(time: Duration, watch: &mut Watch<Lease>, client: &ApiClient) -> Result<String, Error> {
    let event = timeout(time, watch.next(client)).await.expect("an event")?;
    Ok(match event {
        WatchEvent::Restarted(all) => format!(
            "restarted {}",
            all.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(" ")
        ),
        WatchEvent::Applied(object) => format!("applied {}", object.name_any()),
        WatchEvent::Deleted(object) => format!("deleted {}", object.name_any()),
    })
}

/// The resource version from which each watch starts; `list` for a list.
fn start_versions(log: &RequestLog) -> Vec<String> {
    let log = log.lock().unwrap();
    let version = |query: &str| {
        query
            .split("resourceVersion=")
            .nth(1)
            .unwrap_or("")
            .split('&')
            .next()
            .unwrap()
            .to_owned()
    };
    log.iter()
        .map(|request| {
            if request.query.contains("watch=true") {
                version(&request.query)
            } else {
                "list".into()
            }
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn watch_resumes_after_an_interruption() {
    let (mut watch, client, log) = watch(vec![
        list("5", &[lease("a", "3")]),
        FakeResponse::Watch(
            vec![event("ADDED", &lease("b", "6")), event("BOOKMARK", &lease("", "9"))],
            WatchEnd::Closed,
        ),
        FakeResponse::Watch(vec![event("DELETED", &lease("a", "10"))], WatchEnd::Open),
    ]);
    assert_eq!(next(&mut watch, &client).await.unwrap(), "restarted a");
    assert_eq!(next(&mut watch, &client).await.unwrap(), "applied b");
    assert_eq!(next(&mut watch, &client).await.unwrap(), "deleted a");
    assert_eq!(start_versions(&log), ["list", "5", "9"]);
}

#[tokio::test(start_paused = true)]
async fn expired_version_is_listed_again() {
    let expired =
        json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old", "status": "Failure" });
    let (mut watch, client, log) = watch(vec![
        list("5", &[]),
        FakeResponse::Watch(vec![event("ERROR", &expired)], WatchEnd::Closed),
        list("70", &[lease("c", "60")]),
        FakeResponse::Watch(vec![event("MODIFIED", &lease("c", "71"))], WatchEnd::Open),
    ]);
    assert_eq!(next(&mut watch, &client).await.unwrap(), "restarted ");
    assert_eq!(next(&mut watch, &client).await.unwrap(), "restarted c");
    assert_eq!(next(&mut watch, &client).await.unwrap(), "applied c");
    assert_eq!(start_versions(&log), ["list", "5", "list", "70"]);
}

#[tokio::test(start_paused = true)]
async fn delay_grows_when_the_server_ends_each_watch_at_once() {
    let ends = (0..8).map(|_| FakeResponse::Watch(vec![], WatchEnd::Closed));
    let then = FakeResponse::Watch(vec![event("ADDED", &lease("a", "6"))], WatchEnd::Open);
    let (mut watch, client, _) = watch([list("5", &[])].into_iter().chain(ends).chain([then]).collect());
    assert_eq!(next(&mut watch, &client).await.unwrap(), "restarted ");
    let begun = Instant::now();
    assert_eq!(next(&mut watch, &client).await.unwrap(), "applied a");
    // Eight pauses of up to 1, 2, 4 … 60 s, at random.
    assert!(begun.elapsed() > Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn lost_connection_is_replaced() {
    let (mut watch, client, _) = watch(vec![
        list("5", &[]),
        FakeResponse::Watch(vec![], WatchEnd::Open),
        FakeResponse::Watch(vec![event("ADDED", &lease("a", "6"))], WatchEnd::Open),
    ]);
    assert_eq!(next(&mut watch, &client).await.unwrap(), "restarted ");
    let begun = Instant::now();
    assert_eq!(next(&mut watch, &client).await.unwrap(), "applied a");
    let took = begun.elapsed().as_secs();
    assert!((15 * 60..22 * 60).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn quiet_watch_is_renewed_at_once() {
    let quiet = (0..20).map(|_| FakeResponse::Watch(vec![], WatchEnd::Open));
    let then = FakeResponse::Watch(vec![event("ADDED", &lease("a", "6"))], WatchEnd::Open);
    let (mut watch, client, log) = watch([list("5", &[])].into_iter().chain(quiet).chain([then]).collect());
    assert_eq!(next(&mut watch, &client).await.unwrap(), "restarted ");
    let begun = Instant::now();
    assert_eq!(within(10 * LIMIT, &mut watch, &client).await.unwrap(), "applied a");
    let each = begun.elapsed() / 20;
    assert!(each < Duration::from_mins(21), "{each:?}");
    assert_eq!(start_versions(&log).len(), 22);
}

#[tokio::test(start_paused = true)]
async fn dropped_call_keeps_the_connection() {
    let (mut watch, client, log) = watch(vec![list("5", &[]), FakeResponse::Watch(vec![], WatchEnd::Open)]);
    assert_eq!(next(&mut watch, &client).await.unwrap(), "restarted ");
    for _ in 0..20 {
        let dropped = timeout(Duration::from_secs(5), watch.next(&client)).await;
        assert!(dropped.is_err());
    }
    assert_eq!(start_versions(&log), ["list", "5"]);
}

#[tokio::test(start_paused = true)]
async fn outage_is_returned_and_the_watch_resumes() {
    let (mut watch, client, log) = watch(vec![
        list("5", &[]),
        status(500, "InternalError"),
        status(500, "InternalError"),
        status(500, "InternalError"),
        FakeResponse::Watch(vec![event("ADDED", &lease("a", "6"))], WatchEnd::Open),
    ]);
    assert_eq!(next(&mut watch, &client).await.unwrap(), "restarted ");
    assert_eq!(next(&mut watch, &client).await.unwrap_err().kind, ApiErrorKind::Failed);
    assert_eq!(next(&mut watch, &client).await.unwrap(), "applied a");
    assert_eq!(start_versions(&log), ["list", "5", "5", "5", "5"]);
}

#[tokio::test(start_paused = true)]
async fn requests_become_rarer_during_an_outage() {
    let away = |count: usize| (0..count).map(|_| status(500, "InternalError"));
    let (mut watch, client, log) = watch([list("5", &[])].into_iter().chain(away(300)).collect());
    assert_eq!(next(&mut watch, &client).await.unwrap(), "restarted ");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(10) {
        assert!(next(&mut watch, &client).await.is_err());
    }
    // Three attempts, and a pause of up to 1, 2, 4 … 60 s, at random.
    let count = start_versions(&log).len();
    assert!(count < 150, "{count}");

    // The same holds for a server that does not even answer a list.
    let (mut watch, client, log) = crate::cluster::tests::watch::watch(away(300).collect());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(10) {
        assert!(next(&mut watch, &client).await.is_err());
    }
    let count = start_versions(&log).len();
    assert!(count < 150, "{count}");
}
