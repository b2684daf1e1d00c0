//! Retries of calls, and the throttle.

use crate::cluster::client::{ApiClient, CallLimits, InClusterConfig, RetrySafety};
use crate::cluster::error::{ApiErrorKind, Error};
use crate::cluster::tests::{FakeResponse, LIMIT, RequestLog, api_client, status};
use http::Uri;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout};

async fn call(responses: Vec<FakeResponse>, retry: RetrySafety) -> (Result<Node, Error>, RequestLog, Duration) {
    let (client, log) = api_client(responses);
    let nodes = Api::<Node>::all(client.client());
    let begun = Instant::now();
    let call = client.call("get it", retry, || nodes.get("n1"));
    let outcome = timeout(LIMIT, call).await.expect("a call ends");
    (outcome, log, begun.elapsed())
}

fn node() -> FakeResponse {
    FakeResponse::Json(
        200,
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } }),
    )
}

#[tokio::test(start_paused = true)]
async fn call_is_retried_when_the_server_asks_for_it() {
    for retry in [RetrySafety::Idempotent, RetrySafety::IfNotApplied] {
        let (outcome, log, took) = call(
            vec![FakeResponse::Later(429, "3"), FakeResponse::Later(503, "2"), node()],
            retry,
        )
        .await;
        assert!(outcome.is_ok());
        assert_eq!(log.lock().unwrap().len(), 3);
        // `Retry-After` is the least delay.
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
async fn rejected_call_is_not_retried() {
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
async fn call_ends_after_three_attempts() {
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
async fn long_retry_after_is_returned_to_the_caller() {
    let (outcome, log, took) = call(vec![FakeResponse::Later(429, "300"), node()], RetrySafety::Idempotent).await;
    assert_eq!(
        outcome.unwrap_err().kind,
        ApiErrorKind::Busy(Some(Duration::from_mins(5)))
    );
    assert_eq!((log.lock().unwrap().len(), took.as_secs()), (1, 0));
}

/// The number of callers and calls does not matter.
#[tokio::test(start_paused = true)]
async fn all_calls_together_send_few_requests_during_an_outage() {
    let (client, log) = api_client((0..999).map(|_| FakeResponse::Broken));
    let nodes = Api::<Node>::all(client.client());
    let calls = async |client: ApiClient, pause| {
        let mut kinds = Vec::new();
        loop {
            let outcome = client.call("get it", RetrySafety::Idempotent, || nodes.get("n1")).await;
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
            calls(client.clone(), second),
            calls(client.clone(), second),
            calls(client.without_deadline(), nothing),
            calls(client.without_deadline(), nothing),
        )
    };
    let ended: Result<((), (), (), ()), _> = timeout(LIMIT, all).await;
    assert!(ended.is_err());
    // On average at most five per minute.
    let count = log.lock().unwrap().len();
    assert!((180..300).contains(&count), "{count}");
}

#[tokio::test(start_paused = true)]
async fn urgent_client_bypasses_the_throttle() {
    let away = (0..9).map(|_| FakeResponse::Later(429, "60"));
    let (client, log) = api_client(away.chain([node()]));
    let nodes = Api::<Node>::all(client.client());
    let get = async || {
        client
            .call("get it", RetrySafety::IfNotApplied, || nodes.get("n1"))
            .await
    };
    let count = || log.lock().unwrap().len();
    assert!(matches!(get().await.unwrap_err().kind, ApiErrorKind::Busy(_)));
    for _ in 0..5 {
        assert_eq!(get().await.unwrap_err().kind, ApiErrorKind::Paused);
    }
    assert_eq!(count(), 1);
    client.set_urgent(true);
    let begun = Instant::now();
    for more in 1..9 {
        // One request per call.
        assert!(matches!(get().await.unwrap_err().kind, ApiErrorKind::Busy(_)));
        assert_eq!(count(), 1 + more);
    }
    assert!(get().await.is_ok());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn connection_refused_is_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let access = InClusterConfig::of_pod("127.0.0.1", "1", folder.path()).unwrap();
    std::fs::write(&access.token, "a.b.c").unwrap();
    // The client needs the certificates of the authority.
    assert!(ApiClient::new(&access, CallLimits::default()).is_err());
    std::fs::write(&access.authority, authority()).unwrap();
    let limits = CallLimits {
        first: Duration::ZERO,
        ..CallLimits::default()
    };
    let client = ApiClient::new(&access, limits).unwrap();
    let nodes = Api::<Node>::all(client.client());
    let outcome = client
        .call("get it", RetrySafety::IfNotApplied, || nodes.get("n1"))
        .await;
    assert_eq!(outcome.unwrap_err().kind, ApiErrorKind::Unreachable);
}

/// A self-signed certificate authority.
fn authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn address_is_built_from_the_environment_of_a_pod() {
    let server = |host, port| InClusterConfig::of_pod(host, port, Path::new("/sa")).map(|access| access.server);
    let uri = |text: &str| text.parse::<Uri>().unwrap();
    assert_eq!(server("10.96.0.1", "443").unwrap(), uri("https://10.96.0.1:443"));
    assert_eq!(server("fd00::1", "6443").unwrap(), uri("https://[fd00::1]:6443"));
    for (host, port) in [("", "443"), ("10.96.0.1", ""), ("10.96.0.1", "https"), ("a b", "443")] {
        assert!(server(host, port).is_err(), "{host} {port}");
    }
}
