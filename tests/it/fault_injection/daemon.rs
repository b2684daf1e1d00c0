//! Faults of containerd, systemd and D-Bus.

use crate::{Held, background, ended, reaches, refusal, refused};
use libtest_mimic::Failed;
use mirrorshift_tests::lab::NodeOptions;
use mirrorshift_tests::node_tests::{CONFIG, CRI, MIRRORS, NodeTestContext, TestNode, UNIT};
use std::thread::sleep;
use std::time::Duration;

/// A node on which containerd does not start with the new files although the rehearsal succeeds: a drop-in of its
/// unit checks the files.
pub(crate) fn fails_with_new_files() -> NodeOptions {
    NodeTestContext::legacy().drop_in(
        "containerd.service",
        "hates",
        &format!("[Service]\nRestartSec=200ms\nExecStartPre=/bin/sh -c '! grep -q config_path {CONFIG}'\n"),
    )
}

pub(crate) fn fails_live(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&fails_with_new_files())?;
    let ran = test_node.migrate(4, &[])?;
    assert!(ran.stderr.contains("was undone"), "{}", ran.stderr);
    test_node.serves("undone")?;
    test_node.is_old("undone")
}

pub(crate) fn start_limit(context: &NodeTestContext) -> Result<(), Failed> {
    let limited = "[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=2\n";
    let test_node = context.boot(&fails_with_new_files().drop_in("containerd.service", "limit", limited))?;
    test_node.migrate(4, &[])?;
    test_node.serves("undone")?;
    test_node.is_old("undone")
}

pub(crate) fn undone_before(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&fails_with_new_files())?;
    test_node.migrate(4, &[])?;
    test_node.serves("undone")?;
    refusal(&test_node, &[], "undone-before")?;
    test_node
        .node
        .run(&[
            "sh",
            "-ec",
            "rm /etc/systemd/system/containerd.service.d/hates.conf; systemctl daemon-reload",
        ])?
        .ok()?;
    test_node.migrate(0, &["--again"])?;
    test_node.serves("settled")?;
    test_node.is_new("settled")
}

pub(crate) fn containers_would_be_killed(context: &NodeTestContext) -> Result<(), Failed> {
    // Shims in the unit's control group are killed with it unless the group is delegated.
    let kills = "[Service]\nKillMode=control-group\n";
    let test_node = context.boot(&NodeTestContext::legacy().drop_in("containerd.service", "kills", kills))?;
    refusal(&test_node, &[], "kills-containers")?;
    test_node.serves("refused")?;
    test_node.is_old("refused")?;
    let ran = test_node.migrate(0, &["--accept-restart-of-containers"])?;
    assert!(
        ran.stderr.contains("would be killed") || ran.stderr.contains("will be killed"),
        "{}",
        ran.stderr
    );
    test_node.node.wait_cri(CRI)?;
    test_node.is_new("accepted")?;
    test_node.nothing_is_left("accepted")
}

pub(crate) fn two_containerds(context: &NodeTestContext) -> Result<(), Failed> {
    let script = "systemd-run --unit=second /usr/bin/containerd --config /dev/null --root /run/second/root \
        --state /run/second/state --address /run/second/second.sock; \
        until [ -S /run/second/second.sock ]; do sleep 0.05; done";
    refused(context, &NodeTestContext::legacy(), script, "many-daemons")
}

pub(crate) fn unit_fails_already(context: &NodeTestContext) -> Result<(), Failed> {
    let script = "systemctl kill --signal=SIGKILL --kill-who=main containerd; \
        until [ \"$(systemctl show -P NRestarts containerd)\" != 0 ]; do sleep 0.1; done; \
        until systemctl is-active containerd; do sleep 0.1; done; sleep 1";
    let test_node = context.boot_bare(&NodeTestContext::legacy().drop_in(
        "containerd.service",
        "soon",
        "[Service]\nRestartSec=100ms\n",
    ))?;
    test_node.node.wait_cri(CRI)?;
    test_node.node.run(&["sh", "-c", script])?.ok()?;
    test_node.node.wait_cri(CRI)?;
    refusal(&test_node, &[], "unit-troubled")?;
    test_node.is_old("troubled")
}

/// A slow start is not a failure.
pub(crate) fn slow_start(context: &NodeTestContext) -> Result<(), Failed> {
    let slow = format!("[Service]\nExecStartPre=/bin/sh -c 'if grep -q config_path {CONFIG}; then sleep 30; fi'\n");
    let test_node = context.boot(&NodeTestContext::legacy().drop_in("containerd.service", "slow", &slow))?;
    test_node.migrate(0, &[])?;
    test_node.serves("after a slow start")?;
    test_node.is_new("after a slow start")
}

