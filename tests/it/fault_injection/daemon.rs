//! Bad luck with containerd, systemd and the bus.

use crate::{Held, background, ended, reaches, refusal, refused};
use libtest_mimic::Failed;
use mirrorshift_tests::lab::NodeOptions;
use mirrorshift_tests::node_trials::{CONFIG, CRI, MIRRORS, TestNode, TrialContext, UNIT};
use std::thread::sleep;
use std::time::Duration;

/// A daemon that does not start with new files, whatever a rehearsal says: a drop-in of the unit looks at them.
pub(crate) fn hates_new_files() -> NodeOptions {
    TrialContext::legacy().drop_in(
        "containerd.service",
        "hates",
        &format!("[Service]\nRestartSec=200ms\nExecStartPre=/bin/sh -c '! grep -q config_path {CONFIG}'\n"),
    )
}

pub(crate) fn fails_live(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&hates_new_files())?;
    let ran = test_node.migrate(4, &[])?;
    assert!(ran.stderr.contains("was undone"), "{}", ran.stderr);
    test_node.serves("undone")?;
    test_node.is_old("undone")
}

pub(crate) fn start_limit(context: &TrialContext) -> Result<(), Failed> {
    let limited = "[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=2\n";
    let test_node = context.boot(&hates_new_files().drop_in("containerd.service", "limit", limited))?;
    test_node.migrate(4, &[])?;
    test_node.serves("undone")?;
    test_node.is_old("undone")
}

pub(crate) fn undone_before(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&hates_new_files())?;
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

pub(crate) fn containers_would_be_killed(context: &TrialContext) -> Result<(), Failed> {
    // Shims of the node's own units are inside the unit only where it is not delegated to others.
    let kills = "[Service]\nKillMode=control-group\n";
    let test_node = context.boot(&TrialContext::legacy().drop_in("containerd.service", "kills", kills))?;
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

pub(crate) fn two_containerds(context: &TrialContext) -> Result<(), Failed> {
    let script = "systemd-run --unit=second /usr/bin/containerd --config /dev/null --root /run/second/root \
        --state /run/second/state --address /run/second/second.sock; \
        until [ -S /run/second/second.sock ]; do sleep 0.05; done";
    refused(context, &TrialContext::legacy(), script, "many-daemons")
}

pub(crate) fn unit_fails_already(context: &TrialContext) -> Result<(), Failed> {
    let script = "systemctl kill --signal=SIGKILL --kill-who=main containerd; \
        until [ \"$(systemctl show -P NRestarts containerd)\" != 0 ]; do sleep 0.1; done; \
        until systemctl is-active containerd; do sleep 0.1; done; sleep 1";
    let test_node = context.boot_bare(&TrialContext::legacy().drop_in(
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

/// A start that takes its time is no failure.
pub(crate) fn slow_start(context: &TrialContext) -> Result<(), Failed> {
    let slow = format!("[Service]\nExecStartPre=/bin/sh -c 'if grep -q config_path {CONFIG}; then sleep 30; fi'\n");
    let test_node = context.boot(&TrialContext::legacy().drop_in("containerd.service", "slow", &slow))?;
    test_node.migrate(0, &[])?;
    test_node.serves("after a slow start")?;
    test_node.is_new("after a slow start")
}

pub(crate) fn no_bus(context: &TrialContext) -> Result<(), Failed> {
    refused(context, &TrialContext::legacy(), STOP_BUS, "systemd")
}

const STOP_BUS: &str = "systemctl stop dbus.socket dbus.service; rm -f /run/dbus/system_bus_socket";

/// A bus that goes once the new files are in force and before containerd has started with them, under a `migrate` that ends with
/// `code`; and comes back. For a node of [`TrialContext::with_held_start`].
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

/// The bus goes once the new files are in force: systemd's own program has another way to it, and the change goes on.
pub(crate) fn bus_goes(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::with_held_start())?;
    bus_is_gone_under(&test_node, &[], 0)?;
    test_node.serves("without a bus")?;
    test_node.is_new("without a bus")?;
    test_node.run(&["rollback", "--yes"])?.ok()?;
    test_node.serves("rolled back")?;
    test_node.is_old("rolled back")
}

/// The same with a change that is to be undone: containerd is restarted for that as well.
pub(crate) fn bus_goes_and_it_is_undone(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::with_held_start())?;
    bus_is_gone_under(&test_node, &["--verify-image", "nowhere.invalid/none:1"], 4)?;
    test_node.serves("undone without a bus")?;
    test_node.is_old("undone without a bus")?;
    // One that still ran with the new files would be older than the old ones that are back.
    test_node.migrate(0, &["--again"])?;
    test_node.serves("settled")?;
    test_node.is_new("settled")
}

/// Before anything is touched nobody goes on without it.
pub(crate) fn bus_goes_while_it_waits(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::legacy())?;
    let held = Held::begin(&test_node)?;
    let child = background(&test_node, &[])?;
    reaches(&test_node, "waiting")?;
    test_node.node.run(&["sh", "-c", STOP_BUS])?;
    let said = ended(child, 3);
    let start = ["systemctl", "start", "dbus.socket", "dbus.service"];
    test_node.node.run(&start)?.ok()?;
    held.end()?;
    assert!(said?.contains("systemd"), "it is not told why");
    test_node.is_old("refused")?;
    test_node.serves("refused")
}

pub(crate) fn containerd_is_stopped(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot_bare(&TrialContext::legacy())?;
    test_node.node.wait_cri(CRI)?;
    test_node.node.run(&["systemctl", "stop", "containerd"])?.ok()?;
    let ran = test_node.migrate(3, &[])?;
    assert!(ran.stderr.contains("no containerd runs"), "{}", ran.stderr);
    test_node.is_old("stopped")?;
    assert_eq!(test_node.node.show("containerd.service", "ActiveState")?, "inactive");
    Ok(())
}

pub(crate) fn containerd_hangs(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::legacy())?;
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
    test_node.serves("goes on")
}

