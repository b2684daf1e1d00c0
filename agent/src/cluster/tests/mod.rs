//! The API's side against a server that answers what a test says. What a real one does is tried in `tests/it/cluster_api.rs`.

/// How calls are made again, and when not.
pub(crate) mod client;
/// The object's definition.
pub(crate) mod definition;
/// Events, and how many.
pub(crate) mod events;
/// The node's object.
pub(crate) mod node_mirror_writer;
/// Slots.
pub(crate) mod slots;
/// Watches that break.
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

/// What the server does with a request.
pub(crate) enum FakeResponse {
    /// Answers.
    Json(u16, Value),
    /// Answers, and says when to come again.
    Later(u16, &'static str),
    /// Sends the lines of a watch, and goes on sending nothing or ends.
    Watch(Vec<Value>, Then),
    /// Says nothing.
    Silence,
    /// Closes the connection.
    Broken,
}

#[derive(Clone, Copy)]
pub(crate) enum Then {
    Goes,
    Ends,
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

pub(crate) type Log = Arc<Mutex<Vec<Heard>>>;

/// A cluster that gives `answers` in their order, and breaks the connection after the last.
pub(crate) fn cluster(answers: impl IntoIterator<Item = FakeResponse>) -> (ApiClient, Log) {
    cluster_within(CallLimits::default(), answers)
}

pub(crate) fn cluster_within(limits: CallLimits, answers: impl IntoIterator<Item = FakeResponse>) -> (ApiClient, Log) {
    let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
    let log = Log::default();
    let heard = Arc::clone(&log);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answers, heard) = (Arc::clone(&answers), Arc::clone(&heard));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            heard.lock().unwrap().push(Heard {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            });
            let answer = answers.lock().unwrap().pop_front();
            reply(answer.unwrap_or(FakeResponse::Broken)).await
        }
    });
    let service = ServiceBuilder::new().map_result(record_retry_after).service(service);
    (
        ApiClient::with_service(Client::new(service, "default"), limits, Jitter::seeded(1)),
        log,
    )
}

async fn reply(answer: FakeResponse) -> Result<Response<StreamBody<Chunks>>, BoxError> {
    let reply = Response::builder();
    Ok(match answer {
        FakeResponse::Json(code, body) => reply.status(code).body(chunks(vec![body], Then::Ends))?,
        FakeResponse::Later(code, after) => reply
            .status(code)
            .header("retry-after", after)
            .body(chunks(vec![json!("too many requests")], Then::Ends))?,
        FakeResponse::Watch(lines, then) => reply.status(200).body(chunks(lines, then))?,
        FakeResponse::Silence => std::future::pending().await,
        FakeResponse::Broken => return Err("the connection was closed".into()),
    })
}

type Chunks = stream::BoxStream<'static, Result<Frame<Bytes>, BoxError>>;

fn chunks(lines: Vec<Value>, then: Then) -> StreamBody<Chunks> {
    let lines = stream::iter(lines).map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n")))));
    StreamBody::new(match then {
        Then::Ends => lines.boxed(),
        Then::Goes => lines.chain(stream::pending()).boxed(),
    })
}

/// A refusal as the API server words it.
pub(crate) fn status(code: u16, reason: &str) -> FakeResponse {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("says {reason}"), "reason": reason, "code": code,
    });
    FakeResponse::Json(code, body)
}

/// A line of a watch.
pub(crate) fn event(kind: &str, object: &Value) -> Value {
    json!({ "type": kind, "object": object })
}

pub(crate) fn asked(log: &Log) -> Vec<String> {
    let log = log.lock().unwrap();
    log.iter()
        .map(|heard| format!("{} {}", heard.method, heard.path))
        .collect()
}

pub(crate) fn owner() -> NodeIdentity {
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
            degraded: ConditionState::false_with(Reason::Well, ""),
            progressing: ConditionState::false_with(Reason::Idle, ""),
            policy_valid: ConditionState::true_with(Reason::Read, ""),
        },
    }
}

/// Longer than anything may take that is bounded.
pub(crate) const FOREVER: Duration = Duration::from_hours(1);