pub(crate) fn no_bus(context: &NodeTestContext) -> Result<(), Failed> {
    refused(context, &NodeTestContext::legacy(), STOP_BUS, "systemd")
}

const STOP_BUS: &str = "systemctl stop dbus.socket dbus.service; rm -f /run/dbus/system_bus_socket";

/// Stops D-Bus when the new files are in place and before containerd has started with them, under a `migrate` that
/// ends with `code`, and starts it again. For a node of [`NodeTestContext::with_held_start`].
fn bus_is_gone_under(test_node: &TestNode, more: &[&str], code: i32) -> Result<(), Failed> {
    test_node.hold_start()?;
    let child = background(test_node, more)?;
    test_node.wait_until_files_are_new()?;
    test_node.node.run(&["sh", "-c", STOP_BUS])?;
    test_node.let_start()?;
    let said = ended(child, code);
    let start = ["systemctl", "start", "dbus.socket", "dbus.service"];
    test_node.node.run(&start)?.ok()?;
    said.map(drop)
}

/// Checks that a change continues without D-Bus once the new files are in place, because `systemctl` reaches systemd
/// without it.
pub(crate) fn bus_goes(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::with_held_start())?;
    bus_is_gone_under(&test_node, &[], 0)?;
    test_node.serves("without D-Bus")?;
    test_node.is_new("without D-Bus")?;
    test_node.run(&["rollback", "--yes"])?.ok()?;
    test_node.serves("rolled back")?;
    test_node.is_old("rolled back")
}

/// Checks the same for a change that is undone, which restarts containerd too.
pub(crate) fn bus_goes_and_it_is_undone(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::with_held_start())?;
    bus_is_gone_under(&test_node, &["--verify-image", "nowhere.invalid/none:1"], 4)?;
    test_node.serves("undone without D-Bus")?;
    test_node.is_old("undone without D-Bus")?;
    // A containerd that still runs with the new files would have started before the original files were restored.
    test_node.migrate(0, &["--again"])?;
    test_node.serves("settled")?;
    test_node.is_new("settled")
}

/// Checks that a change does not begin without D-Bus.
pub(crate) fn bus_goes_while_it_waits(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    let held = Held::begin(&test_node)?;
    let child = background(&test_node, &[])?;
    reaches(&test_node, "waiting")?;
    test_node.node.run(&["sh", "-c", STOP_BUS])?;
    let said = ended(child, 3);
    let start = ["systemctl", "start", "dbus.socket", "dbus.service"];
    test_node.node.run(&start)?.ok()?;
    held.end()?;
    assert!(said?.contains("systemd"), "the reason is missing");
    test_node.is_old("refused")?;
    test_node.serves("refused")
}

pub(crate) fn containerd_is_stopped(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot_bare(&NodeTestContext::legacy())?;
    test_node.node.wait_cri(CRI)?;
    test_node.node.run(&["systemctl", "stop", "containerd"])?.ok()?;
    let ran = test_node.migrate(3, &[])?;
    assert!(ran.stderr.contains("no containerd runs"), "{}", ran.stderr);
    test_node.is_old("stopped")?;
    assert_eq!(test_node.node.show("containerd.service", "ActiveState")?, "inactive");
    Ok(())
}

pub(crate) fn containerd_hangs(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    test_node
        .node
        .run(&["systemctl", "kill", "--signal=SIGSTOP", "--kill-who=main", "containerd"])?
        .ok()?;
    let ran = test_node.migrate(3, &[]);
    test_node
        .node
        .run(&["systemctl", "kill", "--signal=SIGCONT", "--kill-who=main", "containerd"])?
        .ok()?;
    ran?;
    test_node.is_old("hung")?;
    test_node.serves("after the daemon continued")
}

pub(crate) fn cri_dead_otherwise(context: &NodeTestContext) -> Result<(), Failed> {
    let broken = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"none\"\n";
    let test_node =
        context.boot_bare(&NodeTestContext::legacy().file(CONFIG, &TestNode::config(&format!("{MIRRORS}{broken}"))))?;
    let ran = test_node.migrate(3, &[])?;
    assert!(ran.stderr.contains("CRI"), "{}", ran.stderr);
    test_node.is_old("CRI does not load for another reason")
}

