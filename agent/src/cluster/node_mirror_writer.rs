//! The node's own object: made when it is not there, and written only where it says something else than it should.
//!
//! Written by JSON merge patches that name the version they were made from. A merge patch holds what differs and nothing
//! else, takes away what does not belong there, and fails when somebody wrote meanwhile, whereupon it is made anew.
//! Server-side apply would leave whatever another manager has added, and grow a list of managers in each of thousands
//! of objects that have but one writer.

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

/// How often a write is made anew because somebody else wrote in between.
const TRIES: u32 = 5;

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// All but conditions and the generation, which [`Mirror::say`] adds.
    pub status: NodeMirrorStatus,
    /// The conditions.
    pub conditions: Conditions,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Nothing: the object says it already. Nor was anything asked, unless nothing was known of it yet.
    Nothing,
    /// What differed.
    Patched,
    /// The whole object: there was none.
    Made,
}

/// The object as it was seen last. Its fields are kept as they came: another version of the agent may have written
/// what this one cannot read.
#[derive(Clone, Debug)]
struct Last {
    object: DynamicObject,
    /// What was said when this version came of it. Equal to the object's status, unless the cluster's definition is of
    /// another release and lacks a field; then saying it again would change nothing.
    said: Option<Value>,
}

/// The node's own object.
#[derive(Debug)]
pub struct NodeMirrorWriter {
    cluster: ApiClient,
    api: Api<DynamicObject>,
    owner: NodeIdentity,
    last: Option<Last>,
    watch: Watch<DynamicObject>,
}

impl NodeMirrorWriter {
    /// Asks nothing yet.
    pub fn new(cluster: ApiClient, owner: NodeIdentity) -> Self {
        let api = Api::all_with(cluster.client(), &ApiResource::erase::<NodeMirror>(&()));
        let own = format!("metadata.name={}", owner.name);
        Self {
            watch: Watch::new(api.clone(), "the node's NodeMirror", Some(own)),
            cluster,
            api,
            owner,
            last: None,
        }
    }

    /// Makes the object say `report`, whoever wrote what into it before. `now` is when a condition changes, if one does.
    ///
    /// # Errors
    ///
    /// That of a call. Nothing is lost by it: say the same again.
    pub async fn apply(&mut self, report: &NodeReport, now: Timestamp) -> Result<WriteOutcome, Error> {
        let mut written = WriteOutcome::Nothing;
        for _ in 0..TRIES {
            let mut last = match self.last.take() {
                Some(last) => last,
                None => match self.read().await? {
                    Some(object) => Last { object, said: None },
                    None => match self.make().await {
                        Ok(object) => {
                            written = WriteOutcome::Made;
                            Last { object, said: None }
                        }
                        Err(error) if error.kind == ApiErrorKind::Exists => continue,
                        Err(error) => return Err(error),
                    },
                },
            };
            let outcome = self.write(&mut last, report, now).await;
            match outcome {
                // Somebody wrote, or deleted it: look again.
                Err(error) if matches!(error.kind, ApiErrorKind::Conflict | ApiErrorKind::Absent) => {}
                Ok(wrote) => {
                    self.last = Some(last);
                    return Ok(if written == WriteOutcome::Made { written } else { wrote });
                }
                // Was it written after all, the next write is a conflict.
                Err(error) => {
                    self.last = Some(last);
                    return Err(error);
                }
            }
        }
        let words = "somebody else writes it again and again";
        Err(Error::new(&self.doing("write"), ApiErrorKind::Conflict, words))
    }

    /// Waits until somebody else has changed or deleted the object: then say again what it should say. Costs one watch and,
    /// while nobody does, no call. May be dropped and called again at any time.
    ///
    /// # Errors
    ///
    /// That of a call. The next comes after a while that grows.
    pub async fn wait_for_external_change(&mut self) -> Result<(), Error> {
        loop {
            let disturbed = match self.watch.next(&self.cluster).await? {
                WatchEvent::Restarted(mut objects) => match objects.pop() {
                    Some(object) => self.news(object),
                    None => self.forget(),
                },
                WatchEvent::Applied(object) => self.news(object),
                WatchEvent::Deleted(_) => self.forget(),
            };
            if disturbed {
                return Ok(());
            }
        }
    }

    fn forget(&mut self) -> bool {
        self.last = None;
        true
    }

    /// Takes note of the object, and tells whether somebody else made it what it is.
    fn news(&mut self, object: DynamicObject) -> bool {
        let Some(last) = &mut self.last else { return true };
        // Own writes come back as news, the older ones after the newer were answered.
        if !is_newer(
            object.resource_version().as_deref(),
            last.object.resource_version().as_deref(),
        ) {
            return false;
        }
        let same = object.data["status"] == last.object.data["status"]
            && object.metadata.owner_references == last.object.metadata.owner_references
            && object.metadata.uid == last.object.metadata.uid;
        if !same {
            last.said = None;
        }
        last.object = object;
        !same
    }

