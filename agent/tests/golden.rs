//! Golden text: the output as people read it, at 60, 80 and 120 columns and in a pipe.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Node, assert_fits, golden, mirrorshift, ran, registry};
use std::fmt::Write as _;

const WIDTHS: [usize; 3] = [60, 80, 120];
const COMMANDS: [&str; 11] = [
    "check",
    "explain",
    "plan",
    "migrate",
    "status",
    "rollback",
    "agent",
    "purge",
    "completions",
    "man",
    "version",
];

#[test]
fn commands_on_a_realistic_node() {
    let node = Node::example();
    golden("example_plan", &node.shown(&["plan"]));
    golden("example_plan_diff", &node.shown(&["plan", "--diff"]));
    golden("example_check", &node.shown(&["check", "--target", "2.2.0"]));
    golden(
        "example_check_table",
        &node.shown(&["check", "--target", "2.0,2.2,2.4", "-q"]),
    );
    golden(
        "example_explain",
        &node.shown(&["explain", "quay.io/prometheus/node-exporter:v1.9.0"]),
    );
    golden("example_migrate_dry_run", &node.shown(&["migrate", "--dry-run", "-q"]));
    golden("example_migrate", &node.shown(&["migrate", "--no-restart"]));
    golden("example_again", &node.shown(&["migrate", "--no-restart"]));
    golden("example_planned_again", &node.shown(&["plan", "--exit-code"]));
    golden("example_status", &node.shown(&["status"]));
    golden("example_rollback_dry_run", &node.shown(&["rollback", "--dry-run"]));
    golden("example_rollback", &node.shown(&["rollback", "--no-restart"]));
    golden("example_status_after_rollback", &node.shown(&["status"]));
}

#[test]
fn policy_by_flags() {
    let flags = [
        "plan",
        "--exit-code",
        "--wildcard",
        "docker.io",
        "--mirror",
        "ghcr.io=http://10.0.20.10:5010",
    ];
    golden("policy_by_flags", &Node::example().shown(&flags));
}

#[test]
fn plan_with_every_kind_of_detail() {
    let node = Node::new(registry(
        "# Mirrors of the lab; password: hunter2\n[r.mirrors.\"lab.corp:8443\"]\n  endpoint = [\"https://10.0.0.9/v2/lab\", \
         \"http://10.0.0.8:5000\"]\n  rewrite = \"x\"\n[r.configs.\"10.0.0.9\".tls]\n  insecure_skip_verify = true\n\
         [r.configs.\"10.0.0.8:5000\".auth]\n  username = \"u\"\n  password = \"hunter2\"\n",
    ));
    golden("plan_details", &node.shown(&["plan", "--diff"]));
}

#[test]
fn nothing_to_do() {
    golden("no_settings", &Node::new("version = 2\n").shown(&["plan"]));
    golden("no_file", &Node::empty().shown(&["migrate"]));
    golden("no_change", &Node::empty().shown(&["rollback"]));
    golden("idle", &Node::empty().shown(&["status"]));
    golden("nothing_found", &Node::empty().shown(&["check"]));
}

#[test]
fn pull_that_fails_before_the_first_request() {
    let node = Node::new(registry(
        "[r]\nconfig_path = \"/c\"\n[r.mirrors.\"a.io\"]\nendpoint = [\"http://m\"]\n",
    ));
    golden("failing_explain", &node.shown(&["explain", "a.io/x:1"]));
    golden("failing_plan", &node.shown(&["plan"]));
}

/// A node with 25 mirrors and a wildcard.
fn large_node() -> Node {
    let mut body = String::from("[r.mirrors.\"*\"]\n  endpoint = [\"http://cache.corp.example:5000\"]\n");
    for number in 1..=25 {
        writeln!(
            body,
            "[r.mirrors.\"registry{number}.example\"]\n  endpoint = [\"https://harbor.corp.example/v2/proxy-{number}\", \
             \"https://registry{number}.example\"]"
        )
        .unwrap();
    }
    Node::new(registry(&body))
}