/// A CRI that does not load because of both settings is repaired by the change.
pub(crate) fn cri_dead_of_both(context: &NodeTestContext) -> Result<(), Failed> {
    let both = format!(
        "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n{MIRRORS}"
    );
    let test_node = context.boot_bare(&NodeTestContext::legacy().file(CONFIG, &TestNode::config(&both)))?;
    test_node.migrate(0, &[])?;
    test_node.node.wait_cri(CRI)?;
    test_node.is_new("healed")?;
    test_node.nothing_is_left("healed")
}

/// Checks that the change waits for a download, for a limited time, and then continues.
pub(crate) fn pull_in_flight(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    let held = Held::begin(&test_node)?;
    refusal(&test_node, &["--wait", "1s"], "busy")?;
    test_node.is_old("busy")?;
    let child = background(&test_node, &[])?;
    reaches(&test_node, "waiting")?;
    held.end()?;
    ended(child, 0)?;
    test_node.serves("after the download")?;
    test_node.is_new("after the download")
}

pub(crate) fn two_at_once(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    let held = Held::begin(&test_node)?;
    let child = background(&test_node, &[])?;
    reaches(&test_node, "waiting")?;
    let ran = test_node.run(&["status"])?.ok()?;
    assert!(ran.stdout.contains("status --follow"), "{}", ran.stdout);
    for command in ["migrate", "rollback"] {
        let ran = test_node.run(&[command, "--yes"])?;
        let expected = if command == "rollback" { 0 } else { 6 };
        assert_eq!(ran.code, expected, "{command}: {}{}", ran.stdout, ran.stderr);
    }
    held.end()?;
    ended(child, 0)?;
    test_node.serves("after one of two")?;
    test_node.is_new("after one of two")
}

/// Checks that a change settles while systemd reloads its files again and again.
pub(crate) fn reload_in_the_middle(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::with_held_start())?;
    let child = background(&test_node, &[])?;
    for _ in 0..20 {
        test_node.node.run(&["systemctl", "daemon-reload"])?;
        sleep(Duration::from_millis(20));
    }
    ended(child, 0)?;
    test_node.serves("reloaded")?;
    test_node.is_new("reloaded")?;
    // A change that is killed right after a reload is undone too.
    test_node.run(&["rollback", "--yes"])?.ok()?;
    test_node.hold_start()?;
    let child = background(&test_node, &[])?;
    test_node.wait_until_files_are_new()?;
    test_node
        .node
        .run(&[
            "sh",
            "-c",
            &format!("systemctl daemon-reload; systemctl kill --signal=SIGKILL {UNIT}"),
        ])?
        .ok()?;
    test_node.let_start()?;
    ended(child, 4)?;
    test_node.serves("undone")?;
    test_node.is_old("undone")
}

/// Checks that the change waits for a sandbox whose network is slow.
pub(crate) fn sandbox_in_creation(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    let slow = "mv /usr/lib/cni/ptp /usr/lib/cni/ptp.real; touch /run/slow; \
        printf '#!/bin/sh\\nwhile [ -e /run/slow ]; do sleep 0.05; done\\nexec /usr/lib/cni/ptp.real\\n' > /usr/lib/cni/ptp; \
        chmod +x /usr/lib/cni/ptp";
    test_node.node.run(&["sh", "-ec", slow])?.ok()?;
    let made = std::thread::scope(|scope| -> Result<String, Failed> {
        let sandbox = scope.spawn(|| test_node.node.start_sandbox("slow", false));
        let refused = test_node.node.until("the sandbox is never in creation", CRI, || {
            let ran = test_node.run(&["migrate", "--yes", "--wait", "1s", "--output", "json"])?;
            Ok(ran.stdout.contains("\"busy\"").then_some(ran.code))
        });
        let child = background(&test_node, &[]);
        let waits = reaches(&test_node, "waiting");
        test_node.node.run(&["rm", "/run/slow"])?;
        let made = sandbox.join().map_err(|_| "the sandbox's thread panicked")??;
        assert_eq!(refused?, 3);
        waits?;
        ended(child?, 0)?;
        Ok(made)
    })?;
    let test_node = TestNode {
        pids: test_node.node.pids()?,
        ..test_node
    };
    assert!(test_node.pids.contains_key(&made), "the sandbox was lost");
    test_node.serves("after it was made")?;
    test_node.is_new("after it was made")
}

