//! The writer of the node's object: creates it if it is missing, and writes only differences.
//!
//! It writes JSON merge patches with the resource version from which they were computed. A merge patch contains only
//! the differences, removes fields that do not belong there, and fails if another client has written in between; then
//! it is computed again. Server-side apply would keep the fields of other managers, and would add a list of managers to
//! each of thousands of objects that have only one writer.

use crate::cluster::client::{ApiClient, RetrySafety};
use crate::cluster::conditions::{Condition, Conditions};
use crate::cluster::error::{ApiErrorKind, Error};
use crate::cluster::node_identity::NodeIdentity;
use crate::cluster::node_mirror::{NodeMirror, NodeMirrorStatus};
use crate::cluster::watch::{Watch, WatchEvent};
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Map, Value, json};

/// The most attempts of a write when other clients write in between.
const ATTEMPTS: u32 = 5;

/// The report of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// The status without the conditions and the generation, which [`NodeMirrorWriter::apply`] adds.
    pub status: NodeMirrorStatus,
    /// The states of the conditions.
    pub conditions: Conditions,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The object already has this status. No request was sent, except perhaps to read the object.
    Nothing,
    /// The differences were written.
    Patched,
    /// The object was created.
    Made,
}

/// The last known object. Its fields are untyped, because another version of the agent may have written fields that
/// this one cannot parse.
#[derive(Clone, Debug)]
struct KnownObject {
    object: DynamicObject,
    /// The status that was written last. It differs from the status of the object if the definition in the cluster
    /// belongs to another release and lacks a field. Then writing it again would change nothing.
    written: Option<Value>,
}

/// Writes the node's object.
#[derive(Debug)]
pub struct NodeMirrorWriter {
    client: ApiClient,
    api: Api<DynamicObject>,
    identity: NodeIdentity,
    known: Option<KnownObject>,
    watch: Watch<DynamicObject>,
}

impl NodeMirrorWriter {
    /// Sends no request.
    pub fn new(client: ApiClient, identity: NodeIdentity) -> Self {
        let api = Api::all_with(client.client(), &ApiResource::erase::<NodeMirror>(&()));
        let own = format!("metadata.name={}", identity.name);
        Self {
            watch: Watch::new(api.clone(), "the node's NodeMirror", Some(own)),
            client,
            api,
            identity,
            known: None,
        }
    }

    /// Writes the report to the object, whatever other clients have written to it. `now` is the transition time of
    /// conditions that change.
    ///
    /// # Errors
    ///
    /// The error of a call. Call the function again with the same report.
    pub async fn apply(&mut self, report: &NodeReport, now: Timestamp) -> Result<WriteOutcome, Error> {
        let mut outcome = WriteOutcome::Nothing;
        for _ in 0..ATTEMPTS {
            let mut known = match self.known.take() {
                Some(known) => known,
                None => match self.read().await? {
                    Some(object) => KnownObject { object, written: None },
                    None => match self.create().await {
                        Ok(object) => {
                            outcome = WriteOutcome::Made;
                            KnownObject { object, written: None }
                        }
                        Err(error) if error.kind == ApiErrorKind::Exists => continue,
                        Err(error) => return Err(error),
                    },
                },
            };
            match self.write(&mut known, report, now).await {
                // Another client has changed or deleted the object: read it again.
                Err(error) if matches!(error.kind, ApiErrorKind::Conflict | ApiErrorKind::Absent) => {}
                Ok(written) => {
                    self.known = Some(known);
                    return Ok(if outcome == WriteOutcome::Made {
                        outcome
                    } else {
                        written
                    });
                }
                // If the server applied the write, the next write is a conflict.
                Err(error) => {
                    self.known = Some(known);
                    return Err(error);
                }
            }
        }
        let text = "another client keeps writing it";
        Err(Error::new(&self.action("write"), ApiErrorKind::Conflict, text))
    }

    /// Waits until another client has changed or deleted the object. Then the caller writes the report again. Needs one
    /// watch, and no other request. Cancel safe.
    ///
    /// # Errors
    ///
    /// The error of a call. The delay before the next call grows with each failure.
    pub async fn wait_for_external_change(&mut self) -> Result<(), Error> {
        loop {
            let changed = match self.watch.next(&self.client).await? {
                WatchEvent::Restarted(mut objects) => match objects.pop() {
                    Some(object) => self.update(object),
                    None => self.forget(),
                },
                WatchEvent::Applied(object) => self.update(object),
                WatchEvent::Deleted(_) => self.forget(),
            };
            if changed {
                return Ok(());
            }
        }
    }

    fn forget(&mut self) -> bool {
        self.known = None;
        true
    }

