//! The requests that the admission policy must refuse, and a cluster to send them to.
//!
//! All requests are dry runs: they are admitted or refused like real ones, and change nothing for the next.

use std::time::{Duration, Instant};

use http::Request;
use kube::config::AuthInfo;
use kube::{Client, Config};
use libtest_mimic::Failed;
use mirrorshift_tests::cluster::node_identity::NodeIdentity;
use mirrorshift_tests::cluster::node_mirror::NodePhase;
use mirrorshift_tests::lab::ControlPlanes;
use serde_json::{Value, json};

use crate::node_mirror_writer::report;
use crate::world::{NAMESPACE, World};

pub(crate) const POLICY: &str = "mirrorshift-own-node";
pub(crate) const MIRRORS: &str = "/apis/mirrorshift.dev/v1alpha1/nodemirrors";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/mirrorshift-system/leases";
pub(crate) const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

/// An account whose RBAC allows everything on the kinds that agents write, so that only the admission policy can
/// refuse a request.
const WIDE: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: wide}
rules:
- {apiGroups: [mirrorshift.dev], resources: ['*'], verbs: ['*']}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: ['*']}
- {apiGroups: [events.k8s.io], resources: [events], verbs: ['*']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: wide}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: wide}
subjects: [{kind: ServiceAccount, name: mirrorshift-agent, namespace: mirrorshift-system}]
";

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// The agent of node n1.
    FirstNode,
    /// A client whose token of the agents' account is not bound to a node.
    Unbound,
}

/// A request that the policy refuses, and the only rule, operation and validation that refuse it.
pub(crate) struct Refused {
    pub(crate) what: &'static str,
    pub(crate) who: Requester,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Value,
    /// The index in `matchConstraints.resourceRules`.
    pub(crate) rule: usize,
    pub(crate) operation: &'static str,
    /// The index in `validations`.
    pub(crate) validation: usize,
}

/// Collects the requests.
#[derive(Default)]
struct Table {
    refused: Vec<Refused>,
    rule: usize,
    operation: &'static str,
}

impl Table {
    fn rule(&mut self, rule: usize, operation: &'static str) {
        (self.rule, self.operation) = (rule, operation);
    }

    fn first_node(&mut self, validation: usize, what: &'static str, method: &'static str, path: &str, body: Value) {
        self.add(Requester::FirstNode, validation, what, (method, path, body));
    }

    fn unbound(&mut self, validation: usize, what: &'static str, method: &'static str, path: &str, body: Value) {
        self.add(Requester::Unbound, validation, what, (method, path, body));
    }

    fn add(&mut self, who: Requester, validation: usize, what: &'static str, request: (&'static str, &str, Value)) {
        let (method, path, body) = request;
        self.refused.push(Refused {
            what,
            who,
            method,
            path: path.to_owned(),
            body,
            rule: self.rule,
            operation: self.operation,
            validation,
        });
    }
}

pub(crate) struct Clients {
    pub(crate) one: Client,
    pub(crate) nobody: Client,
}

/// A client for raw requests with a token.
fn client(world: &World, token: &str) -> Result<Client, Failed> {
    let access = world.access("raw", token)?;
    let mut config = Config::new(access.server);
    config.root_cert = Some(Vec::new());
    config.root_cert_file = Some(access.authority);
    config.auth_info = AuthInfo {
        token: Some(token.to_owned().into()),
        ..AuthInfo::default()
    };
    config.default_retry = false;
    Ok(world.run(async || Client::try_from(config))??)
}

/// Returns the code and the body of the answer.
pub(crate) async fn ask(client: &Client, method: &str, path: &str, body: &Value) -> (u16, String) {
    let kind = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("{path}?dryRun=All"))
        .header("content-type", kind)
        .body(if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        })
        .expect("a request");
    match client.request_text(request).await {
        Ok(text) => (200, text),
        Err(kube::Error::Api(status)) => (status.code, status.message),
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

pub(crate) fn reference(owner: &NodeIdentity) -> Value {
    json!([{ "apiVersion": "v1", "kind": "Node", "name": owner.name, "uid": owner.uid }])
}

fn mirror(name: &str, owners: &Value) -> Value {
    json!({
        "apiVersion": "mirrorshift.dev/v1alpha1", "kind": "NodeMirror",
        "metadata": { "name": name, "ownerReferences": owners }, "spec": {},
    })
}

pub(crate) fn lease(name: &str, holder: &str, owners: &Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": name, "namespace": NAMESPACE, "ownerReferences": owners },
        "spec": { "holderIdentity": holder },
    })
}

