//! The custom resource `NodeMirror`: the agent's report of its node. There is one per node, with the name of the node
//! and owned by it.
//!
//! Its spec is empty. The policy describes the desired state of all nodes, so that editing an object cannot change a
//! node. The definition in `manifests/base/crd.yaml` is generated from these types.

use crate::cluster::conditions::Condition;
use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most routes in an object. The rest is counted in `routesLeftOut`.
pub const MAX_ROUTES: usize = 32;
/// The most findings in an object.
pub const MAX_FINDINGS: usize = 32;
/// The most hosts in one side of a route.
pub const MOST_HOSTS: usize = 16;
/// The longest message, in characters.
pub const LONGEST_MESSAGE: usize = 1024;
/// The longest name of a registry, a host or a change, in characters.
pub const LONGEST_NAME: usize = 300;

/// Empty: the policy describes the desired state of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "mirrorshift.dev",
    version = "v1alpha1",
    kind = "NodeMirror",
    plural = "nodemirrors",
    singular = "nodemirror",
    status = "NodeMirrorStatus",
    derive = "PartialEq",
    doc = "The report of Mirrorshift's agent on one node. Only that agent writes it. The desired state of nodes is in the policy.",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase","description":"The phase of the node."}"#,
    printcolumn = r#"{"name":"Containerd","type":"string","jsonPath":".status.containerd","description":"The version of containerd."}"#,
    printcolumn = r#"{"name":"Mirrors","type":"string","jsonPath":".status.mirrors","description":"The settings from which containerd takes its mirrors."}"#,
    printcolumn = r#"{"name":"Change","type":"string","jsonPath":".status.change","description":"The last change of the node."}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","description":"The state of the node in one sentence."}"#
)]
pub struct NodeMirrorSpec {}

/// The state of the node, as observed last. It is written only when it differs, so it has no time of the observation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeMirrorStatus {
    /// The phase of the node.
    pub phase: NodePhase,
    /// The version of containerd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containerd: Option<String>,
    /// The settings from which containerd takes its mirrors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrors: Option<MirrorSetup>,
    /// The identifier of the last change, as `mirrorshift status` on the node prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// The time at which the last change ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_change_time: Option<Timestamp>,
    /// The state of the node in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The change that the policy requires. Absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// The hosts that containerd tries for each registry, now and after the plan. Routes that differ come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSummary>,
    /// The number of routes that were left out because there are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32", range(min = 0))]
    pub routes_left_out: u32,
    /// Settings that containerd rejects, ignores or will drop. The worst come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingSummary>,
    /// The number of findings that were left out because there are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32", range(min = 0))]
    pub findings_left_out: u32,
    /// The slot that the node holds, a Lease in the agent's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The version of the agent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// The active policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicySummary>,
    /// The generation of this object that the agent has observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Migrated`, `Degraded`, `Progressing` and `PolicyValid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The phase of a node. The comment of each phase states what is then true of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NodePhase {
    /// The node was observed, and there is nothing to change.
    #[default]
    Observed,
    /// There is a plan that is not carried out now: the policy only observes or allows no restart, the node is busy, or
    /// the API server does not answer.
    Pending,
    /// The plan was rehearsed, and other nodes hold all slots.
    Waiting,
    /// The node is being changed.
    Changing,
    /// The node matches the policy, and containerd serves.
    Migrated,
    /// The changes of the node were rolled back, as the policy requires. Every file is the original.
    RolledBack,
    /// The node cannot be changed. Nothing was changed.
    Refused,
    /// A change failed and was undone. Every file is the original. The node keeps its slot.
    Undone,
    /// The undo of a failed change failed too. An operator must repair the node. The node keeps its slot.
    Stuck,
}

impl NodePhase {
    /// All phases, in the order in which a node can go through them.
    pub const ALL: [Self; 9] = [
        Self::Observed,
        Self::Pending,
        Self::Waiting,
        Self::Changing,
        Self::Migrated,
        Self::RolledBack,
        Self::Refused,
        Self::Undone,
        Self::Stuck,
    ];

    /// The name in the object and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observed => "Observed",
            Self::Pending => "Pending",
            Self::Waiting => "Waiting",
            Self::Changing => "Changing",
            Self::Migrated => "Migrated",
            Self::RolledBack => "RolledBack",
            Self::Refused => "Refused",
            Self::Undone => "Undone",
            Self::Stuck => "Stuck",
        }
    }
}

/// The settings from which containerd takes its mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MirrorSetup {
    /// `registry.mirrors`.
    Legacy,
    /// hosts.toml files under `config_path`.
    ConfigPath,
    /// Both are set, so CRI does not load.
    Both,
    /// None: containerd contacts the registries directly.
    None,
}