pub(crate) fn cri_dead_otherwise(context: &TrialContext) -> Result<(), Failed> {
    let broken = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"none\"\n";
    let test_node =
        context.boot_bare(&TrialContext::legacy().file(CONFIG, &TestNode::config(&format!("{MIRRORS}{broken}"))))?;
    let ran = test_node.migrate(3, &[])?;
    assert!(ran.stderr.contains("CRI"), "{}", ran.stderr);
    test_node.is_old("dead of something else")
}

/// The one dead CRI that the change mends.
pub(crate) fn cri_dead_of_both(context: &TrialContext) -> Result<(), Failed> {
    let both = format!(
        "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n{MIRRORS}"
    );
    let test_node = context.boot_bare(&TrialContext::legacy().file(CONFIG, &TestNode::config(&both)))?;
    test_node.migrate(0, &[])?;
    test_node.node.wait_cri(CRI)?;
    test_node.is_new("healed")?;
    test_node.nothing_is_left("healed")
}

/// A download is waited for, within a bound, and then the change goes on.
pub(crate) fn pull_in_flight(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::legacy())?;
    let held = Held::begin(&test_node)?;
    refusal(&test_node, &["--wait", "1s"], "busy")?;
    test_node.is_old("busy")?;
    let child = background(&test_node, &[])?;
    reaches(&test_node, "waiting")?;
    held.end()?;
    ended(child, 0)?;
    test_node.serves("no longer busy")?;
    test_node.is_new("no longer busy")
}

pub(crate) fn two_at_once(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::legacy())?;
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
    test_node.serves("one of two")?;
    test_node.is_new("one of two")
}

/// systemd reads its files again, over and over, while it watches over a change.
pub(crate) fn reload_in_the_middle(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::with_held_start())?;
    let child = background(&test_node, &[])?;
    for _ in 0..20 {
        test_node.node.run(&["systemctl", "daemon-reload"])?;
        sleep(Duration::from_millis(20));
    }
    ended(child, 0)?;
    test_node.serves("reloaded")?;
    test_node.is_new("reloaded")?;
    // One that is killed right after a reload is undone as well.
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

/// A sandbox whose network takes its time is waited for.
pub(crate) fn sandbox_in_creation(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::legacy())?;
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
    assert!(test_node.pids.contains_key(&made), "the sandbox is gone");
    test_node.serves("after it was made")?;
    test_node.is_new("after it was made")
}

/// Nothing is left that could undo: containerd starts all the same, and the next run closes the change.
pub(crate) fn guard_deleted(context: &TrialContext) -> Result<(), Failed> {
    let mut test_node = context.boot(&TrialContext::with_held_start())?;
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
    test_node.is_new("nobody undid it")?;
    let test_node = test_node.with_workload("again")?;
    test_node.migrate(0, &[])?;
    test_node.serves("closed")?;
    test_node.is_new("closed")
}

/// A package brings another containerd while the change waits to restart this one.
pub(crate) fn upgrade_in_the_middle(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::legacy())?;
    let newer = mirrorshift_tests::lab::Nodes::containerd("2.1").map_err(|why| why.to_string())?;
    test_node.node.copy_in(&newer.program, "/usr/bin/containerd.new")?;
    test_node.record_request()?;
    let run = test_node.traced(&["--inject=renameat2:delay_enter=1000000:when=1"], &[], true)?;
    test_node.node.until("nothing is staged", CRI, || {
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

/// The containerd on the disk does not load what was planned, although this release should.
pub(crate) fn rehearsal_rejects(context: &TrialContext) -> Result<(), Failed> {
    let test_node = context.boot(&TrialContext::legacy())?;
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
    // And so says `plan`.
    let ran = test_node.run(&["plan", "--rehearse"])?;
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    test_node
        .node
        .run(&["mv", "/usr/bin/containerd.real", "/usr/bin/containerd"])?
        .ok()?;
    let ran = test_node.run(&["plan", "--rehearse"])?.ok()?;
    let heard = "As this node's containerd asked";
    let (_, table) = ran.stdout.split_once(heard).ok_or("there is no table")?;
    assert!(table.contains("= quay.io"), "{table}");
    assert!(table.contains("http://10.0.20.10:5000/v2 for quay.io"), "{table}");
    test_node.is_old("only shown")
}

/// The change is undone when the image that was named cannot be pulled with it.
pub(crate) fn image_that_must_be_pulled(context: &TrialContext) -> Result<(), Failed> {
    let mut test_node = context.boot(&TrialContext::legacy())?;
    let ran = test_node.migrate(4, &["--verify-image", "nowhere.invalid/none:1"])?;
    assert!(ran.stderr.contains("nowhere.invalid/none:1"), "{}", ran.stderr);
    test_node.serves("undone")?;
    test_node.is_old("undone")?;
    test_node.node.serve("quay.io/live/verified:1")?;
    test_node.migrate(0, &["--again", "--verify-image", "quay.io/live/verified:1"])?;
    let asked = test_node.node.requests()?;
    assert!(
        asked.iter().any(|request| request.image.contains("live/verified")),
        "nobody was asked"
    );
    test_node.serves("verified")?;
    test_node.is_new("verified")
}