/// Checks that containerd starts although the boot guard was deleted, and that the next run closes the change.
pub(crate) fn guard_deleted(context: &NodeTestContext) -> Result<(), Failed> {
    let mut test_node = context.boot(&NodeTestContext::with_held_start())?;
    test_node.hold_start()?;
    let mut child = background(&test_node, &[])?;
    test_node.wait_until_files_are_new()?;
    test_node
        .node
        .run(&["systemctl", "kill", "--signal=SIGSTOP", UNIT])?
        .ok()?;
    child.kill()?;
    child.wait()?;
    test_node
        .node
        .run(&["rm", "/var/lib/mirrorshift/bin/mirrorshift"])?
        .ok()?;
    test_node.node.reset()?;
    test_node.node.wait_cri(CRI)?;
    test_node.is_new("nothing undid the change")?;
    let test_node = test_node.with_workload("again")?;
    test_node.migrate(0, &[])?;
    test_node.serves("closed")?;
    test_node.is_new("closed")
}

/// A package installs another containerd while the change waits to restart the running one.
pub(crate) fn upgrade_in_the_middle(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    let newer = mirrorshift_tests::lab::Nodes::containerd("2.1").map_err(|why| why.to_string())?;
    test_node.node.copy_in(&newer.program, "/usr/bin/containerd.new")?;
    test_node.record_request()?;
    let run = test_node.traced(&["--inject=renameat2:delay_enter=1000000:when=1"], &[], true)?;
    test_node.node.until("the change stages no file", CRI, || {
        let staged = test_node
            .node
            .run(&["sh", "-c", "ls -A /etc/containerd | grep -q '[.]new$'"])?;
        Ok((staged.code == 0).then_some(()))
    })?;
    test_node
        .node
        .run(&["mv", "/usr/bin/containerd.new", "/usr/bin/containerd"])?
        .ok()?;
    let code = test_node.wait_for_traced_exit_code(&run)?;
    test_node.serves("upgraded")?;
    match code {
        0 => test_node.is_new("upgraded"),
        4 => test_node.is_old("upgraded"),
        other => Err(format!("ended with {other}").into()),
    }
}

/// The installed containerd does not load the planned files, although this release should.
pub(crate) fn rehearsal_rejects(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    let wrapper = format!(
        "cp /usr/bin/containerd /usr/bin/containerd.real; \
         printf '#!/bin/sh\\nif grep -q config_path {CONFIG} && [ \"$1\" != --version ]; then exit 1; fi\\n\
         exec /usr/bin/containerd.real \"$@\"\\n' > /usr/bin/wrapper; chmod +x /usr/bin/wrapper; \
         mv /usr/bin/wrapper /usr/bin/containerd"
    );
    test_node.node.run(&["sh", "-ec", &wrapper])?.ok()?;
    let invocation = test_node.node.show("containerd.service", "InvocationID")?;
    refusal(&test_node, &[], "rehearsal")?;
    assert_eq!(test_node.node.show("containerd.service", "InvocationID")?, invocation);
    test_node.is_old("rejected")?;
    test_node.serves("rejected")?;
    // `plan` reports the same.
    let ran = test_node.run(&["plan", "--rehearse"])?;
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    test_node
        .node
        .run(&["mv", "/usr/bin/containerd.real", "/usr/bin/containerd"])?
        .ok()?;
    let ran = test_node.run(&["plan", "--rehearse"])?.ok()?;
    let heard = "Hosts that this node's containerd contacted in a sandbox";
    let (_, table) = ran.stdout.split_once(heard).ok_or("there is no table")?;
    assert!(table.contains("= quay.io"), "{table}");
    assert!(table.contains("http://10.0.20.10:5000/v2 for quay.io"), "{table}");
    test_node.is_old("after `plan`")
}

/// Checks that the change is undone when the image of `--verify-image` cannot be pulled.
pub(crate) fn image_that_must_be_pulled(context: &NodeTestContext) -> Result<(), Failed> {
    let mut test_node = context.boot(&NodeTestContext::legacy())?;
    let ran = test_node.migrate(4, &["--verify-image", "nowhere.invalid/none:1"])?;
    assert!(ran.stderr.contains("nowhere.invalid/none:1"), "{}", ran.stderr);
    test_node.serves("undone")?;
    test_node.is_old("undone")?;
    test_node.node.serve("quay.io/live/verified:1")?;
    test_node.migrate(0, &["--again", "--verify-image", "quay.io/live/verified:1"])?;
    let asked = test_node.node.requests()?;
    assert!(
        asked.iter().any(|request| request.image.contains("live/verified")),
        "no registry was contacted"
    );
    test_node.serves("verified")?;
    test_node.is_new("verified")
}
