//! Bad luck with containerd, systemd and the bus.

use crate::{Held, background, ended, reaches, refusal, refused};
use libtest_mimic::Failed;
use mirrorshift_tests::lab::NodeOptions;
use mirrorshift_tests::node_trials::{CONFIG, CRI, Case, Live, MIRRORS, UNIT};
use std::thread::sleep;
use std::time::Duration;

/// A daemon that does not start with new files, whatever a rehearsal says: a drop-in of the unit looks at them.
pub(crate) fn hates_new_files() -> NodeOptions {
    Case::legacy().drop_in(
        "containerd.service",
        "hates",
        &format!("[Service]\nRestartSec=200ms\nExecStartPre=/bin/sh -c '! grep -q config_path {CONFIG}'\n"),
    )
}

pub(crate) fn fails_live(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&hates_new_files())?;
    let ran = live.migrate(4, &[])?;
    assert!(ran.stderr.contains("was undone"), "{}", ran.stderr);
    live.serves("undone")?;
    live.is_old("undone")
}

pub(crate) fn start_limit(case: &Case) -> Result<(), Failed> {
    let limited = "[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=2\n";
    let live = case.boot(&hates_new_files().drop_in("containerd.service", "limit", limited))?;
    live.migrate(4, &[])?;
    live.serves("undone")?;
    live.is_old("undone")
}

pub(crate) fn undone_before(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&hates_new_files())?;
    live.migrate(4, &[])?;
    live.serves("undone")?;
    refusal(&live, &[], "undone-before")?;
    live.node
        .run(&[
            "sh",
            "-ec",
            "rm /etc/systemd/system/containerd.service.d/hates.conf; systemctl daemon-reload",
        ])?
        .ok()?;
    live.migrate(0, &["--again"])?;
    live.serves("settled")?;
    live.is_new("settled")
}

pub(crate) fn containers_would_be_killed(case: &Case) -> Result<(), Failed> {
    // Shims of the node's own units are inside the unit only where it is not delegated to others.
    let kills = "[Service]\nKillMode=control-group\n";
    let live = case.boot(&Case::legacy().drop_in("containerd.service", "kills", kills))?;
    refusal(&live, &[], "kills-containers")?;
    live.serves("refused")?;
    live.is_old("refused")?;
    let ran = live.migrate(0, &["--accept-restart-of-containers"])?;
    assert!(
        ran.stderr.contains("would be killed") || ran.stderr.contains("will be killed"),
        "{}",
        ran.stderr
    );
    live.node.wait_cri(CRI)?;
    live.is_new("accepted")?;
    live.nothing_is_left("accepted")
}

pub(crate) fn two_containerds(case: &Case) -> Result<(), Failed> {
    let script = "systemd-run --unit=second /usr/bin/containerd --config /dev/null --root /run/second/root \
        --state /run/second/state --address /run/second/second.sock; \
        until [ -S /run/second/second.sock ]; do sleep 0.05; done";
    refused(case, &Case::legacy(), script, "many-daemons")
}

pub(crate) fn unit_fails_already(case: &Case) -> Result<(), Failed> {
    let script = "systemctl kill --signal=SIGKILL --kill-who=main containerd; \
        until [ \"$(systemctl show -P NRestarts containerd)\" != 0 ]; do sleep 0.1; done; \
        until systemctl is-active containerd; do sleep 0.1; done; sleep 1";
    let live =
        case.boot_bare(&Case::legacy().drop_in("containerd.service", "soon", "[Service]\nRestartSec=100ms\n"))?;
    live.node.wait_cri(CRI)?;
    live.node.run(&["sh", "-c", script])?.ok()?;
    live.node.wait_cri(CRI)?;
    refusal(&live, &[], "unit-troubled")?;
    live.is_old("troubled")
}

/// A start that takes its time is no failure.
pub(crate) fn slow_start(case: &Case) -> Result<(), Failed> {
    let slow = format!("[Service]\nExecStartPre=/bin/sh -c 'if grep -q config_path {CONFIG}; then sleep 30; fi'\n");
    let live = case.boot(&Case::legacy().drop_in("containerd.service", "slow", &slow))?;
    live.migrate(0, &[])?;
    live.serves("after a slow start")?;
    live.is_new("after a slow start")
}