pub(crate) fn event(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": { "name": name, "namespace": "default" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Migrate", "reason": "MigrationDone", "note": "a", "type": "Normal",
        "regarding": { "apiVersion": "v1", "kind": "Node", "name": node, "uid": "u" },
        "reportingController": "mirrorshift.dev/agent", "reportingInstance": "pod",
    })
}

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) clients: Clients,
    pub(crate) one: NodeIdentity,
    pub(crate) two: NodeIdentity,
}

impl Scene {
    /// Creates two nodes, each with its object and a slot, and an event about the second.
    pub(crate) fn new(planes: &ControlPlanes) -> Result<Self, Failed> {
        let world = World::new(planes)?;
        world.plane.apply_text(WIDE)?;
        let (one, two) = (world.agent("n1")?, world.agent("n2")?);
        world.run(async || {
            for agent in [&one, &two] {
                let said = report(NodePhase::Observed, "");
                agent
                    .mirror()
                    .apply(&said, jiff::Timestamp::UNIX_EPOCH)
                    .await
                    .expect("said");
            }
        })?;
        // Here n1 owns what belongs to n2, so that each request violates only one validation.
        for (slot, holder) in [("slot-0", "n1"), ("slot-1", "n2")] {
            let lease = lease(slot, holder, &reference(&one.owner));
            world.plane.apply_text(&lease.to_string())?;
        }
        let owned = json!({ "metadata": { "ownerReferences": reference(&one.owner) } }).to_string();
        let patch = ["patch", "nodemirror", "n2", "--type=merge", "-p", &owned];
        world.plane.kubectl(&patch)?.ok()?;
        world.plane.apply_text(&event("e1", "n2").to_string())?;
        let bound = std::fs::read_to_string(&one.access.token)?;
        let clients = Clients {
            one: client(&world, &bound)?,
            nobody: client(&world, &world.token(&[])?)?,
        };
        Ok(Self {
            world,
            clients,
            one: one.owner,
            two: two.owner,
        })
    }

    pub(crate) async fn answer(&self, refused: &Refused) -> (u16, String) {
        let client = match refused.who {
            Requester::FirstNode => &self.clients.one,
            Requester::Unbound => &self.clients.nobody,
        };
        ask(client, refused.method, &refused.path, &refused.body).await
    }

