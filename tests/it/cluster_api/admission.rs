//! The admission policy and RBAC, verb by verb.

use std::collections::BTreeSet;

use libtest_mimic::Failed;
use mirrorshift_tests::lab::ControlPlanes;
use serde_json::{Value, json};

use crate::refusals::{EVENTS, LEASES, MIRRORS, POLICY, Refused, Requester, Scene, ask, event, lease, reference};
use crate::world::{AGENT, NAMESPACE, World, until};

pub(crate) fn agent_writes_only_for_its_own_node(planes: &ControlPlanes) -> Result<(), Failed> {
    let scene = Scene::new(planes)?;
    for refused in scene.refused() {
        let (code, words) = scene.world.run(async || scene.answer(&refused).await)?;
        assert_eq!(code, 403, "{}: {words}", refused.what);
        assert!(words.contains(POLICY), "{}: {words}", refused.what);
        // Each request is refused by the intended validation, which the message names.
        let said = [
            "not bound to a node",
            "may write only the NodeMirror of that node",
            "a NodeMirror belongs to its own Node",
            "Leases named slot-",
            "may write only slots of that node",
            "a slot belongs to the Node that holds it",
            "may write only Events of that node",
        ];
        assert!(words.contains(said[refused.validation]), "{}: {words}", refused.what);
    }
    // The same policy admits what agents do.
    let one = &scene.clients.one;
    let (own, status) = (format!("{MIRRORS}/n1"), format!("{MIRRORS}/n1/status"));
    let slot = format!("{LEASES}/slot-0");
    let done = [
        (
            "PATCH",
            own.clone(),
            json!({ "metadata": { "ownerReferences": reference(&scene.one) } }),
        ),
        ("PATCH", status, json!({ "status": { "message": "b" } })),
        ("DELETE", own, Value::Null),
        ("POST", LEASES.into(), lease("slot-2", "n1", &reference(&scene.one))),
        (
            "PATCH",
            slot.clone(),
            json!({ "metadata": { "annotations": { "mirrorshift.dev/phase": "b" } } }),
        ),
        ("DELETE", slot, Value::Null),
        ("POST", EVENTS.into(), event("e2", "n1")),
    ];
    for (method, path, body) in done {
        let (code, words) = scene.world.run(async || ask(one, method, &path, &body).await)?;
        assert_eq!(code, 200, "{method} {path}: {words}");
    }
    Ok(())
}

/// Removes each operation of each rule and each validation, and checks that a request is then admitted that was
/// refused before.
pub(crate) fn each_part_of_the_admission_policy_is_needed(planes: &ControlPlanes) -> Result<(), Failed> {
    let scene = Scene::new(planes)?;
    let refused = scene.refused();
    let policy = scene.world.get(&["validatingadmissionpolicy", POLICY])?;
    let rules = policy["spec"]["matchConstraints"]["resourceRules"]
        .as_array()
        .expect("rules");
    let validations = policy["spec"]["validations"].as_array().expect("validations");
    let mut tried = 0;
    let mut part =
        |name: String, path: String, cut: Value, whole: &Value, by: &dyn Fn(&Refused) -> bool| -> Result<(), Failed> {
            let patch = |value: &Value| json!([{ "op": "replace", "path": path, "value": value }]);
            let through = scene.until_let_through(&patch(&cut), &refused, by)?;
            assert!(through > 0, "nothing is refused by {name} alone");
            scene.until_let_through(&patch(whole), &refused, |_| false)?;
            for concerned in refused.iter().filter(|refused| by(refused)) {
                scene.until_answer(concerned, |code| code == 403)?;
            }
            tried += 1;
            Ok(())
        };
    for (number, rule) in rules.iter().enumerate() {
        let path = format!("/spec/matchConstraints/resourceRules/{number}/operations");
        let operations: BTreeSet<&str> = rule["operations"]
            .as_array()
            .expect("operations")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        for operation in &operations {
            let rest: Vec<&str> = operations.iter().filter(|other| *other != operation).copied().collect();
            part(
                format!("{operation} of rule {number}"),
                path.clone(),
                json!(rest),
                &rule["operations"],
                &|refused| refused.rule == number && refused.operation == *operation,
            )?;
        }
    }
    // A status is a separate resource.
    let resources = &rules[0]["resources"];
    assert_eq!(*resources, json!(["nodemirrors", "nodemirrors/status"]));
    for (kept, lost) in [("nodemirrors", "/status"), ("nodemirrors/status", "/n2")] {
        let path = "/spec/matchConstraints/resourceRules/0/resources".to_owned();
        part(
            format!("resources without {kept}"),
            path,
            json!([kept]),
            resources,
            &|refused| refused.rule == 0 && refused.path.ends_with(lost),
        )?;
    }
    for (number, validation) in validations.iter().enumerate() {
        let path = format!("/spec/validations/{number}");
        let harmless = json!({ "expression": "true" });
        part(format!("validation {number}"), path, harmless, validation, &|refused| {
            // A client without a node is refused by the names too, except where no name is allowed.
            refused.validation == number && (refused.who == Requester::FirstNode || refused.path == EVENTS)
        })?;
    }
    assert_eq!(tried, 8 + 2 + 7);
    Ok(())
}

