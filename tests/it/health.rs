//! The comparison of containerd's health with a baseline, on nodes: after a restart, after each way to break
//! containerd, and after its repair.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use libtest_mimic::Failed;
use mirrorshift_tests::lab::node::Workload;
use mirrorshift_tests::lab::{Containerd, Node, NodeOptions, Nodes};
use mirrorshift_tests::run_example_on_nodes;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Longer than CRI has ever taken to become ready.
const CRI: Duration = Duration::from_secs(20);
const PROGRAM: &str = "/usr/local/bin/health";
const BASELINE: &str = "/run/baseline.json";

fn main() -> ExitCode {
    run_example_on_nodes(env!("CARGO_BIN_EXE_lab-run"), "health", "health", run)
}

/// The action on the node, the expected health, and a part of the first difference.
const STATES: [(&str, &str, &str); 7] = [
    ("true", "Serves", ""),
    ("systemctl restart containerd", "Serves", ""),
    ("systemctl stop containerd", "Absent", "does not answer"),
    ("systemctl start containerd", "Serves", ""),
    (
        "cp /etc/containerd/config.toml /run/good.toml; printf '%s\\n' \
         '[plugins.\"io.containerd.grpc.v1.cri\".registry]' 'config_path = \"/etc/containerd/certs.d\"' \
         '[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]' 'endpoint = [\"http://m.test\"]' \
         >> /etc/containerd/config.toml; systemctl restart containerd",
        "Fails",
        "cri` did not load",
    ),
    (
        "cp /run/good.toml /etc/containerd/config.toml; systemctl restart containerd",
        "Serves",
        "",
    ),
    // As a unit with `KillMode=control-group` does.
    (
        "systemctl stop containerd; for shim in $(pidof containerd-shim-runc-v2); do kill -KILL $shim; done; \
         for task in $(cat /run/tasks); do kill -KILL $task; done; systemctl start containerd",
        "Fails",
        "",
    ),
];

fn run(nodes: &Nodes, containerd: &Containerd, program: &Path) -> Result<(), Failed> {
    let node = nodes.boot(containerd, &NodeOptions::new(""))?;
    node.wait_cri(CRI)?;
    let workload = node.start_workload("one")?;
    node.start_sandbox("two", true)?;
    node.log_flows(&workload, 20, CRI)?;
    node.copy_in(program, PROGRAM)?;
    let pids: Vec<String> = node.pids()?.values().map(|process| process.pid.to_string()).collect();
    node.write("/run/tasks", pids.join(" "))?;
    node.run(&[PROGRAM, "keep", BASELINE])?.ok()?;
    reads_outputs(&node, &workload)?;
    for (script, health, difference) in STATES {
        // So many starts in a row reach systemd's start limit.
        node.run(&["systemctl", "reset-failed", "containerd"])?.ok()?;
        node.run(&["sh", "-c", script])?.ok()?;
        let said = settled(&node)?;
        let mut lines = said.lines();
        if lines.next() != Some(health) || !said.contains(difference) {
            return Err(format!("wanted {health} and `{difference}` after `{script}`:\n{said}").into());
        }
    }
    eprintln!("containerd {}: {} states reported", containerd.version, STATES.len());
    Ok(())
}

/// Checks that containerd reads the container's output, and that an output that it does not read is reported and
/// waited for.
fn reads_outputs(node: &Node, workload: &Workload) -> Result<(), Failed> {
    let baseline = String::from_utf8(node.read(BASELINE)?)?;
    let (read, unread) = (
        format!("\"{}-stdout\"", workload.container),
        // A sandbox has no output.
        format!("\"{}-stdout\"", workload.sandbox),
    );
    assert!(baseline.contains(&read) && !baseline.contains(&unread), "{baseline}");
    node.write("/run/more.json", baseline.replace(&read, &format!("{read},{unread}")))?;
    let said = node.run(&[PROGRAM, "compare", "/run/more.json"])?.ok()?.stdout;
    let wanted = format!("Recovering\nthe log of `{}-stdout` does not flow\n", workload.sandbox);
    assert_eq!(said, wanted);
    Ok(())
}

/// Returns the report once containerd is no longer starting.
fn settled(node: &Node) -> std::io::Result<String> {
    let mut last = String::new();
    let ended = node.until("containerd does not come up", CRI, || {
        last = node.run(&[PROGRAM, "compare", BASELINE])?.ok()?.stdout;
        Ok((!last.starts_with("Recovering")).then_some(()))
    });
    ended.map(|()| last)
}