    /// Returns all requests that the policy must refuse.
    pub(crate) fn refused(&self) -> Vec<Refused> {
        let (one, two) = (reference(&self.one), reference(&self.two));
        let stale = reference(&NodeIdentity {
            uid: "0".into(),
            ..self.one.clone()
        });
        let owners = |owners: &Value| json!({ "metadata": { "ownerReferences": owners } });
        let holder = |node: &str| json!({ "spec": { "holderIdentity": node } });
        let label = json!({ "metadata": { "labels": { "a": "b" } } });
        let said = json!({ "status": { "message": "All is well." } });
        let slot = |name: &str, node: &str, owners: &Value| lease(name, node, owners);
        let none = Value::Null;
        // An update must contain the whole object, here with an additional label.
        let there = |path: &str| -> Value {
            let there = self.world.plane.kubectl(&["get", "--raw", path]).expect("kubectl");
            let mut object: Value = serde_json::from_str(&there.stdout).expect("an object");
            object["metadata"]["labels"] = json!({ "a": "b" });
            object
        };
        let of = |base: &str, name: &str| format!("{base}/{name}");
        let (mirror_1, mirror_2) = (of(MIRRORS, "n1"), of(MIRRORS, "n2"));
        let (slot_1, slot_2) = (of(LEASES, "slot-0"), of(LEASES, "slot-1"));
        let status_2 = of(&mirror_2, "status");
        let whole = (there(&mirror_2), there(&slot_2));

        let mut table = Table::default();
        table.rule(0, "CREATE");
        table.unbound(0, "make an object, unbound", "POST", MIRRORS, mirror("n9", &one));
        table.first_node(1, "make another's object", "POST", MIRRORS, mirror("n9", &one));
        table.rule(0, "UPDATE");
        table.first_node(1, "patch another's object", "PATCH", &mirror_2, label.clone());
        table.first_node(1, "update another's object", "PUT", &mirror_2, whole.0.clone());
        table.first_node(1, "patch another's status", "PATCH", &status_2, said);
        table.first_node(1, "update another's status", "PUT", &status_2, whole.0);
        table.first_node(
            2,
            "give the own object to another Node",
            "PATCH",
            &mirror_1,
            owners(&two),
        );
        table.first_node(
            2,
            "give the own object to the Node that was",
            "PATCH",
            &mirror_1,
            owners(&stale),
        );
        table.rule(0, "DELETE");
        table.first_node(1, "delete another's object", "DELETE", &mirror_2, none.clone());
        table.first_node(1, "delete all objects", "DELETE", MIRRORS, none.clone());
        table.rule(1, "CREATE");
        table.unbound(0, "make a slot, unbound", "POST", LEASES, slot("slot-2", "n1", &one));
        table.first_node(3, "make any Lease", "POST", LEASES, slot("leader-2", "n1", &one));
        table.first_node(4, "make another's slot", "POST", LEASES, slot("slot-2", "n2", &one));
        table.first_node(
            5,
            "make a slot of no Node",
            "POST",
            LEASES,
            slot("slot-2", "n1", &json!([])),
        );
        table.first_node(
            5,
            "make a slot of another Node",
            "POST",
            LEASES,
            slot("slot-2", "n1", &two),
        );
        table.first_node(
            5,
            "make a slot of the Node that was",
            "POST",
            LEASES,
            slot("slot-2", "n1", &stale),
        );
        table.rule(1, "UPDATE");
        table.first_node(4, "take over a slot", "PATCH", &slot_2, holder("n1"));
        table.first_node(4, "hand a slot on", "PATCH", &slot_1, holder("n2"));
        table.first_node(4, "write at another's slot", "PATCH", &slot_2, label.clone());
        table.first_node(4, "update another's slot", "PUT", &slot_2, whole.1);
        table.first_node(5, "make a slot outlive its Node", "PATCH", &slot_1, owners(&none));
        table.rule(1, "DELETE");
        table.first_node(4, "free another's slot", "DELETE", &slot_2, none.clone());
        table.first_node(4, "free all slots", "DELETE", LEASES, none);
        table.rule(2, "CREATE");
        // The token has no node name, and neither has the event.
        table.unbound(0, "tell, unbound", "POST", EVENTS, event("e2", ""));
        table.first_node(6, "tell of another", "POST", EVENTS, event("e2", "n2"));
        table.rule(2, "UPDATE");
        table.first_node(6, "tell otherwise of another", "PATCH", &of(EVENTS, "e1"), label);
        table.refused
    }

    /// Changes the policy, and waits until a request that it refused is admitted.
    pub(crate) fn until_let_through(
        &self,
        patch: &Value,
        refused: &[Refused],
        by: impl Fn(&Refused) -> bool,
    ) -> Result<usize, Failed> {
        let patch = patch.to_string();
        let arguments = [
            "patch",
            "validatingadmissionpolicy",
            POLICY,
            "--type=json",
            "-p",
            &patch,
        ];
        self.world.plane.kubectl(&arguments)?.ok()?;
        let concerned: Vec<&Refused> = refused.iter().filter(|refused| by(refused)).collect();
        for refused in &concerned {
            self.until_answer(refused, |code| code < 400)?;
        }
        Ok(concerned.len())
    }

    /// Repeats the request until the answer is as expected.
    pub(crate) fn until_answer(&self, refused: &Refused, wanted: impl Fn(u16) -> bool) -> Result<(), Failed> {
        let begun = Instant::now();
        loop {
            let (code, words) = self.world.run(async || self.answer(refused).await)?;
            if wanted(code) {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(30) {
                return Err(format!("{}: {code} {words}", refused.what).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
