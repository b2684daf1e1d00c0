//! A control plane with the project's manifests, simulated Nodes, and agents' tokens.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mirrorshift_tests::lab::cluster::Mark;
use mirrorshift_tests::lab::{ControlOptions, ControlPlane, ControlPlanes};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use mirrorshift_tests::cluster::client::{ApiClient, CallLimits, InClusterConfig};
use mirrorshift_tests::cluster::node_identity::NodeIdentity;
use mirrorshift_tests::cluster::node_mirror_writer::NodeMirrorWriter;
use mirrorshift_tests::cluster::slots::SlotPool;

pub(crate) const NAMESPACE: &str = "mirrorshift-system";
pub(crate) const AGENT: &str = "mirrorshift-agent";
const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster in which the manifests are in force.
pub(crate) struct World {
    pub(crate) plane: ControlPlane,
    folder: TempDir,
    runtime: Runtime,
}

/// The data of one node's agent.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) access: InClusterConfig,
    pub(crate) owner: NodeIdentity,
}

impl Agent {
    /// Returns a new client, as each agent has.
    pub(crate) fn cluster(&self) -> ApiClient {
        ApiClient::new(&self.access, CallLimits::default()).expect("a client")
    }

    pub(crate) fn mirror(&self) -> NodeMirrorWriter {
        NodeMirrorWriter::new(self.cluster(), self.owner.clone())
    }

    pub(crate) fn gate(&self) -> SlotPool {
        self.gate_within(CallLimits::default())
    }

    pub(crate) fn gate_within(&self, limits: CallLimits) -> SlotPool {
        let cluster = ApiClient::new(&self.access, limits).expect("a client");
        SlotPool::new(cluster, NAMESPACE, self.owner.clone())
    }
}

impl World {
    /// Starts a cluster with the manifests and without Nodes.
    pub(crate) fn new(planes: &ControlPlanes) -> io::Result<Self> {
        let plane = planes.up(&ControlOptions {
            controllers: true,
            ..ControlOptions::default()
        })?;
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/overlays/observe");
        plane.apply(&manifests)?;
        let definition = "crd/nodemirrors.mirrorshift.dev";
        plane
            .kubectl(&["wait", "--for=condition=Established", definition, "--timeout=60s"])?
            .ok()?;
        let world = Self {
            plane,
            folder: tempfile::tempdir()?,
            runtime: Builder::new_current_thread().enable_all().build()?,
        };
        // An admission policy takes effect a moment after it was created. This token is not bound to a node, so the
        // policy refuses its requests.
        let unbound = world.token(&[])?;
        let lease = format!(
            "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{name: slot-0, namespace: {NAMESPACE}}}\nspec: {{}}\n"
        );
        let create = ["create", "--dry-run=server", "-f", "-"];
        until("the admission policy is not in force", || {
            let ran = world.plane.kubectl_by(&unbound, &create, &lease)?;
            Ok(ran.stderr.contains("not bound to a node"))
        })?;
        Ok(world)
    }

    /// Creates a Node with this name, or returns the existing one.
    pub(crate) fn node(&self, name: &str) -> io::Result<NodeIdentity> {
        self.plane
            .apply_text(&format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n"))?;
        let node = self.get(&["node", name])?;
        let uid = node["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        Ok(NodeIdentity {
            name: name.to_owned(),
            uid,
        })
    }

    /// Returns the node's agent, with a token that is bound to the node.
    pub(crate) fn agent(&self, name: &str) -> io::Result<Agent> {
        let owner = self.node(name)?;
        let token = self.token(&[
            "--bound-object-kind=Node",
            &format!("--bound-object-name={name}"),
            &format!("--bound-object-uid={}", owner.uid),
        ])?;
        let access = self.access(name, &token)?;
        // The node identity in the token must match the Node in the cluster.
        assert_eq!(
            NodeIdentity::of_token(&access.token, name).expect("a bound token"),
            owner
        );
        Ok(Agent { access, owner })
    }

    /// Creates the files of a pod with a token.
    pub(crate) fn access(&self, name: &str, token: &str) -> io::Result<InClusterConfig> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("ca.crt"), self.plane.authority())?;
        std::fs::write(folder.join("token"), token)?;
        InClusterConfig::of_pod("10.96.0.1", "443", &folder).map_err(io::Error::other)
    }

    /// Returns a token of the agents' account.
    pub(crate) fn token(&self, bound: &[&str]) -> io::Result<String> {
        let create = ["create", "token", AGENT, "-n", NAMESPACE];
        let arguments: Vec<&str> = create.iter().chain(bound).copied().collect();
        Ok(self.plane.kubectl(&arguments)?.ok()?.stdout.trim().to_owned())
    }

    /// Returns an object or a list as JSON.
    pub(crate) fn get(&self, what: &[&str]) -> io::Result<Value> {
        let arguments: Vec<&str> = ["get", "-o", "json"].iter().chain(what).copied().collect();
        Ok(serde_json::from_str(&self.plane.kubectl(&arguments)?.ok()?.stdout)?)
    }

    pub(crate) fn absent(&self, what: &[&str]) -> io::Result<bool> {
        let get = ["get", "-o", "name", "--ignore-not-found"];
        let arguments: Vec<&str> = get.iter().chain(what).copied().collect();
        Ok(self.plane.kubectl(&arguments)?.ok()?.stdout.is_empty())
    }

    /// Runs `work` on one thread in the cluster's network.
    pub(crate) fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> io::Result<T> {
        // Connections belong to the runtime, whichever thread runs it.
        self.plane.inside(|| self.runtime.block_on(work()))
    }

    /// Returns the number of the agents' requests since a mark, by `verb resource`; a watch is counted when it
    /// begins.
    pub(crate) fn asked(&self, mark: Mark) -> io::Result<BTreeMap<String, usize>> {
        // The audit log is written a moment after the answer.
        sleep(Duration::from_millis(300));
        let mut counts = BTreeMap::new();
        let by = format!("system:serviceaccount:{NAMESPACE}:{AGENT}");
        let ended = |stage: &str, verb: &str| (stage == "ResponseComplete") != (verb == "watch");
        for event in self.plane.audit().since(mark)? {
            if event.user.username == by && ended(&event.stage, &event.verb) {
                let of = &event.object_ref;
                let slash = if of.subresource.is_empty() { "" } else { "/" };
                let what = format!("{} {}{slash}{}", event.verb, of.resource, of.subresource);
                *counts.entry(what).or_default() += 1;
            }
        }
        Ok(counts)
    }
}

/// Repeats the check until it succeeds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if holds()? {
            return Ok(());
        }
        sleep(Duration::from_millis(200));
    }
    Err(io::Error::other(what.to_owned()))
}

/// The number of requests in a short form.
pub(crate) fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected
        .into_iter()
        .map(|(what, count)| (what.to_owned(), count))
        .collect()
}

/// Returns a merge patch that sets one field of the status.
pub(crate) fn status_patch(field: &str, value: &str) -> String {
    json!({ "status": { field: value } }).to_string()
}