    /// Stores the object from the watch. Returns true if another client has changed it.
    fn update(&mut self, object: DynamicObject) -> bool {
        let Some(known) = &mut self.known else { return true };
        // The watch also delivers this client's writes, older ones after the response to newer ones.
        if !is_newer(
            object.resource_version().as_deref(),
            known.object.resource_version().as_deref(),
        ) {
            return false;
        }
        let is_same = object.data["status"] == known.object.data["status"]
            && object.metadata.owner_references == known.object.metadata.owner_references
            && object.metadata.uid == known.object.metadata.uid;
        if !is_same {
            known.written = None;
        }
        known.object = object;
        !is_same
    }

    async fn read(&self) -> Result<Option<DynamicObject>, Error> {
        let action = self.action("read");
        self.client
            .call(&action, RetrySafety::Idempotent, || {
                self.api.get_opt(&self.identity.name)
            })
            .await
    }

    async fn create(&self) -> Result<DynamicObject, Error> {
        let mut object = DynamicObject::new(&self.identity.name, &ApiResource::erase::<NodeMirror>(&()));
        object.metadata = ObjectMeta {
            owner_references: Some(vec![self.identity.owner_reference()]),
            ..object.metadata
        };
        object.data = json!({ "spec": {} });
        let params = PostParams::default();
        // A repeated creation is detected: the object exists then.
        self.client
            .call(&self.action("create"), RetrySafety::Idempotent, || {
                self.api.create(&params, &object)
            })
            .await
    }

    /// Writes the differences, the owner first, because the admission policy rejects objects with other owners.
    async fn write(&self, known: &mut KnownObject, report: &NodeReport, now: Timestamp) -> Result<WriteOutcome, Error> {
        let mut outcome = WriteOutcome::Nothing;
        if !self.identity.owns(known.object.metadata.owner_references.as_ref()) {
            let patch = json!({ "metadata": { "ownerReferences": [self.identity.owner_reference()] } });
            known.object = self.patch(&known.object, patch, false).await?;
            known.written = None;
            outcome = WriteOutcome::Patched;
        }
        let desired = desired_status(report, &known.object, now);
        if known.written.as_ref() == Some(&desired) {
            return Ok(outcome);
        }
        let current = known.object.data.get("status").unwrap_or(&Value::Null);
        if let Some(status) = merge_patch(current, &desired) {
            known.object = self.patch(&known.object, json!({ "status": status }), true).await?;
            outcome = WriteOutcome::Patched;
        }
        known.written = Some(desired);
        Ok(outcome)
    }

    async fn patch(&self, object: &DynamicObject, mut patch: Value, status: bool) -> Result<DynamicObject, Error> {
        // Fails for another version, and for another object of the same name.
        patch["metadata"]["resourceVersion"] = json!(object.metadata.resource_version);
        let (patch, params, name) = (Patch::Merge(patch), PatchParams::default(), &self.identity.name);
        let action = self.action(if status { "write the status of" } else { "write" });
        self.client
            .call(&action, RetrySafety::Idempotent, async || {
                if status {
                    self.api.patch_status(name, &params, &patch).await
                } else {
                    self.api.patch(name, &params, &patch).await
                }
            })
            .await
    }

    fn action(&self, verb: &str) -> String {
        format!("{verb} {} {}", NodeMirror::kind(&()), self.identity.name)
    }
}

/// Computes the whole status of the object.
fn desired_status(report: &NodeReport, object: &DynamicObject, now: Timestamp) -> Value {
    let before = object.data.get("status").and_then(|status| status.get("conditions"));
    // A condition that cannot be parsed has no history.
    let before: Vec<Condition> = before.and_then(Value::as_array).map_or_else(Vec::new, |conditions| {
        let parse = |condition: &Value| serde_json::from_value(condition.clone()).ok();
        conditions.iter().filter_map(parse).collect()
    });
    let generation = object.metadata.generation;
    let status = NodeMirrorStatus {
        conditions: report.conditions.after(&before, generation, now),
        observed_generation: generation,
        ..report.status.clone()
    };
    // The type has no value that JSON cannot represent.
    serde_json::to_value(status.bounded()).unwrap_or_default()
}

/// Computes the merge patch (RFC 7396) that changes `current` to `desired`. Returns `None` if they are equal.
fn merge_patch(current: &Value, desired: &Value) -> Option<Value> {
    if current == desired {
        return None;
    }
    let (Value::Object(current), Value::Object(desired)) = (current, desired) else {
        return Some(desired.clone());
    };
    let mut patch = Map::new();
    for key in current.keys().filter(|key| !desired.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in desired {
        if let Some(difference) = merge_patch(current.get(key).unwrap_or(&Value::Null), value) {
            patch.insert(key.clone(), difference);
        }
    }
    Some(Value::Object(patch))
}

/// Returns true if a resource version is newer than another. Kubernetes guarantees their order since 1.35 (KEP-5504).
/// Versions that are not numbers are treated as newer if they differ.
fn is_newer(version: Option<&str>, than: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|version| version.parse::<u64>().ok());
    match (number(version), number(than)) {
        (Some(version), Some(than)) => version > than,
        _ => version != than,
    }
}
