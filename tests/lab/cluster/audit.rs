//! What the API server was asked for, by its own audit log: who asked, and for locks and reports with what.

use std::fs::File;
use std::io::{
    Read, Seek, SeekFrom, {self},
};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// What is written down. The nodes' heartbeats are leases too, and their bodies would bury the rest.
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

/// A place in the log, for [`Audit::since`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// A request, when it was answered. One that stays open, as a watch, has an event at its start and one at its end.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// Of the request: the same in all of its events.
    #[serde(rename = "auditID")]
    pub id: String,
    /// `ResponseStarted` for one that stays open, `ResponseComplete`, or `Panic`.
    pub stage: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// Who asked.
    pub user: AuditUser,
    /// The program that asked, by its own words.
    #[serde(default)]
    pub user_agent: String,
    /// For what; nothing for a path such as `/healthz`.
    #[serde(default)]
    pub object_ref: ObjectRef,
    /// The answer; see [`AuditEvent::code`].
    response_status: Option<ResponseStatus>,
    /// What was sent, for leases outside of `kube-node-lease` and for everything of `mirrorshift.dev`.
    #[serde(default)]
    pub request_object: Value,
    /// When the request came, by RFC 3339 with microseconds in UTC: such texts sort as their times.
    pub request_received_timestamp: String,
    /// When this stage was reached.
    pub stage_timestamp: String,
}

/// Who asked.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditUser {
    /// `system:serviceaccount:NAMESPACE:NAME`, `system:node:NAME`, …
    /// Nothing when the API server turned the request away before it knew.
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    extra: Value,
}

/// What was asked for. A part that the request does not name is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// The kind in plural: `leases`.
    pub resource: String,
    /// The namespace.
    pub namespace: String,
    /// The name; nothing for a list, or for something that is created.
    pub name: String,
    /// `status`, `token`, …
    pub subresource: String,
    /// The group: nothing for the core.
    pub api_group: String,
}

#[derive(Clone, Debug, Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

impl AuditEvent {
    /// The status of the answer.
    pub fn code(&self) -> Option<u16> {
        self.response_status.as_ref()?.code
    }

    /// The node that the request came from: a kubelet, or a pod by its token.
    pub fn node(&self) -> Option<&str> {
        let by_token = self.user.extra["authentication.kubernetes.io/node-name"][0].as_str();
        by_token.or_else(|| self.user.username.strip_prefix("system:node:"))
    }
}

impl Audit {
    /// The end of the log as it is now.
    ///
    /// # Errors
    ///
    /// When the log is not there.
    pub fn mark(&self) -> io::Result<Mark> {
        Ok(Mark(self.path.metadata()?.len()))
    }

    /// Every event since a mark, in order of answers; since the beginning with the mark that is the default.
    ///
    /// # Errors
    ///
    /// When the log cannot be read, or has something that is no event.
    pub fn since(&self, mark: Mark) -> io::Result<Vec<AuditEvent>> {
        let text = text_since(&self.path, mark.0)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// The whole lines of a log from a place on; one that is still being written is left out.
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
    fn an_event_is_read() {
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