pub(crate) fn no_bus(case: &Case) -> Result<(), Failed> {
    refused(case, &Case::legacy(), STOP_BUS, "systemd")
}

const STOP_BUS: &str = "systemctl stop dbus.socket dbus.service; rm -f /run/dbus/system_bus_socket";

/// A bus that goes once the new files are in force and before containerd has started with them, under a `migrate` that ends with
/// `code`; and comes back. For a node of [`Case::that_waits`].
fn bus_is_gone_under(live: &Live, more: &[&str], code: i32) -> Result<(), Failed> {
    live.hold_start()?;
    let child = background(live, more)?;
    live.until_in_force()?;
    live.node.run(&["sh", "-c", STOP_BUS])?;
    live.let_start()?;
    let said = ended(child, code);
    let start = ["systemctl", "start", "dbus.socket", "dbus.service"];
    live.node.run(&start)?.ok()?;
    said.map(drop)
}

/// The bus goes once the new files are in force: systemd's own program has another way to it, and the change goes on.
pub(crate) fn bus_goes(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::that_waits())?;
    bus_is_gone_under(&live, &[], 0)?;
    live.serves("without a bus")?;
    live.is_new("without a bus")?;
    live.run(&["rollback", "--yes"])?.ok()?;
    live.serves("rolled back")?;
    live.is_old("rolled back")
}

/// The same with a change that is to be undone: containerd is restarted for that as well.
pub(crate) fn bus_goes_and_it_is_undone(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::that_waits())?;
    bus_is_gone_under(&live, &["--verify-image", "nowhere.invalid/none:1"], 4)?;
    live.serves("undone without a bus")?;
    live.is_old("undone without a bus")?;
    // One that still ran with the new files would be older than the old ones that are back.
    live.migrate(0, &["--again"])?;
    live.serves("settled")?;
    live.is_new("settled")
}

/// Before anything is touched nobody goes on without it.
pub(crate) fn bus_goes_while_it_waits(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    let held = Held::begin(&live)?;
    let child = background(&live, &[])?;
    reaches(&live, "waiting")?;
    live.node.run(&["sh", "-c", STOP_BUS])?;
    let said = ended(child, 3);
    let start = ["systemctl", "start", "dbus.socket", "dbus.service"];
    live.node.run(&start)?.ok()?;
    held.end()?;
    assert!(said?.contains("systemd"), "it is not told why");
    live.is_old("refused")?;
    live.serves("refused")
}

pub(crate) fn containerd_is_stopped(case: &Case) -> Result<(), Failed> {
    let live = case.boot_bare(&Case::legacy())?;
    live.node.wait_cri(CRI)?;
    live.node.run(&["systemctl", "stop", "containerd"])?.ok()?;
    let ran = live.migrate(3, &[])?;
    assert!(ran.stderr.contains("no containerd runs"), "{}", ran.stderr);
    live.is_old("stopped")?;
    assert_eq!(live.node.show("containerd.service", "ActiveState")?, "inactive");
    Ok(())
}

pub(crate) fn containerd_hangs(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    live.node
        .run(&["systemctl", "kill", "--signal=SIGSTOP", "--kill-who=main", "containerd"])?
        .ok()?;
    let ran = live.migrate(3, &[]);
    live.node
        .run(&["systemctl", "kill", "--signal=SIGCONT", "--kill-who=main", "containerd"])?
        .ok()?;
    ran?;
    live.is_old("hung")?;
    live.serves("goes on")
}

pub(crate) fn cri_dead_otherwise(case: &Case) -> Result<(), Failed> {
    let broken = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"none\"\n";
    let live = case.boot_bare(&Case::legacy().file(CONFIG, &Live::config(&format!("{MIRRORS}{broken}"))))?;
    let ran = live.migrate(3, &[])?;
    assert!(ran.stderr.contains("CRI"), "{}", ran.stderr);
    live.is_old("dead of something else")
}