/// Checks what RBAC allows the account.
pub(crate) fn account_has_only_the_rights_that_it_needs(planes: &ControlPlanes) -> Result<(), Failed> {
    let world = World::new(planes)?;
    let user = format!("system:serviceaccount:{NAMESPACE}:{AGENT}");
    let verbs = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    let may = |resource: &str, namespace: &str| -> Result<Vec<&str>, Failed> {
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let part = format!("--subresource={part}");
        let mut allowed = Vec::new();
        for verb in verbs {
            let mut arguments = vec!["auth", "can-i", verb, resource, &part, "--as", &user];
            arguments.extend(if namespace.is_empty() {
                vec![]
            } else {
                vec!["-n", namespace]
            });
            if world.plane.kubectl(&arguments)?.stdout.trim() == "yes" {
                allowed.push(verb);
            }
        }
        Ok(allowed)
    };
    let none: [&str; 0] = [];
    assert_eq!(
        may("nodemirrors.mirrorshift.dev", "")?,
        ["get", "list", "watch", "create", "patch"]
    );
    assert_eq!(may("nodemirrors.mirrorshift.dev/status", "")?, ["patch"]);
    assert_eq!(may("nodes", "")?, ["get"]);
    assert_eq!(may("nodes/status", "")?, none);
    assert_eq!(may("nodes/proxy", "")?, none);
    assert_eq!(
        may("leases.coordination.k8s.io", NAMESPACE)?,
        ["list", "watch", "create", "patch", "delete"]
    );
    assert_eq!(may("leases.coordination.k8s.io", "kube-system")?, none);
    assert_eq!(may("leases.coordination.k8s.io", "kube-node-lease")?, none);
    assert_eq!(may("events.events.k8s.io", "default")?, ["create"]);
    for resource in ["secrets", "configmaps", "pods", "pods/exec", "serviceaccounts/token"] {
        for namespace in [NAMESPACE, "kube-system"] {
            assert_eq!(may(resource, namespace)?, none, "{resource} {namespace}");
        }
    }
    // The DaemonSet's pods are admitted: with the host's folders, the priority and the tolerations.
    world.node("n1")?;
    let label = ["label", "node", "n1", "kubernetes.io/os=linux"];
    world.plane.kubectl(&label)?.ok()?;
    let pods = ["pods", "-n", NAMESPACE];
    until("the DaemonSet creates no pod", || Ok(!world.absent(&pods)?))?;
    let pod = &world.get(&pods)?["items"][0];
    assert_eq!(pod["spec"]["priority"], 2_000_001_000);
    assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], AGENT);
    Ok(())
}
