//! What the agent tells of its node: the object `NodeMirror`, one a node, named as the node and owned by it.
//!
//! Nothing is asked for in it. What nodes should be like stands in the policy, so that nobody can ask one node for
//! something else by editing an object. The definition in `manifests/base/crd.yaml` is made from these types.

use crate::cluster::conditions::Condition;
use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most routes in an object. A node with more tells how many were left out.
pub const MOST_ROUTES: usize = 32;
/// Most findings in an object.
pub const MOST_FINDINGS: usize = 32;
/// Most hosts in one side of a route.
pub const MOST_HOSTS: usize = 16;
/// Longest text of a message, in characters.
pub const LONGEST_MESSAGE: usize = 1024;
/// Longest name of something, in characters: a registry, a host, a digest.
pub const LONGEST_NAME: usize = 300;

/// Empty: nothing is asked for here.
#[derive(Clone, Debug, Default, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "mirrorshift.dev",
    version = "v1alpha1",
    kind = "NodeMirror",
    plural = "nodemirrors",
    singular = "nodemirror",
    status = "NodeMirrorStatus",
    derive = "PartialEq",
    doc = "What Mirrorshift's agent tells of one node. Only that agent writes it; the policy says what nodes should be like.",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase","description":"Where the node is on its way."}"#,
    printcolumn = r#"{"name":"Containerd","type":"string","jsonPath":".status.containerd","description":"The version that runs."}"#,
    printcolumn = r#"{"name":"Mirrors","type":"string","jsonPath":".status.mirrors","description":"Where containerd has its mirrors from."}"#,
    printcolumn = r#"{"name":"Change","type":"string","jsonPath":".status.change","description":"The last change of the node."}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","description":"What to know of it, in one sentence."}"#
)]
pub struct NodeMirrorSpec {}

/// How the node is, as its agent saw it last. Written only when something of it is new, so it bears no time of looking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeMirrorStatus {
    /// Where the node is on its way.
    pub phase: NodePhase,
    /// The version of the containerd that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containerd: Option<String>,
    /// Where containerd has its mirrors from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrors: Option<MirrorSetup>,
    /// The id of the last change, as `mirrorshift status` on the node has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// When the last change ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_change_time: Option<Timestamp>,
    /// What to know of the node, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What is to be changed; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// Who is asked for the images of each registry, now and after the plan; those that differ come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSummary>,
    /// How many routes were left out because there are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32", range(min = 0))]
    pub routes_left_out: u32,
    /// What this containerd refuses, ignores or will drop; the worst come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingSummary>,
    /// How many findings were left out because there are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32", range(min = 0))]
    pub findings_left_out: u32,
    /// The slot that the node holds, a Lease in the agent's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The version of the agent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// The policy in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicySummary>,
    /// The generation of this object that the agent has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Migrated`, `Degraded`, `Progressing` and `PolicyValid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where a node is on its way. The comment of each says what is then true of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NodePhase {
    /// The node was looked at and nothing is to be done: the policy only observes, or there is nothing to migrate.
    #[default]
    Observed,
    /// There is a plan, and the agent is about to rehearse it or to ask for a slot.
    Pending,
    /// The plan was rehearsed; other nodes hold all slots.
    Waiting,
    /// The node holds a slot and is being changed.
    Changing,
    /// The node is as the policy wants it, and containerd serves.
    Migrated,
    /// The node's change was taken back, as the policy asked.
    RolledBack,
    /// The node cannot be changed as it is, and nothing of it was touched.
    Refused,
    /// A change failed and was undone: every file is as it was. The node keeps its slot.
    Undone,
    /// A change failed and so did its undo: a person is needed. The node keeps its slot.
    Stuck,
}

impl NodePhase {
    /// All of them, in the order in which a node may go through them.
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

    /// As it stands in the object and in metrics.
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

/// Where containerd has its mirrors from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MirrorSetup {
    /// From `registry.mirrors`.
    Legacy,
    /// From hosts.toml files below `config_path`.
    ConfigPath,
    /// Both are set, which keeps CRI from loading.
    Both,
    /// From nowhere: registries are asked themselves.
    None,
}