/// The one dead CRI that the change mends.
pub(crate) fn cri_dead_of_both(case: &Case) -> Result<(), Failed> {
    let both = format!(
        "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n{MIRRORS}"
    );
    let live = case.boot_bare(&Case::legacy().file(CONFIG, &Live::config(&both)))?;
    live.migrate(0, &[])?;
    live.node.wait_cri(CRI)?;
    live.is_new("healed")?;
    live.nothing_is_left("healed")
}

/// A download is waited for, within a bound, and then the change goes on.
pub(crate) fn pull_in_flight(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    let held = Held::begin(&live)?;
    refusal(&live, &["--wait", "1s"], "busy")?;
    live.is_old("busy")?;
    let child = background(&live, &[])?;
    reaches(&live, "waiting")?;
    held.end()?;
    ended(child, 0)?;
    live.serves("no longer busy")?;
    live.is_new("no longer busy")
}

pub(crate) fn two_at_once(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    let held = Held::begin(&live)?;
    let child = background(&live, &[])?;
    reaches(&live, "waiting")?;
    let ran = live.run(&["status"])?.ok()?;
    assert!(ran.stdout.contains("status --follow"), "{}", ran.stdout);
    for command in ["migrate", "rollback"] {
        let ran = live.run(&[command, "--yes"])?;
        let expected = if command == "rollback" { 0 } else { 6 };
        assert_eq!(ran.code, expected, "{command}: {}{}", ran.stdout, ran.stderr);
    }
    held.end()?;
    ended(child, 0)?;
    live.serves("one of two")?;
    live.is_new("one of two")
}

/// systemd reads its files again, over and over, while it watches over a change.
pub(crate) fn reload_in_the_middle(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::that_waits())?;
    let child = background(&live, &[])?;
    for _ in 0..20 {
        live.node.run(&["systemctl", "daemon-reload"])?;
        sleep(Duration::from_millis(20));
    }
    ended(child, 0)?;
    live.serves("reloaded")?;
    live.is_new("reloaded")?;
    // One that is killed right after a reload is undone as well.
    live.run(&["rollback", "--yes"])?.ok()?;
    live.hold_start()?;
    let child = background(&live, &[])?;
    live.until_in_force()?;
    live.node
        .run(&[
            "sh",
            "-c",
            &format!("systemctl daemon-reload; systemctl kill --signal=SIGKILL {UNIT}"),
        ])?
        .ok()?;
    live.let_start()?;
    ended(child, 4)?;
    live.serves("undone")?;
    live.is_old("undone")
}

/// A sandbox whose network takes its time is waited for.
pub(crate) fn sandbox_in_creation(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    let slow = "mv /usr/lib/cni/ptp /usr/lib/cni/ptp.real; touch /run/slow; \
        printf '#!/bin/sh\\nwhile [ -e /run/slow ]; do sleep 0.05; done\\nexec /usr/lib/cni/ptp.real\\n' > /usr/lib/cni/ptp; \
        chmod +x /usr/lib/cni/ptp";
    live.node.run(&["sh", "-ec", slow])?.ok()?;
    let made = std::thread::scope(|scope| -> Result<String, Failed> {
        let sandbox = scope.spawn(|| live.node.start_sandbox("slow", false));
        let refused = live.node.until("the sandbox is never in creation", CRI, || {
            let ran = live.run(&["migrate", "--yes", "--wait", "1s", "--output", "json"])?;
            Ok(ran.stdout.contains("\"busy\"").then_some(ran.code))
        });
        let child = background(&live, &[]);
        let waits = reaches(&live, "waiting");
        live.node.run(&["rm", "/run/slow"])?;
        let made = sandbox.join().map_err(|_| "the sandbox's thread panicked")??;
        assert_eq!(refused?, 3);
        waits?;
        ended(child?, 0)?;
        Ok(made)
    })?;
    let live = Live {
        pids: live.node.pids()?,
        ..live
    };
    assert!(live.pids.contains_key(&made), "the sandbox is gone");
    live.serves("after it was made")?;
    live.is_new("after it was made")
}

