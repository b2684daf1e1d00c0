//! The manifests as kustomize renders them: their guarantees are checked in the text that is applied.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};
use mirrorshift_plan::policy::Policy;
use mirrorshift_tests::all_skipped;
use mirrorshift_tests::lab::cluster::kubectl;
use serde_json::{Value, json};

const CASES: [(&str, fn()); 7] = [
    ("all_overlays_have_the_same_objects", all_overlays_have_the_same_objects),
    (
        "overlays_differ_only_in_policy_and_nodes",
        overlays_differ_only_in_policy_and_nodes,
    ),
    (
        "pod_is_root_without_further_privileges",
        pod_is_root_without_further_privileges,
    ),
    (
        "pod_mounts_four_folders_of_the_host",
        pod_mounts_four_folders_of_the_host,
    ),
    ("agent_is_not_ended_during_a_change", agent_is_not_ended_during_a_change),
    (
        "admission_policy_binds_the_account_of_the_agents",
        admission_policy_binds_the_account_of_the_agents,
    ),
    (
        "quota_is_for_the_priority_of_the_pods",
        quota_is_for_the_priority_of_the_pods,
    ),
];

fn main() -> ExitCode {
    if let Err(why) = kubectl() {
        return all_skipped("manifests", &why.to_string());
    }
    let trial = |(name, run): (&str, fn())| {
        Trial::test(format!("manifests::{name}"), move || {
            run();
            Ok(())
        })
    };
    let trials = CASES.map(trial);
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

const OVERLAYS: [&str; 4] = ["observe", "migrate", "canary", "rollback"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns every object of a kustomization, by kind and name.
fn rendered(folder: &str) -> BTreeMap<String, Value> {
    rendered_at(&root().join("manifests").join(folder))
}

fn rendered_at(path: &Path) -> BTreeMap<String, Value> {
    let output = Command::new(kubectl().unwrap()).arg("kustomize").arg(path).output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let name = |object: &Value| {
        format!(
            "{} {}",
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"].as_str().unwrap()
        )
    };
    objects.into_iter().map(|object| (name(&object), object)).collect()
}

fn daemon(objects: &BTreeMap<String, Value>) -> &Value {
    &objects["DaemonSet mirrorshift-agent"]["spec"]["template"]["spec"]
}

fn all_overlays_have_the_same_objects() {
    let names = |overlay: &str| rendered(&format!("overlays/{overlay}")).into_keys().collect::<Vec<_>>();
    let base = rendered("base").into_keys().collect::<Vec<_>>();
    assert_eq!(base.len(), 13, "{base:?}");
    for overlay in OVERLAYS {
        // So each overlay can follow any other and leaves no object behind.
        assert_eq!(names(overlay), base, "{overlay}");
    }
}

fn overlays_differ_only_in_policy_and_nodes() {
    let observe = rendered("overlays/observe");
    for (overlay, mode) in [
        ("observe", "observe"),
        ("migrate", "migrate"),
        ("canary", "migrate"),
        ("rollback", "rollback"),
    ] {
        let mut objects = rendered(&format!("overlays/{overlay}"));
        let policy = objects["ConfigMap mirrorshift-policy"]["data"]["policy.yaml"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(policy.contains(&format!("\nmode: {mode}\n")), "{policy}");
        Policy::parse(&policy, "policy.yaml").unwrap_or_else(|error| panic!("{overlay}: {error}"));
        let nodes = daemon(&objects)["nodeSelector"].clone();
        let mut expected = json!({ "kubernetes.io/os": "linux" });
        if overlay == "canary" {
            expected["mirrorshift.dev/canary"] = json!("true");
        }
        assert_eq!(nodes, expected, "{overlay}");
        for (name, object) in &observe {
            if name.starts_with("ConfigMap") {
                continue;
            }
            let rendered = objects.get_mut(name).unwrap();
            if name.starts_with("DaemonSet") {
                rendered["spec"]["template"]["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "linux" });
            }
            assert_eq!(rendered, object, "{overlay}: {name}");
        }
    }
}

fn pod_is_root_without_further_privileges() {
    let objects = rendered("base");
    let pod = daemon(&objects);
    for absent in [
        "hostPID",
        "hostIPC",
        "hostNetwork",
        "hostUsers",
        "shareProcessNamespace",
        "initContainers",
        "securityContext",
    ] {
        assert!(pod.get(absent).is_none(), "{absent}");
    }
    let containers = pod["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    assert_eq!(
        containers[0]["securityContext"],
        json!({
            "runAsUser": 0,
            "runAsGroup": 0,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
            "appArmorProfile": { "type": "Unconfined" },
            "seLinuxOptions": { "type": "spc_t" },
        })
    );
    let level = |mode: &str| {
        objects["Namespace mirrorshift-system"]["metadata"]["labels"][format!("pod-security.kubernetes.io/{mode}")]
            .clone()
    };
    assert_eq!(
        [level("enforce"), level("audit"), level("warn")],
        ["privileged", "privileged", "privileged"]
    );
}

fn pod_mounts_four_folders_of_the_host() {
    let objects = rendered("base");
    let pod = daemon(&objects);
    let mut folders = BTreeMap::new();
    for volume in pod["volumes"].as_array().unwrap() {
        let Some(path) = volume.get("hostPath") else {
            assert_eq!(
                volume["configMap"],
                json!({ "name": "mirrorshift-policy", "optional": true })
            );
            continue;
        };
        let mount = pod["containers"][0]["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|mount| mount["name"] == volume["name"])
            .unwrap();
        assert_eq!(mount["mountPath"], path["path"]);
        // With a `subPath` the pod would keep the old file after it is replaced.
        assert!(mount.get("subPath").is_none());
        let read_only = mount.get("readOnly") == Some(&json!(true));
        folders.insert(
            path["path"].as_str().unwrap(),
            (path["type"].as_str().unwrap(), read_only),
        );
    }
    let expected = BTreeMap::from([
        ("/etc/containerd", ("Directory", true)),
        ("/run/dbus", ("Directory", false)),
        ("/run/mirrorshift", ("DirectoryOrCreate", false)),
        ("/var/lib/mirrorshift", ("DirectoryOrCreate", false)),
    ]);
    assert_eq!(folders, expected);
}

fn agent_is_not_ended_during_a_change() {
    let objects = rendered("base");
    let pod = daemon(&objects);
    let agent = &pod["containers"][0];
    for absent in ["livenessProbe", "startupProbe", "lifecycle"] {
        assert!(agent.get(absent).is_none(), "{absent}");
    }
    assert_eq!(
        agent["readinessProbe"]["httpGet"],
        json!({ "path": "/readyz", "port": "metrics" })
    );
    assert_eq!(pod["terminationGracePeriodSeconds"], 300);
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
    assert!(agent["resources"]["requests"]["memory"].is_string());
    assert!(
        agent["resources"]["limits"].get("cpu").is_none(),
        "a limit of CPU time would only slow a change"
    );
    let environment: BTreeMap<&str, &str> = agent["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| {
            let field = &variable["valueFrom"]["fieldRef"]["fieldPath"];
            (variable["name"].as_str().unwrap(), field.as_str().unwrap())
        })
        .collect();
    let expected = BTreeMap::from([("NODE_NAME", "spec.nodeName"), ("POD_NAMESPACE", "metadata.namespace")]);
    assert_eq!(environment, expected);
}

fn admission_policy_binds_the_account_of_the_agents() {
    let objects = rendered("base");
    let daemon_set = &objects["DaemonSet mirrorshift-agent"];
    let namespace = daemon_set["metadata"]["namespace"].as_str().unwrap();
    let account = daemon(&objects)["serviceAccountName"].as_str().unwrap();
    let policy = &objects["ValidatingAdmissionPolicy mirrorshift-own-node"]["spec"];
    let condition = policy["matchConditions"][0]["expression"].as_str().unwrap();
    assert_eq!(
        condition,
        format!(
            "request.userInfo.username.startsWith('system:serviceaccount:') && \
             request.userInfo.username.endsWith(':{account}')"
        )
    );
    assert_eq!(policy["failurePolicy"], "Fail");
    for validation in policy["validations"].as_array().unwrap() {
        // The default is 422, which means that the object is invalid.
        assert_eq!(validation["reason"], "Forbidden");
        assert!(
            validation
                .get("message")
                .or(validation.get("messageExpression"))
                .is_some()
        );
    }
    let binding = &objects["ValidatingAdmissionPolicyBinding mirrorshift-own-node"]["spec"];
    assert_eq!(binding["policyName"], "mirrorshift-own-node");
    assert_eq!(binding["validationActions"], json!(["Deny"]));
    assert!(binding.get("matchResources").is_none());
    for object in objects.values() {
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(
                (subject["namespace"].as_str(), subject["name"].as_str()),
                (Some(namespace), Some(account))
            );
        }
    }
}

fn quota_is_for_the_priority_of_the_pods() {
    // As for a user with a copy of the manifests.
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(root().join("manifests"))
        .arg(copy.path())
        .status();
    assert!(copied.unwrap().success());
    let own = copy.path().join("manifests/overlays/own");
    fs::create_dir(&own).unwrap();
    let text = "resources: [../observe]\ncomponents: [../../components/priority-quota]\n";
    fs::write(own.join("kustomization.yaml"), text).unwrap();
    let objects = rendered_at(&own);
    let quota = &objects["ResourceQuota mirrorshift-node-critical"];
    let classes = &quota["spec"]["scopeSelector"]["matchExpressions"][0]["values"];
    assert_eq!(*classes, json!([daemon(&objects)["priorityClassName"]]));
    assert_eq!(quota["metadata"]["namespace"], "mirrorshift-system");
}
