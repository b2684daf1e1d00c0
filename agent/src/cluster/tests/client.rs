//! How calls are made again, and when not.

use crate::cluster::client::{ApiClient, CallLimits, InClusterConfig, RetrySafety};
use crate::cluster::error::{ApiErrorKind, Error};
use crate::cluster::tests::{FOREVER, FakeResponse, Log, cluster, status};
use http::Uri;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout};

async fn call(answers: Vec<FakeResponse>, again: RetrySafety) -> (Result<Node, Error>, Log, Duration) {
    let (cluster, log) = cluster(answers);
    let nodes = Api::<Node>::all(cluster.client());
    let begun = Instant::now();
    let call = cluster.call("get it", again, || nodes.get("n1"));
    let outcome = timeout(FOREVER, call).await.expect("a call ends");
    (outcome, log, begun.elapsed())
}

fn node() -> FakeResponse {
    FakeResponse::Json(
        200,
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } }),
    )
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again() {
    for again in [RetrySafety::Idempotent, RetrySafety::IfNotApplied] {
        let (outcome, log, took) = call(
            vec![FakeResponse::Later(429, "3"), FakeResponse::Later(503, "2"), node()],
            again,
        )
        .await;
        assert!(outcome.is_ok());
        assert_eq!(log.lock().unwrap().len(), 3);
        // What the server asks for is the least that is waited.
        assert!(took >= Duration::from_secs(5), "{took:?}");
        assert!(took <= Duration::from_secs(11), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_idempotent_calls_are_retried_after_a_lost_answer() {
    for failure in [
        || status(500, "InternalError"),
        || status(504, "Timeout"),
        || FakeResponse::Silence,
        || FakeResponse::Broken,
    ] {
        let (outcome, log, _) = call(vec![failure(), failure(), node()], RetrySafety::Idempotent).await;
        assert!(outcome.is_ok());
        assert_eq!(log.lock().unwrap().len(), 3);
        let (outcome, log, _) = call(vec![failure(), node()], RetrySafety::IfNotApplied).await;
        assert!(outcome.unwrap_err().kind.is_outage());
        assert_eq!(log.lock().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_no_is_a_no() {
    for (code, reason, kind) in [
        (401, "Unauthorized", ApiErrorKind::Unauthorized),
        (403, "Forbidden", ApiErrorKind::Forbidden),
        (404, "NotFound", ApiErrorKind::Absent),
        (409, "Conflict", ApiErrorKind::Conflict),
        (422, "Invalid", ApiErrorKind::Invalid),
    ] {
        let (outcome, log, took) = call(vec![status(code, reason), node()], RetrySafety::Idempotent).await;
        assert_eq!(outcome.unwrap_err().kind, kind);
        assert_eq!((log.lock().unwrap().len(), took.as_secs()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_ends() {
    let silence = || (0..9).map(|_| FakeResponse::Silence).collect();
    let (outcome, log, took) = call(silence(), RetrySafety::Idempotent).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Silent);
    assert_eq!(log.lock().unwrap().len(), 3);
    assert!(took < Duration::from_secs(90), "{took:?}");
    let busy = (0..9).map(|_| FakeResponse::Later(429, "1")).collect();
    let (outcome, log, _) = call(busy, RetrySafety::Idempotent).await;
    assert_eq!(outcome.unwrap_err().retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_the_callers() {
    let (outcome, log, took) = call(vec![FakeResponse::Later(429, "300"), node()], RetrySafety::Idempotent).await;
    assert_eq!(
        outcome.unwrap_err().kind,
        ApiErrorKind::Busy(Some(Duration::from_mins(5)))
    );
    assert_eq!((log.lock().unwrap().len(), took.as_secs()), (1, 0));
}

/// Whatever calls, and however often.
#[tokio::test(start_paused = true)]
async fn all_calls_together_ask_a_server_that_is_away_less_and_less() {
    let (cluster, log) = cluster((0..999).map(|_| FakeResponse::Broken));
    let nodes = Api::<Node>::all(cluster.client());
    let calls = async |cluster: ApiClient, pause| {
        let mut kinds = Vec::new();
        loop {
            let outcome = cluster
                .call("get it", RetrySafety::Idempotent, || nodes.get("n1"))
                .await;
            kinds.push(outcome.unwrap_err().kind);
            assert!(matches!(
                kinds[kinds.len() - 1],
                ApiErrorKind::Broken | ApiErrorKind::Paused
            ));
            tokio::time::sleep(pause).await;
        }
    };
    let (second, nothing) = (Duration::from_secs(1), Duration::ZERO);
    let all = async {
        tokio::join!(
            calls(cluster.clone(), second),
            calls(cluster.clone(), second),
            calls(cluster.without_deadline(), nothing),
            calls(cluster.without_deadline(), nothing),
        )
    };
    let ended: Result<((), (), (), ()), _> = timeout(FOREVER, all).await;
    assert!(ended.is_err());
    // Four a minute at most.
    let asked = log.lock().unwrap().len();
    assert!((180..300).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn urgent_client_bypasses_the_throttle() {
    let away = (0..9).map(|_| FakeResponse::Later(429, "60"));
    let (cluster, log) = cluster(away.chain([node()]));
    let nodes = Api::<Node>::all(cluster.client());
    let get = async || {
        cluster
            .call("get it", RetrySafety::IfNotApplied, || nodes.get("n1"))
            .await
    };
    let asked = || log.lock().unwrap().len();
    assert!(matches!(get().await.unwrap_err().kind, ApiErrorKind::Busy(_)));
    for _ in 0..5 {
        assert_eq!(get().await.unwrap_err().kind, ApiErrorKind::Paused);
    }
    assert_eq!(asked(), 1);
    cluster.set_urgent(true);
    let begun = Instant::now();
    for more in 1..9 {
        // Once for each call.
        assert!(matches!(get().await.unwrap_err().kind, ApiErrorKind::Busy(_)));
        assert_eq!(asked(), 1 + more);
    }
    assert!(get().await.is_ok());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn connection_refused_is_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let access = InClusterConfig::of_pod("127.0.0.1", "1", folder.path()).unwrap();
    std::fs::write(&access.token, "a.b.c").unwrap();
    // Without its authority there is no client.
    assert!(ApiClient::new(&access, CallLimits::default()).is_err());
    std::fs::write(&access.authority, authority()).unwrap();
    let limits = CallLimits {
        first: Duration::ZERO,
        ..CallLimits::default()
    };
    let cluster = ApiClient::new(&access, limits).unwrap();
    let nodes = Api::<Node>::all(cluster.client());
    let outcome = cluster
        .call("get it", RetrySafety::IfNotApplied, || nodes.get("n1"))
        .await;
    assert_eq!(outcome.unwrap_err().kind, ApiErrorKind::Unreachable);
}

/// A certificate that says that it is an authority.
fn authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn addresses_of_pods() {
    let server = |host, port| InClusterConfig::of_pod(host, port, Path::new("/sa")).map(|access| access.server);
    let uri = |text: &str| text.parse::<Uri>().unwrap();
    assert_eq!(server("10.96.0.1", "443").unwrap(), uri("https://10.96.0.1:443"));
    assert_eq!(server("fd00::1", "6443").unwrap(), uri("https://[fd00::1]:6443"));
    for (host, port) in [("", "443"), ("10.96.0.1", ""), ("10.96.0.1", "https"), ("a b", "443")] {
        assert!(server(host, port).is_err(), "{host} {port}");
    }
}
