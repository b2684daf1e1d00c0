//! Guarantees of the planner that need a policy or the images of the node.

use crate::plan::{NodeFiles, Plan, plan};
use crate::policy::Policy;
use crate::policy::flags::MirrorFlag;
use crate::route_change::RegistryScope;
use mirrorshift_containerd::{DEFAULT_CONFIG, Entry, Tree, Version, read};
use std::collections::BTreeSet;

const CONFIG: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors]
  # Cache of rack 3.
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."*"]
    endpoint = ["http://10.0.20.10:5000"]
  # Mirror in Frankfurt, owned by team A.
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."ghcr.io"]
    endpoint = ["http://old.test:5010"]
  # Quay moves in autumn.
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."quay.io"]
    endpoint = ["http://quay.test:5020"]
"#;

fn planned(policy: &Policy, images: &[String]) -> Plan {
    let version: Version = "1.7.24".parse().unwrap();
    let mut tree = Tree::new();
    tree.insert(DEFAULT_CONFIG, Entry::File(CONFIG.into()));
    loop {
        let missing = read(&version, DEFAULT_CONFIG, &tree).missing;
        if missing.is_empty() {
            break;
        }
        for path in missing {
            tree.insert(path, Entry::Absent);
        }
    }
    let node = NodeFiles {
        version: &version,
        config: DEFAULT_CONFIG,
        tree: &tree,
        owned: &BTreeSet::new(),
        images,
    };
    plan(&node, policy).unwrap()
}

fn with_keys(keys: &str) -> Policy {
    let text = format!("apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n{keys}\n");
    Policy::parse(&text, "policy.yaml").unwrap()
}

fn hosts_file(plan: &Plan, directory: &str) -> Option<String> {
    let path = format!("/etc/containerd/certs.d/{directory}/hosts.toml");
    let step = plan.steps.iter().find(|step| step.path == path)?;
    Some(String::from_utf8(step.content.clone()?).unwrap())
}

#[test]
fn comment_moves_to_the_hosts_file_of_its_own_mirror() {
    let plan = planned(&Policy::default(), &[]);
    for (directory, comment) in [
        ("_default", "# Cache of rack 3."),
        ("ghcr.io", "# Mirror in Frankfurt, owned by team A."),
        ("quay.io", "# Quay moves in autumn."),
    ] {
        let text = hosts_file(&plan, directory).unwrap();
        assert!(text.contains(comment), "{directory}: {text}");
    }
}

#[test]
fn comment_about_a_replaced_mirror_is_not_moved() {
    let flag: MirrorFlag = "ghcr.io=http://new.test:5010".parse().unwrap();
    let plan = planned(&Policy::with_flags(None, &[flag], None).unwrap(), &[]);
    let ghcr = hosts_file(&plan, "ghcr.io").unwrap();
    assert!(
        ghcr.contains("http://new.test:5010") && !ghcr.contains("Frankfurt"),
        "{ghcr}"
    );
    assert!(
        hosts_file(&plan, "quay.io")
            .unwrap()
            .contains("# Quay moves in autumn.")
    );
    // The plan still lists the comment, so its reader knows that it is removed.
    let listed = |comment: &str| plan.comments.iter().any(|(_, text)| text.text.contains(comment));
    assert!(listed("Frankfurt") && listed("Quay"));
    // The mirror itself stays with another key of the policy, and so does its comment.
    let plan = planned(&with_keys("registries: [{host: ghcr.io, tags: upstream}]"), &[]);
    assert!(hosts_file(&plan, "ghcr.io").unwrap().contains("Frankfurt"));
}

#[test]
fn comment_about_a_dropped_wildcard_is_not_moved() {
    let plan = planned(&with_keys("wildcard: drop"), &[]);
    let with_comment = plan
        .steps
        .iter()
        .filter(|step| step.path.ends_with("/hosts.toml"))
        .find(|step| String::from_utf8_lossy(step.content.as_deref().unwrap_or_default()).contains("rack 3"));
    assert_eq!(with_comment, None);
}

#[test]
fn routes_of_every_image_on_the_node_are_compared() {
    let images = ["registry.k8s.io", "private.test:8443", "ghcr.io"].map(str::to_owned);
    let plan = planned(&Policy::default(), &images);
    for image in &images {
        let of_image = |change: &&crate::RouteChange| change.registry == RegistryScope::Registry(image.clone());
        let change = plan.routes.iter().find(of_image).unwrap();
        assert!(!change.differs() && !change.before.asks().is_empty(), "{image}");
    }
    let without = planned(&Policy::default(), &[]);
    assert_eq!(plan.routes.len(), without.routes.len() + 2);
    // An image changes no file: the wildcard serves its registry already.
    assert_eq!(plan.digest(), without.digest());
}
