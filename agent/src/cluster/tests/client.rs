//! How calls are made again, and when not.

use super::{Answer, FOREVER, Log, cluster, status};
use crate::cluster::client::{Access, Again, Cluster, Limits};
use crate::cluster::error::{Error, Kind};
use http::Uri;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout};

async fn call(answers: Vec<Answer>, again: Again) -> (Result<Node, Error>, Log, Duration) {
    let (cluster, log) = cluster(answers);
    let nodes = Api::<Node>::all(cluster.client());
    let begun = Instant::now();
    let call = cluster.call("get it", again, || nodes.get("n1"));
    let outcome = timeout(FOREVER, call).await.expect("a call ends");
    (outcome, log, begun.elapsed())
}

fn node() -> Answer {
    Answer::Json(
        200,
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } }),
    )
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again() {
    for again in [Again::Harmless, Again::WhenNotDone] {
        let (outcome, log, took) = call(vec![Answer::Later(429, "3"), Answer::Later(503, "2"), node()], again).await;
        assert!(outcome.is_ok());
        assert_eq!(log.lock().unwrap().len(), 3);
        // What the server asks for is the least that is waited.
        assert!(took >= Duration::from_secs(5), "{took:?}");
        assert!(took <= Duration::from_secs(11), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_is_done_again_only_where_that_is_harmless() {
    for failure in [
        || status(500, "InternalError"),
        || status(504, "Timeout"),
        || Answer::Silence,
        || Answer::Broken,
    ] {
        let (outcome, log, _) = call(vec![failure(), failure(), node()], Again::Harmless).await;
        assert!(outcome.is_ok());
        assert_eq!(log.lock().unwrap().len(), 3);
        let (outcome, log, _) = call(vec![failure(), node()], Again::WhenNotDone).await;
        assert!(outcome.unwrap_err().kind.is_outage());
        assert_eq!(log.lock().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_no_is_a_no() {
    for (code, reason, kind) in [
        (401, "Unauthorized", Kind::Unauthorized),
        (403, "Forbidden", Kind::Forbidden),
        (404, "NotFound", Kind::Absent),
        (409, "Conflict", Kind::Conflict),
        (422, "Invalid", Kind::Invalid),
    ] {
        let (outcome, log, took) = call(vec![status(code, reason), node()], Again::Harmless).await;
        assert_eq!(outcome.unwrap_err().kind, kind);
        assert_eq!((log.lock().unwrap().len(), took.as_secs()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_ends() {
    let silence = || (0..9).map(|_| Answer::Silence).collect();
    let (outcome, log, took) = call(silence(), Again::Harmless).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.kind, Kind::Silent);
    assert_eq!(log.lock().unwrap().len(), 3);
    assert!(took < Duration::from_secs(90), "{took:?}");
    let busy = (0..9).map(|_| Answer::Later(429, "1")).collect();
    let (outcome, log, _) = call(busy, Again::Harmless).await;
    assert_eq!(outcome.unwrap_err().asked(), Some(Duration::from_secs(1)));
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_the_callers() {
    let (outcome, log, took) = call(vec![Answer::Later(429, "300"), node()], Again::Harmless).await;
    assert_eq!(outcome.unwrap_err().kind, Kind::Busy(Some(Duration::from_mins(5))));
    assert_eq!((log.lock().unwrap().len(), took.as_secs()), (1, 0));
}

/// Whatever calls, and however often.
#[tokio::test(start_paused = true)]
async fn all_calls_together_ask_a_server_that_is_away_less_and_less() {
    let (cluster, log) = cluster((0..999).map(|_| Answer::Broken));
    let nodes = Api::<Node>::all(cluster.client());
    let calls = async |cluster: Cluster, pause| {
        let mut kinds = Vec::new();
        loop {
            let outcome = cluster.call("get it", Again::Harmless, || nodes.get("n1")).await;
            kinds.push(outcome.unwrap_err().kind);
            assert!(matches!(kinds[kinds.len() - 1], Kind::Broken | Kind::Paused));
            tokio::time::sleep(pause).await;
        }
    };
    let (second, nothing) = (Duration::from_secs(1), Duration::ZERO);
    let all = async {
        tokio::join!(
            calls(cluster.clone(), second),
            calls(cluster.clone(), second),
            calls(cluster.patient(), nothing),
            calls(cluster.patient(), nothing),
        )
    };
    let ended: Result<((), (), (), ()), _> = timeout(FOREVER, all).await;
    assert!(ended.is_err());
    // Four a minute at most.
    let asked = log.lock().unwrap().len();
    assert!((180..300).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn who_is_waited_for_asks_all_the_same() {
    let away = (0..9).map(|_| Answer::Later(429, "60"));
    let (cluster, log) = cluster(away.chain([node()]));
    let nodes = Api::<Node>::all(cluster.client());
    let get = async || cluster.call("get it", Again::WhenNotDone, || nodes.get("n1")).await;
    let asked = || log.lock().unwrap().len();
    assert!(matches!(get().await.unwrap_err().kind, Kind::Busy(_)));
    for _ in 0..5 {
        assert_eq!(get().await.unwrap_err().kind, Kind::Paused);
    }
    assert_eq!(asked(), 1);
    cluster.hurry(true);
    let begun = Instant::now();
    for more in 1..9 {
        // Once for each call.
        assert!(matches!(get().await.unwrap_err().kind, Kind::Busy(_)));
        assert_eq!(asked(), 1 + more);
    }
    assert!(get().await.is_ok());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn nobody_there_is_known_to_have_done_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let access = Access::of_pod("127.0.0.1", "1", folder.path()).unwrap();
    std::fs::write(&access.token, "a.b.c").unwrap();
    // Without its authority there is no client.
    assert!(Cluster::new(&access, Limits::default()).is_err());
    std::fs::write(&access.authority, authority()).unwrap();
    let limits = Limits {
        first: Duration::ZERO,
        ..Limits::default()
    };
    let cluster = Cluster::new(&access, limits).unwrap();
    let nodes = Api::<Node>::all(cluster.client());
    let outcome = cluster.call("get it", Again::WhenNotDone, || nodes.get("n1")).await;
    assert_eq!(outcome.unwrap_err().kind, Kind::Unreachable);
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
    let server = |host, port| Access::of_pod(host, port, Path::new("/sa")).map(|access| access.server);
    let uri = |text: &str| text.parse::<Uri>().unwrap();
    assert_eq!(server("10.96.0.1", "443").unwrap(), uri("https://10.96.0.1:443"));
    assert_eq!(server("fd00::1", "6443").unwrap(), uri("https://[fd00::1]:6443"));
    for (host, port) in [("", "443"), ("10.96.0.1", ""), ("10.96.0.1", "https"), ("a b", "443")] {
        assert!(server(host, port).is_err(), "{host} {port}");
    }
}
