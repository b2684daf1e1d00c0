//! The checks before a change, on nodes: a node that is ready, and each obstacle that systemd, containerd and the
//! kernel can show.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use libtest_mimic::Failed;
use mirrorshift_tests::lab::{Containerd, Node, NodeOptions, Nodes};
use mirrorshift_tests::run_example_on_nodes;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Longer than CRI has ever taken to become ready.
const CRI: Duration = Duration::from_secs(20);
const CONFIG: &str = "/etc/containerd/config.toml";
const PROGRAM: &str = "/usr/local/bin/preflight";

fn main() -> ExitCode {
    run_example_on_nodes(env!("CARGO_BIN_EXE_lab-run"), "preflight", "preflight", run)
}

/// An obstacle, the names that the checks report, and its removal.
struct Spoil {
    what: &'static str,
    /// A script for the node's shell.
    script: &'static str,
    flags: &'static [&'static str],
    said: &'static [&'static str],
    /// Another script, after which CRI serves again.
    repair: &'static str,
}

const BACK: &str = "systemctl reset-failed; systemctl restart containerd";

const SPOILS: [Spoil; 10] = [
    Spoil {
        what: "the unit kills its control group",
        script: "mkdir -p /run/systemd/system/containerd.service.d; \
                printf '[Service]\\nKillMode=control-group\\n' > /run/systemd/system/containerd.service.d/kill.conf; \
                systemctl daemon-reload",
        flags: &[],
        said: &["kills-containers"],
        repair: "true",
    },
    Spoil {
        what: "the operator accepts the loss",
        script: "true",
        flags: &["--accept"],
        said: &["go"],
        repair: "rm /run/systemd/system/containerd.service.d/kill.conf; systemctl daemon-reload",
    },
    Spoil {
        what: "the file was edited since the daemon started",
        script: "sleep 0.1; echo '# edited' >> /etc/containerd/config.toml",
        flags: &[],
        said: &["newer-than-daemon"],
        repair: BACK,
    },
    Spoil {
        what: "the file is a mount of its own",
        script: "mount --bind /etc/containerd/config.toml /etc/containerd/config.toml",
        flags: &[],
        said: &["mounted"],
        repair: "umount /etc/containerd/config.toml",
    },
    Spoil {
        what: "the file cannot be written",
        script: "mount --bind /etc/containerd /etc/containerd; mount -o remount,bind,ro /etc/containerd",
        flags: &[],
        said: &["read-only"],
        repair: "umount /etc/containerd",
    },
    Spoil {
        what: "a second containerd runs",
        script: "systemd-run --unit=second /usr/bin/containerd --config /dev/null --root /run/second/root \
                --state /run/second/state --address /run/second/second.sock; \
                until [ -S /run/second/second.sock ]; do sleep 0.05; done",
        flags: &[],
        said: &["many-daemons"],
        repair: "systemctl stop second; systemctl reset-failed",
    },
    Spoil {
        what: "containerd is stopped",
        script: "systemctl stop containerd",
        flags: &[],
        said: &["no-daemon", "unit-down", "unknown"],
        repair: BACK,
    },
    Spoil {
        what: "containerd hangs",
        script: "kill -STOP $(systemctl show -p MainPID --value containerd)",
        flags: &[],
        said: &["unknown"],
        repair: "kill -CONT $(systemctl show -p MainPID --value containerd)",
    },
    Spoil {
        what: "containerd failed a moment ago",
        script: "kill -KILL $(systemctl show -p MainPID --value containerd); \
                until [ $(systemctl show -p NRestarts --value containerd) != 0 ] && \
                systemctl is-active --quiet containerd; do sleep 0.1; done; sleep 1",
        flags: &[],
        said: &["unit-troubled"],
        repair: BACK,
    },
    Spoil {
        what: "CRI does not load because of both settings",
        script: "cp /etc/containerd/config.toml /run/good.toml; printf '%s\\n' \
                '[plugins.\"io.containerd.grpc.v1.cri\".registry]' 'config_path = \"/etc/containerd/certs.d\"' \
                '[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]' 'endpoint = [\"http://m.test\"]' \
                >> /etc/containerd/config.toml; systemctl restart containerd; sleep 1",
        flags: &[],
        said: &["cri-dead"],
        repair: "true",
    },
];

fn run(nodes: &Nodes, containerd: &Containerd, program: &Path) -> Result<(), Failed> {
    let began = Instant::now();
    let node = nodes.boot(containerd, &NodeOptions::new(""))?;
    node.wait_cri(CRI)?;
    let workload = node.start_workload("one")?;
    node.log_flows(&workload, 20, CRI)?;
    let before = node.pids()?;
    node.copy_in(program, PROGRAM)?;
    expect(&node, "a node without obstacles", &[], &["go"])?;
    for spoil in &SPOILS {
        node.run(&["sh", "-c", spoil.script])?.ok()?;
        expect(&node, spoil.what, spoil.flags, spoil.said)?;
        node.run(&["sh", "-c", spoil.repair])?.ok()?;
        if spoil.repair != "true" {
            node.wait_cri(CRI)?;
            expect(&node, &format!("no longer: {}", spoil.what), &[], &["go"])?;
        }
    }
    // A plan that repairs CRI may begin.
    expect(&node, "CRI that the plan repairs", &["--repairs-cri"], &["go"])?;
    node.run(&["cp", "/run/good.toml", CONFIG])?.ok()?;
    node.run(&["sh", "-c", BACK])?.ok()?;
    node.wait_cri(CRI)?;
    // The checks have ended no container.
    assert_eq!(node.pids()?, before);
    let seconds = began.elapsed().as_secs_f32();
    eprintln!(
        "containerd {}: {} obstacles in {seconds:.1} s",
        containerd.version,
        SPOILS.len() + 2
    );
    Ok(())
}

fn expect(node: &Node, what: &str, flags: &[&str], wanted: &[&str]) -> Result<(), Failed> {
    let command: Vec<&str> = [PROGRAM].iter().chain(flags).copied().collect();
    let out = node.run(&command)?.ok()?.stdout;
    let mut said: Vec<&str> = out.lines().filter_map(|line| line.split(':').next()).collect();
    said.sort_unstable();
    said.dedup();
    if said == wanted {
        return Ok(());
    }
    Err(format!("{what}: wanted {wanted:?}\n{out}").into())
}