    async fn read(&self) -> Result<Option<DynamicObject>, Error> {
        let doing = self.doing("read");
        self.cluster
            .call(&doing, RetrySafety::Idempotent, || self.api.get_opt(&self.owner.name))
            .await
    }

    async fn make(&self) -> Result<DynamicObject, Error> {
        let mut object = DynamicObject::new(&self.owner.name, &ApiResource::erase::<NodeMirror>(&()));
        object.metadata = ObjectMeta {
            owner_references: Some(vec![self.owner.reference()]),
            ..object.metadata
        };
        object.data = json!({ "spec": {} });
        let params = PostParams::default();
        // Made twice is seen: the second time there is one.
        self.cluster
            .call(&self.doing("make"), RetrySafety::Idempotent, || {
                self.api.create(&params, &object)
            })
            .await
    }

    /// Writes what differs, the owner first: the admission policy takes no object that is owned by others.
    async fn write(&self, last: &mut Last, report: &NodeReport, now: Timestamp) -> Result<WriteOutcome, Error> {
        let mut written = WriteOutcome::Nothing;
        if !self.owner.owns(last.object.metadata.owner_references.as_ref()) {
            let patch = json!({ "metadata": { "ownerReferences": [self.owner.reference()] } });
            last.object = self.patch(&last.object, patch, false).await?;
            last.said = None;
            written = WriteOutcome::Patched;
        }
        let wanted = wanted(report, &last.object, now);
        if last.said.as_ref() == Some(&wanted) {
            return Ok(written);
        }
        let there = last.object.data.get("status").unwrap_or(&Value::Null);
        if let Some(status) = difference(there, &wanted) {
            last.object = self.patch(&last.object, json!({ "status": status }), true).await?;
            written = WriteOutcome::Patched;
        }
        last.said = Some(wanted);
        Ok(written)
    }

    async fn patch(&self, object: &DynamicObject, mut patch: Value, status: bool) -> Result<DynamicObject, Error> {
        // Of this version, which no other object of the name has had.
        patch["metadata"]["resourceVersion"] = json!(object.metadata.resource_version);
        let (patch, params, name) = (Patch::Merge(patch), PatchParams::default(), &self.owner.name);
        let doing = self.doing(if status { "write the status of" } else { "write" });
        self.cluster
            .call(&doing, RetrySafety::Idempotent, async || {
                if status {
                    self.api.patch_status(name, &params, &patch).await
                } else {
                    self.api.patch(name, &params, &patch).await
                }
            })
            .await
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} {} {}", NodeMirror::kind(&()), self.owner.name)
    }
}

/// The whole status, given the object that is to have it.
fn wanted(report: &NodeReport, object: &DynamicObject, now: Timestamp) -> Value {
    let before = object.data.get("status").and_then(|status| status.get("conditions"));
    // A condition that cannot be read has no history.
    let before: Vec<Condition> = before.and_then(Value::as_array).map_or_else(Vec::new, |conditions| {
        let read = |condition: &Value| serde_json::from_value(condition.clone()).ok();
        conditions.iter().filter_map(read).collect()
    });
    let generation = object.metadata.generation;
    let status = NodeMirrorStatus {
        conditions: report.conditions.after(&before, generation, now),
        observed_generation: generation,
        ..report.status.clone()
    };
    // A status of strings, numbers and lists of them can always be written.
    serde_json::to_value(status.bounded()).unwrap_or_default()
}

/// The merge patch (RFC 7396) that makes `there` the same as `wanted`; none when it is.
fn difference(there: &Value, wanted: &Value) -> Option<Value> {
    if there == wanted {
        return None;
    }
    let (Value::Object(there), Value::Object(wanted)) = (there, wanted) else {
        return Some(wanted.clone());
    };
    let mut patch = Map::new();
    for key in there.keys().filter(|key| !wanted.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in wanted {
        if let Some(differs) = difference(there.get(key).unwrap_or(&Value::Null), value) {
            patch.insert(key.clone(), differs);
        }
    }
    Some(Value::Object(patch))
}

/// Whether a version comes after another. Kubernetes promises their order since 1.35 and has kept it ever since; a pair
/// that is not two numbers counts as newer when it differs.
fn is_newer(version: Option<&str>, than: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|version| version.parse::<u64>().ok());
    match (number(version), number(than)) {
        (Some(version), Some(than)) => version > than,
        _ => version != than,
    }
}