/// The change that the policy requires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// The digest of the plan. Plans with the same digest write the same contents to the same files.
    pub digest: String,
    /// True if containerd must be restarted.
    pub restart: bool,
    /// The number of files to write.
    #[schemars(with = "i32", range(min = 0))]
    pub files: u32,
}

/// The hosts that containerd tries for a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSummary {
    /// The registry as image names spell it. `*` stands for any other registry.
    pub registry: String,
    /// The hosts now, in the order in which containerd tries them.
    pub before: Vec<String>,
    /// The hosts after the plan, in the order in which containerd tries them.
    pub after: Vec<String>,
}

/// A setting that containerd rejects, ignores or will drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingSummary {
    /// The identifier, which docs/findings.md explains.
    pub id: String,
    /// The severity, as `mirrorshift check` prints it.
    pub severity: String,
    /// The location, what containerd does, and the remedy.
    pub message: String,
}

/// The active policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicySummary {
    /// `observe`, `migrate` or `rollback`.
    pub mode: String,
    /// The digest of the policy.
    pub digest: String,
}

impl NodeMirrorStatus {
    /// Limits the size of the status, whatever the files of a node contain. Texts that are too long end with an
    /// ellipsis, and entries that are left out are counted.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.routes_left_out += limit(&mut self.routes, MAX_ROUTES);
        self.findings_left_out += limit(&mut self.findings, MAX_FINDINGS);
        for route in &mut self.routes {
            truncate(&mut route.registry, LONGEST_NAME);
            for hosts in [&mut route.before, &mut route.after] {
                for host in hosts.iter_mut() {
                    truncate(host, LONGEST_NAME);
                }
                if hosts.len() > MOST_HOSTS {
                    let more = limit(hosts, MOST_HOSTS - 1);
                    hosts.push(format!("and {more} more"));
                }
            }
        }
        for finding in &mut self.findings {
            truncate(&mut finding.id, LONGEST_NAME);
            truncate(&mut finding.severity, LONGEST_NAME);
            truncate(&mut finding.message, LONGEST_MESSAGE);
        }
        truncate(&mut self.message, LONGEST_MESSAGE);
        for name in [&mut self.containerd, &mut self.change].into_iter().flatten() {
            truncate(name, LONGEST_NAME);
        }
        for condition in &mut self.conditions {
            truncate(&mut condition.message, LONGEST_MESSAGE);
        }
        self
    }
}

/// Truncates a list, and returns the number of removed items.
fn limit<T>(list: &mut Vec<T>, max: usize) -> u32 {
    let more = list.len().saturating_sub(max);
    list.truncate(max);
    u32::try_from(more).unwrap_or(u32::MAX)
}

/// Truncates a text to `max` characters. The last one is then an ellipsis.
pub(super) fn truncate(text: &mut String, max: usize) {
    if text.chars().count() > max {
        *text = text.chars().take(max.saturating_sub(1)).chain(['…']).collect();
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn phases_are_serialized_by_name() {
        for phase in NodePhase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), json!(phase.name()));
        }
    }

    #[test]
    fn default_status_has_only_a_phase() {
        let status = NodeMirrorStatus::default();
        assert_eq!(serde_json::to_value(status).unwrap(), json!({ "phase": "Observed" }));
    }

    #[test]
    fn status_of_a_huge_node_is_bounded() {
        let route = RouteSummary {
            registry: "r".repeat(5000),
            before: vec!["h".repeat(5000); 40],
            after: vec!["short".into(); MOST_HOSTS],
        };
        let finding = FindingSummary {
            id: "i".repeat(5000),
            severity: "error".into(),
            message: "ä".repeat(5000),
        };
        let status = NodeMirrorStatus {
            message: "m".repeat(5000),
            change: Some("c".repeat(5000)),
            routes: vec![route; 100],
            findings: vec![finding; 100],
            ..NodeMirrorStatus::default()
        }
        .bounded();
        assert_eq!((status.routes.len(), status.routes_left_out), (MAX_ROUTES, 100 - 32));
        assert_eq!(
            (status.findings.len(), status.findings_left_out),
            (MAX_FINDINGS, 100 - 32)
        );
        assert_eq!(status.routes[0].before.len(), MOST_HOSTS);
        assert_eq!(status.routes[0].before[MOST_HOSTS - 1], "and 25 more");
        assert_eq!(status.routes[0].after.len(), MOST_HOSTS);
        assert_eq!(status.findings[0].message.chars().count(), LONGEST_MESSAGE);
        assert!(status.findings[0].message.ends_with('…'));
        // The API server accepts 3 MiB and etcd 1.5 MiB.
        assert!(serde_json::to_vec(&status).unwrap().len() < 512 * 1024);
        // The function is idempotent, so the same report twice is the same object.
        assert_eq!(status.clone().bounded(), status);
    }
}