/// What is to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// The digest of the plan: the same one, the same bytes in the same files.
    pub digest: String,
    /// Whether containerd is to be restarted.
    pub restart: bool,
    /// How many files are to be written.
    #[schemars(with = "i32", range(min = 0))]
    pub files: u32,
}

/// Who is asked for the images of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSummary {
    /// The registry as image names spell it; `*` stands for every registry that nothing names.
    pub registry: String,
    /// Who is asked now, in order.
    pub before: Vec<String>,
    /// Who will be asked, in order.
    pub after: Vec<String>,
}

/// What this containerd refuses, ignores or will drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingSummary {
    /// The name under which `docs/findings.md` explains it.
    pub id: String,
    /// How bad it is, as `mirrorshift check` says.
    pub level: String,
    /// What was found, and where.
    pub message: String,
}

/// The policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicySummary {
    /// `observe`, `migrate` or `rollback`.
    pub mode: String,
    /// The digest of its text.
    pub digest: String,
}

impl NodeMirrorStatus {
    /// The same within the bounds of an object, whatever a node's files hold: what is too long is cut and says so, and
    /// what is left out is counted.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.routes_left_out += keep(&mut self.routes, MOST_ROUTES);
        self.findings_left_out += keep(&mut self.findings, MOST_FINDINGS);
        for route in &mut self.routes {
            cut(&mut route.registry, LONGEST_NAME);
            for hosts in [&mut route.before, &mut route.after] {
                for host in hosts.iter_mut() {
                    cut(host, LONGEST_NAME);
                }
                if hosts.len() > MOST_HOSTS {
                    let more = keep(hosts, MOST_HOSTS - 1);
                    hosts.push(format!("and {more} more"));
                }
            }
        }
        for finding in &mut self.findings {
            cut(&mut finding.id, LONGEST_NAME);
            cut(&mut finding.level, LONGEST_NAME);
            cut(&mut finding.message, LONGEST_MESSAGE);
        }
        cut(&mut self.message, LONGEST_MESSAGE);
        for name in [&mut self.containerd, &mut self.change].into_iter().flatten() {
            cut(name, LONGEST_NAME);
        }
        for condition in &mut self.conditions {
            cut(&mut condition.message, LONGEST_MESSAGE);
        }
        self
    }
}

/// Shortens a list, and tells by how much.
fn keep<T>(list: &mut Vec<T>, most: usize) -> u32 {
    let more = list.len().saturating_sub(most);
    list.truncate(most);
    u32::try_from(more).unwrap_or(u32::MAX)
}

/// Shortens a text to `most` characters, the last of which says so.
pub(super) fn cut(text: &mut String, most: usize) {
    if text.chars().count() > most {
        *text = text.chars().take(most.saturating_sub(1)).chain(['…']).collect();
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
    fn phases_are_named_as_they_are_written() {
        for phase in NodePhase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), json!(phase.name()));
        }
    }

    #[test]
    fn nothing_unknown_is_written() {
        let status = NodeMirrorStatus::default();
        assert_eq!(serde_json::to_value(status).unwrap(), json!({ "phase": "Observed" }));
    }

    #[test]
    fn a_huge_node_fits() {
        let route = RouteSummary {
            registry: "r".repeat(5000),
            before: vec!["h".repeat(5000); 40],
            after: vec!["short".into(); MOST_HOSTS],
        };
        let finding = FindingSummary {
            id: "i".repeat(5000),
            level: "error".into(),
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
        assert_eq!((status.routes.len(), status.routes_left_out), (MOST_ROUTES, 100 - 32));
        assert_eq!(
            (status.findings.len(), status.findings_left_out),
            (MOST_FINDINGS, 100 - 32)
        );
        assert_eq!(status.routes[0].before.len(), MOST_HOSTS);
        assert_eq!(status.routes[0].before[MOST_HOSTS - 1], "and 25 more");
        assert_eq!(status.routes[0].after.len(), MOST_HOSTS);
        assert_eq!(status.findings[0].message.chars().count(), LONGEST_MESSAGE);
        assert!(status.findings[0].message.ends_with('…'));
        // The API server takes 3 MiB and etcd 1.5 MiB.
        assert!(serde_json::to_vec(&status).unwrap().len() < 512 * 1024);
        // Cut once is cut: the same report twice is the same object.
        assert_eq!(status.clone().bounded(), status);
    }
}