/// Nothing is left that could undo: containerd starts all the same, and the next run closes the change.
pub(crate) fn guard_deleted(case: &Case) -> Result<(), Failed> {
    let mut live = case.boot(&Case::that_waits())?;
    live.hold_start()?;
    let mut child = background(&live, &[])?;
    live.until_in_force()?;
    live.node.run(&["systemctl", "kill", "--signal=SIGSTOP", UNIT])?.ok()?;
    child.kill()?;
    child.wait()?;
    live.node.run(&["rm", "/var/lib/mirrorshift/bin/mirrorshift"])?.ok()?;
    live.node.reset()?;
    live.node.wait_cri(CRI)?;
    live.is_new("nobody undid it")?;
    let live = live.with_workload("again")?;
    live.migrate(0, &[])?;
    live.serves("closed")?;
    live.is_new("closed")
}

/// A package brings another containerd while the change waits to restart this one.
pub(crate) fn upgrade_in_the_middle(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    let newer = mirrorshift_tests::lab::Nodes::containerd("2.1").map_err(|why| why.to_string())?;
    live.node.copy_in(&newer.program, "/usr/bin/containerd.new")?;
    live.learn_order()?;
    let run = live.traced(&["--inject=renameat2:delay_enter=1000000:when=1"], &[], true)?;
    live.node.until("nothing is staged", CRI, || {
        let staged = live
            .node
            .run(&["sh", "-c", "ls -A /etc/containerd | grep -q '[.]new$'"])?;
        Ok((staged.code == 0).then_some(()))
    })?;
    live.node
        .run(&["mv", "/usr/bin/containerd.new", "/usr/bin/containerd"])?
        .ok()?;
    let code = live.traced_end(&run)?;
    live.serves("upgraded")?;
    match code {
        0 => live.is_new("upgraded"),
        4 => live.is_old("upgraded"),
        other => Err(format!("ended with {other}").into()),
    }
}

/// The containerd on the disk does not load what was planned, although this release should.
pub(crate) fn rehearsal_rejects(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    let wrapper = format!(
        "cp /usr/bin/containerd /usr/bin/containerd.real; \
         printf '#!/bin/sh\\nif grep -q config_path {CONFIG} && [ \"$1\" != --version ]; then exit 1; fi\\n\
         exec /usr/bin/containerd.real \"$@\"\\n' > /usr/bin/wrapper; chmod +x /usr/bin/wrapper; \
         mv /usr/bin/wrapper /usr/bin/containerd"
    );
    live.node.run(&["sh", "-ec", &wrapper])?.ok()?;
    let invocation = live.node.show("containerd.service", "InvocationID")?;
    refusal(&live, &[], "rehearsal")?;
    assert_eq!(live.node.show("containerd.service", "InvocationID")?, invocation);
    live.is_old("rejected")?;
    live.serves("rejected")?;
    // And so says `plan`.
    let ran = live.run(&["plan", "--rehearse"])?;
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    live.node
        .run(&["mv", "/usr/bin/containerd.real", "/usr/bin/containerd"])?
        .ok()?;
    let ran = live.run(&["plan", "--rehearse"])?.ok()?;
    let heard = "As this node's containerd asked";
    let (_, table) = ran.stdout.split_once(heard).ok_or("there is no table")?;
    assert!(table.contains("= quay.io"), "{table}");
    assert!(table.contains("http://10.0.20.10:5000/v2 for quay.io"), "{table}");
    live.is_old("only shown")
}

/// The change is undone when the image that was named cannot be pulled with it.
pub(crate) fn image_that_must_be_pulled(case: &Case) -> Result<(), Failed> {
    let mut live = case.boot(&Case::legacy())?;
    let ran = live.migrate(4, &["--verify-image", "nowhere.invalid/none:1"])?;
    assert!(ran.stderr.contains("nowhere.invalid/none:1"), "{}", ran.stderr);
    live.serves("undone")?;
    live.is_old("undone")?;
    live.node.serve("quay.io/live/verified:1")?;
    live.migrate(0, &["--again", "--verify-image", "quay.io/live/verified:1"])?;
    let asked = live.node.requests()?;
    assert!(
        asked.iter().any(|request| request.image.contains("live/verified")),
        "nobody was asked"
    );
    live.serves("verified")?;
    live.is_new("verified")
}
