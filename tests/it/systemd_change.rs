//! A change of a running node's config.toml with real systemd and real containerd: applied, rejected by containerd,
//! killed with an undo unit, and killed by a reset. Containers keep their processes except over the reset.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use libtest_mimic::Failed;
use mirrorshift_tests::lab::{Containerd, Node, NodeOptions, Nodes, Scene};
use mirrorshift_tests::run_example_on_nodes;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Longer than CRI has ever taken to become ready.
const CRI: Duration = Duration::from_secs(20);
const CONFIG: &str = "/etc/containerd/config.toml";
const PROGRAM: &str = "/usr/local/bin/live_change";
const NEW: &str = "/root/new.toml";
/// For a shell: the process id of the change that runs as a unit.
const PID: &str = "pid=$(systemctl show --value --property=MainPID mirrorshift-change)";

/// Tables with which containerd starts and CRI reads hosts directories.
const GOOD: &str = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
/// Tables with which the unit is active and CRI does not load.
const BOTH: &str = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n\
    [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"http://m.test\"]\n";
/// An image that an upstream in the node's network serves.
const IMAGE: &str = "ghcr.io/live/change:1";
/// Text with which containerd does not start.
const BROKEN: &str = "[plugins.\n";

fn main() -> ExitCode {
    run_example_on_nodes(env!("CARGO_BIN_EXE_lab-run"), "systemd_change", "live_change", run)
}

fn run(nodes: &Nodes, containerd: &Containerd, program: &Path) -> Result<(), Failed> {
    let began = Instant::now();
    let mut node = nodes.boot(containerd, &NodeOptions::new("").scene(Scene::upstreams()))?;
    node.wait_cri(CRI)?;
    let workload = node.start_workload("one")?;
    node.log_flows(&workload, 20, CRI)?;
    node.copy_in(program, PROGRAM)?;
    let before = node.pids()?;
    let old = node.read(CONFIG)?;
    let with = |tables: &str| [&old[..], tables.as_bytes()].concat();

    for (tables, why) in [(BOTH, "CRI is dead"), (BROKEN, "containerd does not start")] {
        let invocation = node.show("containerd.service", "InvocationID")?;
        node.write(NEW, with(tables))?;
        let ran = node.run(&[PROGRAM, "apply", NEW])?;
        assert_eq!(ran.code, 4, "{why}: {}{}", ran.stdout, ran.stderr);
        serves(&node, &old, why)?;
        assert_ne!(node.show("containerd.service", "InvocationID")?, invocation, "{why}");
        assert_eq!(node.pids()?, before, "{why}");
        node.run(&["systemctl", "reset-failed", "containerd"])?.ok()?;
    }

    // Killed while the new files are in place, with an undo that systemd starts after it.
    node.write(NEW, with(BOTH))?;
    let run = format!(
        "systemd-run --unit=mirrorshift-change --property=KillSignal=SIGKILL --property=TimeoutStopSec=60 \
         --property='ExecStopPost={PROGRAM} undo' {PROGRAM} apply {NEW}"
    );
    node.run(&["sh", "-c", &run])?.ok()?;
    node.until("the new files are never in force", CRI, || {
        Ok((node.read(CONFIG)? != old).then_some(()))
    })?;
    node.run(&["systemctl", "kill", "--signal=SIGKILL", "mirrorshift-change"])?
        .ok()?;
    node.until("the undo unit does not undo the change", CRI, || {
        let state = node.show("mirrorshift-change.service", "ActiveState")?;
        Ok((state == "failed" || state == "inactive").then_some(()))
    })?;
    serves(&node, &old, "undone by the undo unit")?;
    assert_eq!(node.pids()?, before, "undone by the undo unit");
    node.log_flows(&workload, 20, CRI)?;

    // Stopped without an undo unit; another run ends it first.
    node.run(&["systemctl", "reset-failed"])?.ok()?;
    let run = format!(
        "systemd-run --unit=mirrorshift-change {PROGRAM} apply {NEW}; {PID}; \
         until ! cmp -s {CONFIG} /root/old.toml; do :; done; kill -STOP $pid"
    );
    node.write("/root/old.toml", &old)?;
    node.run(&["sh", "-c", &run])?.ok()?;
    assert_ne!(node.read(CONFIG)?, old, "stopped too late");
    let refused = node.run(&[PROGRAM, "rollback"])?;
    let log = node
        .run(&[
            "journalctl",
            "-n",
            "20",
            "-o",
            "short-precise",
            "-u",
            "mirrorshift-change",
        ])?
        .stdout;
    assert_eq!(refused.code, 6, "{}{}{log}", refused.stdout, refused.stderr);
    node.run(&[PROGRAM, "undo"])?.ok()?;
    serves(&node, &old, "stopped, and undone by another run")?;
    assert_eq!(node.pids()?, before, "stopped, and undone by another run");

    // Stopped, and then the node is reset: only the boot guard is left.
    node.run(&["systemctl", "reset-failed"])?.ok()?;
    // Without the pipes of this call, which would stay open while a stopped process has them.
    let stopped = format!(
        "{PROGRAM} apply {NEW} </dev/null >/dev/null 2>&1 & pid=$!; \
         until ! cmp -s {CONFIG} /root/old.toml; do :; done; kill -STOP $pid"
    );
    node.run(&["sh", "-c", &stopped])?.ok()?;
    assert_ne!(node.read(CONFIG)?, old, "stopped too late");
    node.reset()?;
    serves(&node, &old, "undone at a boot")?;

    // A change that settles.
    let sandbox = node.start_workload("two")?;
    node.log_flows(&sandbox, 20, CRI)?;
    let before = node.pids()?;
    unpulled_image_and_remaining_mirrors_undo_the_change(&node, containerd, &old)?;
    node.write(NEW, with(GOOD))?;
    node.serve(IMAGE)?;
    let ran = node.run(&[PROGRAM, "apply", NEW, IMAGE])?.ok()?;
    assert!(!node.requests()?.is_empty(), "nothing was pulled");
    assert!(ran.stdout.starts_with("Settled"), "{}", ran.stdout);
    serves(&node, &with(GOOD), "settled")?;
    assert_eq!(node.pids()?, before, "settled");
    node.log_flows(&sandbox, 50, CRI)?;
    let again = node.run(&[PROGRAM, "apply", NEW, IMAGE])?.ok()?;
    assert_eq!(again.stdout, "Nothing\n");
    roll_back(&node, &old, &with(GOOD))?;
    if containerd.version.starts_with("1.7.") {
        failed_undo_requires_an_operator(&node, &old)?;
    }
    assert_eq!(node.pids()?, before, "after the rollback");
    node.log_flows(&sandbox, 20, CRI)?;
    let seconds = began.elapsed().as_secs_f32();
    eprintln!(
        "containerd {}: refused twice, killed, reset, settled and rolled back in {seconds:.1} s",
        containerd.version
    );
    Ok(())
}

/// Checks that a change is also undone if an image cannot be pulled, or if mirrors are still in use.
fn unpulled_image_and_remaining_mirrors_undo_the_change(
    node: &Node,
    containerd: &Containerd,
    old: &[u8],
) -> Result<(), Failed> {
    node.write(NEW, [old, GOOD.as_bytes()].concat())?;
    let ran = node.run(&[PROGRAM, "apply", NEW, "nowhere.test/none:1"])?;
    let said = "the image `nowhere.test/none:1` cannot be pulled";
    assert!(
        ran.code == 4 && ran.stderr.contains(said),
        "{}: {}",
        ran.code,
        ran.stderr
    );
    serves(node, old, "an image that cannot be pulled")?;

    node.run(&["mkdir", "-p", "/etc/containerd/conf.d"])?.ok()?;
    let mirrors = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n\
        endpoint = [\"http://m.test\"]\n";
    node.write("/etc/containerd/conf.d/left.toml", mirrors)?;
    let imports = b"imports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    node.write(NEW, [imports, old].concat())?;
    let ran = node.run(&[PROGRAM, "apply", NEW])?;
    // 1.6.20 reports no deprecations, so the check does not apply to it.
    if containerd.version.starts_with("1.6.") {
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        node.run(&[PROGRAM, "rollback"])?.ok()?;
    } else {
        let said = "still reports `io.containerd.deprecation/cri-registry-mirrors`";
        assert!(
            ran.code == 4 && ran.stderr.contains(said),
            "{}: {}",
            ran.code,
            ran.stderr
        );
    }
    serves(node, old, "mirrors that are left")
}

/// Rolls the last change back: without success, killed, and with success.
fn roll_back(node: &Node, old: &[u8], new: &[u8]) -> Result<(), Failed> {
    // The unit now requires something that the old configuration does not have.
    let folder = "/etc/systemd/system/containerd.service.d";
    let wants = "[Service]\nExecStartPre=/usr/bin/grep -q config_path /etc/containerd/config.toml\n";
    node.run(&["mkdir", "-p", folder])?.ok()?;
    node.write(&format!("{folder}/wants.conf"), wants)?;
    node.run(&["systemctl", "daemon-reload"])?.ok()?;
    let ran = node.run(&[PROGRAM, "rollback"])?;
    assert_eq!(ran.code, 4, "after a failed rollback: {}{}", ran.stdout, ran.stderr);
    serves(node, new, "after a failed rollback")?;
    node.run(&["rm", "-r", folder])?.ok()?;
    node.run(&["systemctl", "daemon-reload"])?.ok()?;

    node.run(&["systemctl", "reset-failed"])?.ok()?;
    let run = format!(
        "systemd-run --unit=mirrorshift-change --property=KillSignal=SIGKILL --property=TimeoutStopSec=60 \
         --property='ExecStopPost={PROGRAM} undo' {PROGRAM} rollback"
    );
    // Killed immediately instead of by systemd, because the whole rollback takes no longer than a restart.
    let kill = format!("{run}; {PID}; until cmp -s {CONFIG} /root/old.toml; do :; done; kill -KILL $pid");
    node.run(&["sh", "-c", &kill])?.ok()?;
    node.until("the owner does not undo the rollback", CRI, || {
        let state = node.show("mirrorshift-change.service", "ActiveState")?;
        Ok((state == "failed" || state == "inactive").then_some(()))
    })?;
    serves(node, new, "rollback killed")?;

    node.run(&["systemctl", "reset-failed"])?.ok()?;
    let ran = node.run(&[PROGRAM, "rollback"])?.ok()?;
    assert!(ran.stdout.starts_with("RolledBack"), "{}", ran.stdout);
    serves(node, old, "rolled back")?;
    let ran = node.run(&[PROGRAM, "rollback"])?.ok()?;
    assert_eq!(ran.stdout, "Nothing\n");
    Ok(())
}

/// Checks that a failed undo requires an operator: after a repair, `rollback` succeeds.
fn failed_undo_requires_an_operator(node: &Node, old: &[u8]) -> Result<(), Failed> {
    // The first start with other files removes containerd's program.
    let folder = "/etc/systemd/system/containerd.service.d";
    let spoil = "#!/bin/sh\ncmp -s /etc/containerd/config.toml /root/old.toml && exit\n\
        test -e /root/containerd && exit\nmv /usr/bin/containerd /root/containerd\ncp /bin/false /usr/bin/containerd\n";
    node.write("/root/spoil", spoil)?;
    node.run(&["chmod", "755", "/root/spoil"])?.ok()?;
    node.run(&["mkdir", "-p", folder])?.ok()?;
    node.write(&format!("{folder}/spoil.conf"), "[Service]\nExecStartPre=/root/spoil\n")?;
    node.run(&["systemctl", "daemon-reload"])?.ok()?;
    node.write(NEW, [old, GOOD.as_bytes()].concat())?;
    let ran = node.run(&[PROGRAM, "apply", NEW])?;
    assert_eq!(ran.code, 5, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(node.read(CONFIG)?, old, "the original files were not restored");
    let status = node.run(&[PROGRAM, "status"])?.ok()?.stdout;
    assert!(status.contains("an operator must repair the node"), "{status}");
    let line = node.until("the console says nothing", CRI, || {
        let console = node.console();
        let line = console.lines().find(|line| line.contains("mirrorshift: the change"));
        Ok(line.map(str::to_owned))
    })?;
    for word in [CONFIG, "`mirrorshift status`", "`mirrorshift rollback`"] {
        assert!(line.contains(word), "{line}");
    }
    node.run(&["mv", "/root/containerd", "/usr/bin/containerd"])?.ok()?;
    node.run(&["rm", "-r", folder])?.ok()?;
    node.run(&["systemctl", "daemon-reload"])?.ok()?;
    node.run(&[PROGRAM, "rollback"])?.ok()?;
    serves(node, old, "mended")
}

/// Checks that CRI is ready with `config`, and that no boot guard is left.
fn serves(node: &Node, config: &[u8], why: &str) -> Result<(), Failed> {
    if let Err(error) = node.wait_cri(CRI) {
        let script = format!(
            "journalctl -n 60 -o short-precise -u 'mirrorshift*' -u containerd | cut -c 1-300; {PROGRAM} status"
        );
        let said = node.run(&["sh", "-c", &script])?.stdout;
        let as_was = node.read(CONFIG)? == config;
        return Err(format!("{why}: {error}; its files are as they should be: {as_was}\n{said}").into());
    }
    node.until(&format!("{why}: a guard is left"), CRI, || {
        let left = node.run(&[
            "sh",
            "-c",
            "ls /etc/systemd/system | grep mirrorshift; ls -d /etc/systemd/system/containerd.service.wants",
        ])?;
        Ok(left.stdout.is_empty().then_some(()))
    })?;
    if node.read(CONFIG)? != config {
        return Err(format!("{why}: config.toml is not what it should be").into());
    }
    Ok(())
}
