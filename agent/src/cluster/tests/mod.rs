//! Tests of the cluster part with an API server that sends the responses of the test. `tests/it/cluster_api.rs` uses a
//! real one.

/// Retries of calls.
pub(crate) mod client;
/// The custom resource definition, and the words of the runbook.
pub(crate) mod definition;
/// Events and their limits.
pub(crate) mod events;
/// The writer of the node's object.
pub(crate) mod node_mirror_writer;
/// Slots.
pub(crate) mod slots;
/// Interrupted watches.
pub(crate) mod watch;

use crate::cluster::backoff::Jitter;
use crate::cluster::client::{ApiClient, CallLimits, record_retry_after};
use crate::cluster::conditions::{ConditionState, Conditions, Reason};
use crate::cluster::node_identity::NodeIdentity;
use crate::cluster::node_mirror::{NodeMirrorStatus, NodePhase};
use crate::cluster::node_mirror_writer::NodeReport;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::{BoxError, ServiceBuilder};

/// A response of the server.
pub(crate) enum FakeResponse {
    /// A JSON body with a status code.
    Json(u16, Value),
    /// A status code with `Retry-After`.
    Later(u16, &'static str),
    /// The lines of a watch.
    Watch(Vec<Value>, WatchEnd),
    /// No response.
    Silence,
    /// A closed connection.
    Broken,
}

/// The connection after the last line of a watch.
#[derive(Clone, Copy)]
pub(crate) enum WatchEnd {
    Open,
    Closed,
}

/// A request that the server received.
#[derive(Clone, Debug)]
pub(crate) struct RecordedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

pub(crate) type RequestLog = Arc<Mutex<Vec<RecordedRequest>>>;

/// A client of a server that sends `responses` in this order, and closes the connection after the last.
pub(crate) fn api_client(responses: impl IntoIterator<Item = FakeResponse>) -> (ApiClient, RequestLog) {
    api_client_with(CallLimits::default(), responses)
}

pub(crate) fn api_client_with(
    limits: CallLimits,
    responses: impl IntoIterator<Item = FakeResponse>,
) -> (ApiClient, RequestLog) {
    let responses = Arc::new(Mutex::new(responses.into_iter().collect::<VecDeque<_>>()));
    let log = RequestLog::default();
    let log_of_server = Arc::clone(&log);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (responses, log_of_server) = (Arc::clone(&responses), Arc::clone(&log_of_server));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            log_of_server.lock().unwrap().push(RecordedRequest {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            });
            let response = responses.lock().unwrap().pop_front();
            reply(response.unwrap_or(FakeResponse::Broken)).await
        }
    });
    let service = ServiceBuilder::new().map_result(record_retry_after).service(service);
    (
        ApiClient::with_service(Client::new(service, "default"), limits, Jitter::seeded(1)),
        log,
    )
}

async fn reply(response: FakeResponse) -> Result<Response<StreamBody<Chunks>>, BoxError> {
    let reply = Response::builder();
    Ok(match response {
        FakeResponse::Json(code, body) => reply.status(code).body(chunks(vec![body], WatchEnd::Closed))?,
        FakeResponse::Later(code, after) => reply
            .status(code)
            .header("retry-after", after)
            .body(chunks(vec![json!("too many requests")], WatchEnd::Closed))?,
        FakeResponse::Watch(lines, end) => reply.status(200).body(chunks(lines, end))?,
        FakeResponse::Silence => std::future::pending().await,
        FakeResponse::Broken => return Err("the connection was closed".into()),
    })
}

type Chunks = stream::BoxStream<'static, Result<Frame<Bytes>, BoxError>>;

fn chunks(lines: Vec<Value>, end: WatchEnd) -> StreamBody<Chunks> {
    let lines = stream::iter(lines).map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n")))));
    StreamBody::new(match end {
        WatchEnd::Closed => lines.boxed(),
        WatchEnd::Open => lines.chain(stream::pending()).boxed(),
    })
}

/// A failure status of the API server.
pub(crate) fn status(code: u16, reason: &str) -> FakeResponse {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("says {reason}"), "reason": reason, "code": code,
    });
    FakeResponse::Json(code, body)
}

/// A line of a watch stream.
pub(crate) fn event(kind: &str, object: &Value) -> Value {
    json!({ "type": kind, "object": object })
}

/// The methods and paths of the requests.
pub(crate) fn requests(log: &RequestLog) -> Vec<String> {
    let log = log.lock().unwrap();
    log.iter()
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

pub(crate) fn identity() -> NodeIdentity {
    NodeIdentity {
        name: "n1".into(),
        uid: "u1".into(),
    }
}

pub(crate) fn owner_reference() -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1" })
}

pub(crate) fn report(phase: NodePhase, message: &str) -> NodeReport {
    NodeReport {
        status: NodeMirrorStatus {
            phase,
            message: message.into(),
            ..NodeMirrorStatus::default()
        },
        conditions: Conditions {
            migrated: ConditionState::false_with(Reason::NotYet, ""),
            degraded: ConditionState::false_with(Reason::Healthy, ""),
            progressing: ConditionState::false_with(Reason::Idle, ""),
            policy_valid: ConditionState::true_with(Reason::Read, ""),
        },
    }
}

/// Longer than any bounded wait.
pub(crate) const LIMIT: Duration = Duration::from_hours(1);
