//! Watches that break.

use crate::cluster::client::ApiClient;
use crate::cluster::error::{ApiErrorKind, Error};
use crate::cluster::tests::{FOREVER, FakeResponse, Log, Then, cluster, event, status};
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

fn watch(answers: Vec<FakeResponse>) -> (Watch<Lease>, ApiClient, Log) {
    let (cluster, log) = cluster(answers);
    let leases = Api::namespaced(cluster.client(), "ns");
    (Watch::new(leases, "Leases", None), cluster, log)
}

async fn next(watch: &mut Watch<Lease>, cluster: &ApiClient) -> Result<String, Error> {
    within(FOREVER, watch, cluster).await
}

async fn within(time: Duration, watch: &mut Watch<Lease>, cluster: &ApiClient) -> Result<String, Error> {
    let seen = timeout(time, watch.next(cluster)).await.expect("something to see")?;
    Ok(match seen {
        WatchEvent::Restarted(all) => format!(
            "all {}",
            all.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(" ")
        ),
        WatchEvent::Applied(one) => format!("now {}", one.name_any()),
        WatchEvent::Deleted(one) => format!("gone {}", one.name_any()),
    })
}

/// The version that each watch was begun from; `list` for a list.
fn begun_from(log: &Log) -> Vec<String> {
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
        .map(|heard| {
            if heard.query.contains("watch=true") {
                version(&heard.query)
            } else {
                "list".into()
            }
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_where_it_broke() {
    let (mut watch, cluster, log) = watch(vec![
        list("5", &[lease("a", "3")]),
        FakeResponse::Watch(
            vec![event("ADDED", &lease("b", "6")), event("BOOKMARK", &lease("", "9"))],
            Then::Ends,
        ),
        FakeResponse::Watch(vec![event("DELETED", &lease("a", "10"))], Then::Goes),
    ]);
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "all a");
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "now b");
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "gone a");
    assert_eq!(begun_from(&log), ["list", "5", "9"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_listed_again() {
    let expired =
        json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old", "status": "Failure" });
    let (mut watch, cluster, log) = watch(vec![
        list("5", &[]),
        FakeResponse::Watch(vec![event("ERROR", &expired)], Then::Ends),
        list("70", &[lease("c", "60")]),
        FakeResponse::Watch(vec![event("MODIFIED", &lease("c", "71"))], Then::Goes),
    ]);
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "all ");
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "all c");
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "now c");
    assert_eq!(begun_from(&log), ["list", "5", "list", "70"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_each_watch_at_once_is_asked_less_and_less() {
    let ends = (0..8).map(|_| FakeResponse::Watch(vec![], Then::Ends));
    let then = FakeResponse::Watch(vec![event("ADDED", &lease("a", "6"))], Then::Goes);
    let (mut watch, cluster, _) = watch([list("5", &[])].into_iter().chain(ends).chain([then]).collect());
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "all ");
    let begun = Instant::now();
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "now a");
    // Eight pauses of up to 1, 2, 4 … 60 s, at random.
    assert!(begun.elapsed() > Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_connection_is_found_out() {
    let (mut watch, cluster, _) = watch(vec![
        list("5", &[]),
        FakeResponse::Watch(vec![], Then::Goes),
        FakeResponse::Watch(vec![event("ADDED", &lease("a", "6"))], Then::Goes),
    ]);
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "all ");
    let begun = Instant::now();
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "now a");
    let took = begun.elapsed().as_secs();
    assert!((15 * 60..22 * 60).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_that_ends_as_it_should_goes_on_at_once() {
    let quiet = (0..20).map(|_| FakeResponse::Watch(vec![], Then::Goes));
    let then = FakeResponse::Watch(vec![event("ADDED", &lease("a", "6"))], Then::Goes);
    let (mut watch, cluster, log) = watch([list("5", &[])].into_iter().chain(quiet).chain([then]).collect());
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "all ");
    let begun = Instant::now();
    assert_eq!(within(10 * FOREVER, &mut watch, &cluster).await.unwrap(), "now a");
    let each = begun.elapsed() / 20;
    assert!(each < Duration::from_mins(21), "{each:?}");
    assert_eq!(begun_from(&log).len(), 22);
}

#[tokio::test(start_paused = true)]
async fn dropped_in_the_middle_it_keeps_its_connection() {
    let (mut watch, cluster, log) = watch(vec![list("5", &[]), FakeResponse::Watch(vec![], Then::Goes)]);
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "all ");
    for _ in 0..20 {
        let dropped = timeout(Duration::from_secs(5), watch.next(&cluster)).await;
        assert!(dropped.is_err());
    }
    assert_eq!(begun_from(&log), ["list", "5"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_goes_to_the_caller_and_then_it_goes_on() {
    let (mut watch, cluster, log) = watch(vec![
        list("5", &[]),
        status(500, "InternalError"),
        status(500, "InternalError"),
        status(500, "InternalError"),
        FakeResponse::Watch(vec![event("ADDED", &lease("a", "6"))], Then::Goes),
    ]);
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "all ");
    assert_eq!(next(&mut watch, &cluster).await.unwrap_err().kind, ApiErrorKind::Failed);
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "now a");
    assert_eq!(begun_from(&log), ["list", "5", "5", "5", "5"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_asked_less_and_less() {
    let away = |answers: usize| (0..answers).map(|_| status(500, "InternalError"));
    let (mut watch, cluster, log) = watch([list("5", &[])].into_iter().chain(away(300)).collect());
    assert_eq!(next(&mut watch, &cluster).await.unwrap(), "all ");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(10) {
        assert!(next(&mut watch, &cluster).await.is_err());
    }
    // Three attempts, and a pause of up to 1, 2, 4 … 60 s, at random.
    let asked = begun_from(&log).len();
    assert!(asked < 150, "{asked}");

    // As much is asked of one that does not even list.
    let (mut watch, cluster, log) = crate::cluster::tests::watch::watch(away(300).collect());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(10) {
        assert!(next(&mut watch, &cluster).await.is_err());
    }
    let asked = begun_from(&log).len();
    assert!(asked < 150, "{asked}");
}
