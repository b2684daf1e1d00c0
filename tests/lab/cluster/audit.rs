//! Reads the API server's audit log: which client sent which request, and the bodies of requests for leases and
//! `NodeMirror` objects.

use std::fs::File;
use std::io::{
    Read, Seek, SeekFrom, {self},
};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The audit policy. The bodies of the nodes' heartbeats are left out, because heartbeats are leases too and are far
/// more frequent than all others.
pub(super) const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
omitStages: [RequestReceived]
rules:
- level: Metadata
  namespaces: [kube-node-lease]
- level: Request
  resources:
  - group: coordination.k8s.io
    resources: [leases]
  - group: mirrorshift.dev
- level: Metadata
";

/// An API server's audit log.
#[derive(Clone, Debug)]
pub struct Audit {
    pub(super) path: PathBuf,
}

/// A position in the log, for [`Audit::since`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// One event of a request. A request that stays open, such as a watch, has an event when it starts and one when it
/// ends.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// Identifies the request; all of its events have the same id.
    #[serde(rename = "auditID")]
    pub id: String,
    /// `ResponseStarted` for a request that stays open, `ResponseComplete`, or `Panic`.
    pub stage: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    pub user: AuditUser,
    /// The `User-Agent` header.
    #[serde(default)]
    pub user_agent: String,
    /// The object that the request is for; empty for a path such as `/healthz`.
    #[serde(default)]
    pub object_ref: ObjectRef,
    /// The answer; see [`AuditEvent::code`].
    response_status: Option<ResponseStatus>,
    /// The body, for leases outside `kube-node-lease` and for every object of `mirrorshift.dev`.
    #[serde(default)]
    pub request_object: Value,
    /// The time at which the request arrived, as RFC 3339 with microseconds in UTC, so that texts sort like their
    /// times.
    pub request_received_timestamp: String,
    /// The time at which this stage was reached.
    pub stage_timestamp: String,
}

/// The authenticated client of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditUser {
    /// `system:serviceaccount:NAMESPACE:NAME`, `system:node:NAME`, …; empty when the API server rejected the request
    /// before it identified the client.
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    extra: Value,
}

/// The object of a request. A part that the request does not name is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// The plural of the kind: `leases`.
    pub resource: String,
    pub namespace: String,
    /// Empty for a list, or for an object that is created.
    pub name: String,
    /// `status`, `token`, …
    pub subresource: String,
    /// The API group; empty for the core group.
    pub api_group: String,
}

#[derive(Clone, Debug, Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

impl AuditEvent {
    /// The HTTP status of the answer.
    pub fn code(&self) -> Option<u16> {
        self.response_status.as_ref()?.code
    }

    /// The node that the request came from: a kubelet's, or the node that a pod's token names.
    pub fn node(&self) -> Option<&str> {
        let by_token = self.user.extra["authentication.kubernetes.io/node-name"][0].as_str();
        by_token.or_else(|| self.user.username.strip_prefix("system:node:"))
    }
}

impl Audit {
    /// Returns the current end of the log.
    pub fn mark(&self) -> io::Result<Mark> {
        Ok(Mark(self.path.metadata()?.len()))
    }

    /// Returns every event since a mark, in the order of the answers. The default mark is the beginning of the log.
    pub fn since(&self, mark: Mark) -> io::Result<Vec<AuditEvent>> {
        let text = text_since(&self.path, mark.0)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// Returns the complete lines of a log from an offset on. A line that is still being written is left out.
pub(super) fn text_since(log: &Path, from: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{AuditEvent, ObjectRef};

    #[test]
    fn audit_event_is_parsed() {
        let line = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"a","stage":"ResponseComplete",
            "requestURI":"/apis/coordination.k8s.io/v1/namespaces/x/leases","verb":"create","user":{"username":"system:serviceaccount:x:agent",
            "extra":{"authentication.kubernetes.io/node-name":["one"]}},"sourceIPs":["10.244.1.2"],"userAgent":"agent/1",
            "objectRef":{"resource":"leases","namespace":"x","name":"slot-0","apiGroup":"coordination.k8s.io","apiVersion":"v1"},
            "responseStatus":{"metadata":{},"code":201},"requestObject":{"spec":{"holderIdentity":"one"}},
            "requestReceivedTimestamp":"2026-01-02T03:04:05.000001Z","stageTimestamp":"2026-01-02T03:04:05.000002Z"}"#;
        let event: AuditEvent = serde_json::from_str(line).unwrap();
        assert_eq!((event.code(), event.node()), (Some(201), Some("one")));
        assert_eq!(event.request_object["spec"]["holderIdentity"], "one");
        let expected = ObjectRef {
            resource: "leases".into(),
            namespace: "x".into(),
            name: "slot-0".into(),
            subresource: String::new(),
            api_group: "coordination.k8s.io".into(),
        };
        assert_eq!(event.object_ref, expected);

        let line = r#"{"auditID":"b","stage":"ResponseStarted","requestURI":"/healthz","verb":"get","user":{"username":"system:node:two"},
            "requestReceivedTimestamp":"","stageTimestamp":""}"#;
        let event: AuditEvent = serde_json::from_str(line).unwrap();
        assert_eq!((event.code(), event.node()), (None, Some("two")));
        assert!(event.request_object.is_null());
    }
}