#[test]
fn plan_of_25_registries_fits_a_screen() {
    let node = large_node();
    for columns in WIDTHS {
        let text = node.shown_at(columns, &["plan"]);
        golden(&format!("plan_25_registries_{columns}"), &text);
        assert_fits(columns, &text);
        let lines = text.lines().count();
        assert!(
            lines <= if columns == 60 { 70 } else { 50 },
            "{lines} lines at {columns}"
        );
    }
    let all = node.shown(&["plan", "--diff", "--routes"]);
    assert!(all.lines().count() > 300 && all.contains("registry25.example"), "{all}");
    // A pipe gets the same as a terminal of 100 columns.
    assert_eq!(node.shown(&["plan"]), node.shown_at(100, &["plan"]));
}

#[test]
fn help_of_every_command_fits_the_terminal() {
    for columns in WIDTHS {
        let help = |words: &[&str]| {
            let mut command = mirrorshift();
            command.env("COLUMNS", columns.to_string()).args(words).arg("--help");
            ran(command.output().unwrap()).out
        };
        let mut text = help(&[]);
        for command in COMMANDS {
            let one = help(&[command]);
            assert!(one.contains("Example"), "{command} has no example");
            assert!(one.contains("Global options:"), "{command}");
            write!(text, "\n==== {command} ====\n\n{one}").unwrap();
        }
        golden(&format!("help_{columns}"), &text);
    }
}

#[test]
fn refusals_fit_the_terminal() {
    let unreadable = Node::new("version = 2\nroot = \"/a\"\nroot = \"/b\"\n");
    let name = Node::new(registry("[r.mirrors.\"../../etc\"]\nendpoint = [\"http://m\"]\n"));
    let k3s = Node::new(format!(
        "# File generated by k3s. DO NOT EDIT.\n{}",
        registry("[r.mirrors.\"a.io\"]\nendpoint = [\"http://m\"]\n")
    ));
    let example = Node::example();
    let endpoint = Node::new(registry("[r.mirrors.\"a.io\"]\nendpoint = [\"http://[::1\"]\n"));
    let head = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n";
    let misspelt = Node::example();
    misspelt.write("policy.yaml", format!("{head}wildcrad: drop\n"));
    let no_host = Node::example();
    no_host.write(
        "policy.yaml",
        format!("{head}wildcard: drop\nregistries:\n- host: a.io\n  fallback: none\n"),
    );
    let damaged = Node::example();
    damaged.write("/var/lib/mirrorshift/journal.json", "{}");
    let no_root = Node::example();
    let cases: [(&str, &Node, &[&str]); 14] = [
        ("endpoint", &endpoint, &["plan"]),
        ("policy-file", &misspelt, &["plan", "--policy", "node/policy.yaml"]),
        ("policy", &no_host, &["plan", "--policy", "node/policy.yaml"]),
        ("flag", &no_root, &["plan", "--mirror", "ghcr.io"]),
        ("journal", &damaged, &["status"]),
        ("unreadable", &unreadable, &["plan"]),
        ("registry-name", &name, &["plan"]),
        ("owned", &k3s, &["migrate"]),
        ("config", &example, &["plan", "--config", "/etc/containerd/confg.toml"]),
        ("flag", &example, &["migrate", "--verify-image", "nginx"]),
        ("image", &example, &["explain", "a b"]),
        ("containerd-version", &example, &["check", "--target", "latest"]),
        ("consent", &example, &["purge"]),
        ("rehearse", &example, &["plan", "--rehearse"]),
    ];
    for columns in WIDTHS {
        let mut all = String::new();
        for (reason, node, words) in &cases {
            let text = node.shown_at(columns, words);
            assert_fits(columns, &text);
            write!(all, "==== {reason}: {} ====\n{text}\n", words.join(" ")).unwrap();
        }
        golden(&format!("refusals_{columns}"), &all);
    }
}
