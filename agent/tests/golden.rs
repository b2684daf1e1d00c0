//! What people read, word for word.

mod common;

use common::{Node, registry};

#[test]
fn a_realistic_node() {
    let node = Node::example();
    insta::assert_snapshot!("example_plan", node.shown(&["plan"]));
    insta::assert_snapshot!("example_check", node.shown(&["check", "--target", "2.2.0"]));
    insta::assert_snapshot!(
        "example_explain",
        node.shown(&["explain", "quay.io/prometheus/node-exporter:v1.9.0"])
    );
    insta::assert_snapshot!("example_migrate", node.shown(&["migrate", "--no-restart"]));
    insta::assert_snapshot!("example_again", node.shown(&["migrate", "--no-restart"]));
    insta::assert_snapshot!("example_planned_again", node.shown(&["plan", "--exit-code"]));
    insta::assert_snapshot!("example_status", node.shown(&["status"]));
    insta::assert_snapshot!("example_rollback", node.shown(&["rollback", "--no-restart"]));
}

#[test]
fn a_policy_by_flags() {
    let wishes = [
        "plan",
        "--exit-code",
        "--wildcard",
        "docker.io",
        "--mirror",
        "ghcr.io=http://10.0.20.10:5010",
    ];
    insta::assert_snapshot!(Node::example().shown(&wishes));
}

#[test]
fn a_plan_with_every_kind_of_detail() {
    let node = Node::new(registry(
        "# Mirrors of the lab; password: hunter2\n[r.mirrors.\"lab.corp:8443\"]\n  endpoint = [\"https://10.0.0.9/v2/lab\", \
         \"http://10.0.0.8:5000\"]\n  rewrite = \"x\"\n[r.configs.\"10.0.0.9\".tls]\n  insecure_skip_verify = true\n\
         [r.configs.\"10.0.0.8:5000\".auth]\n  username = \"u\"\n  password = \"hunter2\"\n",
    ));
    insta::assert_snapshot!(node.shown(&["plan"]));
}

#[test]
fn nothing_to_do() {
    insta::assert_snapshot!("no_settings", Node::new("version = 2\n").shown(&["plan"]));
    insta::assert_snapshot!("no_file", Node::empty().shown(&["migrate"]));
    insta::assert_snapshot!("no_change", Node::empty().shown(&["rollback"]));
    insta::assert_snapshot!("idle", Node::empty().shown(&["status"]));
    insta::assert_snapshot!("nothing_found", Node::empty().shown(&["check"]));
}

#[test]
fn a_pull_that_fails_before_anybody_is_asked() {
    let node = Node::new(registry(
        "[r]\nconfig_path = \"/c\"\n[r.mirrors.\"a.io\"]\nendpoint = [\"http://m\"]\n",
    ));
    insta::assert_snapshot!("dead_explain", node.shown(&["explain", "a.io/x:1"]));
    insta::assert_snapshot!("dead_plan", node.shown(&["plan"]));
}
