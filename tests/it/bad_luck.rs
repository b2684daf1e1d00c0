//! Bad input and bad luck on a running node, a trial each: what the program ends with, and what the node is like then.
//!
//! Beside these, on every release: `migrate_live` (killed, stopped, reset), `rehearsal`, `power_cuts`.

use libtest_mimic::Failed;
use mirrorshift_tests::lab::NodeOptions;
use mirrorshift_tests::live::{CONFIG, CRI, Case, Entry, Live, MIRRORS, On, PROGRAM, UNIT, on_live_nodes};
use std::process::{Child, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

const ONE: On = On::Only(&["1.7"]);

const TRIALS: [Entry; 34] = [
    ("fails_live_and_is_undone", On::Every, fails_live),
    ("start_limit_is_hit_and_undone", On::Only(&["1.7", "2.4"]), start_limit),
    ("undone_before_is_not_tried_again", ONE, undone_before),
    ("import_that_appears", On::Only(&["1.7", "2.4"]), import_appears),
    (
        "edited_by_somebody_else",
        On::Only(&["1.7", "2.4"]),
        edited_by_somebody_else,
    ),
    ("bind_mounted_file", ONE, bind_mounted),
    ("read_only_file_system", ONE, read_only),
    ("link_out_of_the_folder", ONE, link_out),
    ("immutable_file", ONE, immutable),
    ("full_disk_of_the_journal", ONE, full_journal_disk),
    ("full_disk_of_the_configuration", ONE, full_configuration_disk),
    ("containers_would_be_killed", On::Every, containers_would_be_killed),
    ("two_containerds", ONE, two_containerds),
    ("another_config_path", ONE, another_config),
    ("root_on_another_disk", On::Every, another_root),
    ("root_file_and_drop_in", On::Every, root_file_and_drop_in),
    ("unit_fails_already", ONE, unit_fails_already),
    ("slow_start", On::Only(&["2.1"]), slow_start),
    ("no_bus", ONE, no_bus),
    ("bus_goes_in_the_middle", On::Only(&["1.7", "2.4"]), bus_goes),
    ("containerd_is_stopped", ONE, containerd_is_stopped),
    ("containerd_hangs", ONE, containerd_hangs),
    ("cri_is_dead_of_something_else", ONE, cri_dead_otherwise),
    ("cri_is_dead_of_both_settings", On::Every, cri_dead_of_both),
    ("noexec", ONE, noexec),
    ("pull_in_flight", On::Only(&["1.7", "2.4"]), pull_in_flight),
    ("two_at_once", ONE, two_at_once),
    ("corrupt_journal", ONE, corrupt_journal),
    ("reload_in_the_middle", ONE, reload_in_the_middle),
    ("sandbox_in_creation", On::Only(&["1.7", "2.4"]), sandbox_in_creation),
    ("less_space_than_every_write_needs", ONE, less_and_less_space),
    ("disk_of_the_journal_goes", ONE, journal_disk_goes),
    ("program_of_the_guard_deleted", On::Only(&["1.6", "2.4"]), guard_deleted),
    ("upgrade_in_the_middle", ONE, upgrade_in_the_middle),
];

fn main() -> ExitCode {
    on_live_nodes(env!("CARGO_BIN_EXE_lab-run"), "bad_luck", &TRIALS)
}

/// Runs a script on a good node, and `migrate` after it, which must refuse for `reason` and touch nothing.
fn refused(case: &Case, options: &NodeOptions, script: &str, reason: &str) -> Result<(), Failed> {
    let live = case.boot(options)?;
    live.node.run(&["sh", "-ec", script])?.ok()?;
    let before = live.node.read(CONFIG)?;
    refusal(&live, &[], reason)?;
    assert_eq!(live.node.read(CONFIG)?, before, "config.toml was touched");
    live.nothing_is_left("refused")
}

/// `migrate` refuses for `reason`.
fn refusal(live: &Live, more: &[&str], reason: &str) -> Result<(), Failed> {
    let ran = live.migrate(3, &[&["--output", "json"], more].concat())?;
    let document: serde_json::Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!(document["error"]["reason"], reason, "{}", ran.stdout);
    assert_eq!(document["exitCode"], 3);
    Ok(())
}

/// A daemon that does not start with new files, whatever a rehearsal says: a drop-in of the unit looks at them.
fn hates_new_files() -> NodeOptions {
    Case::legacy().drop_in(
        "containerd.service",
        "hates",
        &format!("[Service]\nRestartSec=200ms\nExecStartPre=/bin/sh -c '! grep -q config_path {CONFIG}'\n"),
    )
}

fn fails_live(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&hates_new_files())?;
    let ran = live.migrate(4, &[])?;
    assert!(ran.stderr.contains("was undone"), "{}", ran.stderr);
    live.serves("undone")?;
    live.is_old("undone")
}

fn start_limit(case: &Case) -> Result<(), Failed> {
    let limited = "[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=2\n";
    let live = case.boot(&hates_new_files().drop_in("containerd.service", "limit", limited))?;
    live.migrate(4, &[])?;
    live.serves("undone")?;
    live.is_old("undone")
}

fn undone_before(case: &Case) -> Result<(), Failed> {
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

/// Something that containerd downloads until the trial ends it.
struct Held<'l>(&'l Live);

impl<'l> Held<'l> {
    fn begin(live: &'l Live) -> Result<Self, Failed> {
        let script = "rm -f /run/end; (echo begun; until [ -e /run/end ]; do sleep 0.05; done) | \
            ctr -n k8s.io content ingest held";
        let unit = ["systemd-run", "--unit=held", "sh", "-c", script];
        live.node.run(&unit)?.ok()?;
        live.node.until("nothing is being downloaded", CRI, || {
            let active = live.node.run(&["ctr", "-n", "k8s.io", "content", "active"])?.stdout;
            Ok(active.contains("held").then_some(()))
        })?;
        Ok(Self(live))
    }

    fn end(self) -> Result<(), Failed> {
        self.0.node.write("/run/end", "")?;
        Ok(())
    }
}

/// A `migrate` in the background.
fn background(live: &Live, more: &[&str]) -> Result<Child, Failed> {
    let mut child = live.node.command(&[&[PROGRAM, "migrate", "--yes"], more].concat())?;
    let child = child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(child.spawn()?)
}

/// Waits until the change tells `step`.
fn reaches(live: &Live, step: &str) -> Result<(), Failed> {
    let look = format!("cat /run/mirrorshift/$(cat /run/mirrorshift/last)/events | grep -q '\"{step}\"'");
    live.node.until(&format!("the change is never {step}"), CRI, || {
        Ok((live.node.run(&["sh", "-c", &look])?.code == 0).then_some(()))
    })?;
    Ok(())
}

fn ended(child: Child, code: i32) -> Result<String, Failed> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(code) {
        return Ok(text);
    }
    Err(format!("ended with {:?} and not {code}: {text}", output.status).into())
}

fn import_appears(case: &Case) -> Result<(), Failed> {
    let imports = format!(
        "imports = [\"/etc/containerd/conf.d/*.toml\"]\n{}",
        Live::config(MIRRORS)
    );
    let live = case.boot(&Case::legacy().file(CONFIG, &imports))?;
    live.node.run(&["mkdir", "/etc/containerd/conf.d"])?.ok()?;
    let held = Held::begin(&live)?;
    let child = background(&live, &[])?;
    reaches(&live, "waiting")?;
    live.node.write(
        "/etc/containerd/conf.d/new.toml",
        "version = 2\n[metrics]\naddress = \"127.0.0.1:9999\"\n",
    )?;
    held.end()?;
    let said = ended(child, 3)?;
    assert!(said.contains("changed since"), "{said}");
    live.is_old("an import appeared")?;
    live.serves("an import appeared")
}

/// What an editor writes between the look at a file and its exchange is neither lost nor covered.
fn edited_by_somebody_else(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    live.learn_order()?;
    let run = live.traced(&["--inject=renameat2:delay_enter=1500000:when=1"], &[], true)?;
    live.node.until("nothing is staged", CRI, || {
        let staged = live
            .node
            .run(&["sh", "-c", "ls -A /etc/containerd | grep -q '[.]new$'"])?;
        Ok((staged.code == 0).then_some(()))
    })?;
    let edited = [&live.old[..], b"# an edit\n"].concat();
    live.node.write("/root/edited.toml", &edited)?;
    live.node
        .run(&[
            "sh",
            "-ec",
            &format!("cp /root/edited.toml {CONFIG}.edit; mv {CONFIG}.edit {CONFIG}"),
        ])?
        .ok()?;
    let code = live.traced_end(&run)?;
    assert!(code == 3 || code == 4, "{code}");
    assert!(live.node.read(CONFIG)? == edited, "the edit is gone");
    live.serves("edited")
}

fn bind_mounted(case: &Case) -> Result<(), Failed> {
    refused(
        case,
        &Case::legacy(),
        &format!("mount --bind {CONFIG} {CONFIG}"),
        "mounted",
    )
}

fn read_only(case: &Case) -> Result<(), Failed> {
    let script = "mount --bind /etc/containerd /etc/containerd; mount -o remount,bind,ro /etc/containerd";
    refused(case, &Case::legacy(), script, "read-only")
}

fn link_out(case: &Case) -> Result<(), Failed> {
    let script = format!(
        "mkdir /root/elsewhere; mv {CONFIG} /root/elsewhere/; ln -s /root/elsewhere/config.toml {CONFIG}; \
        systemctl restart containerd; sleep 1"
    );
    refused(case, &Case::legacy(), &script, "outside")
}

fn immutable(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    if live.node.run(&["chattr", "+i", CONFIG])?.code != 0 {
        return Err("the node's file system has no immutable files".into());
    }
    // The mark is a change of the file, which containerd must not be older than.
    live.node.run(&["systemctl", "restart", "containerd"])?.ok()?;
    live.node.wait_cri(CRI)?;
    refusal(&live, &[], "protected")?;
    live.node.run(&["chattr", "-i", CONFIG])?.ok()?;
    live.is_old("immutable")?;
    live.nothing_is_left("immutable")
}

/// No byte is left where the journal lies: found out before anything is touched.
fn full_journal_disk(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy().disk("/var/lib/mirrorshift", "size=64m"))?;
    live.node.run(&[
        "sh",
        "-c",
        "cat /dev/zero > /var/lib/mirrorshift/full 2>/dev/null; true",
    ])?;
    let ran = live.migrate(3, &[])?;
    assert!(ran.stderr.contains("space"), "{}", ran.stderr);
    live.is_old("full")?;
    live.serves("full")?;
    live.node.run(&["rm", "/var/lib/mirrorshift/full"])?.ok()?;
    live.migrate(0, &[])?;
    live.serves("room again")?;
    live.is_new("room again")
}

fn full_configuration_disk(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy().disk("/etc/containerd", "size=1m"))?;
    live.node
        .run(&["sh", "-c", "cat /dev/zero > /etc/containerd/full 2>/dev/null; true"])?;
    // A disk in memory is one more reason.
    let ran = live.migrate(3, &[])?;
    assert!(ran.stderr.contains("has 0 bytes free"), "{}", ran.stderr);
    live.is_old("full")?;
    live.node.run(&["rm", "/etc/containerd/full"])?.ok()?;
    live.serves("full")
}

fn containers_would_be_killed(case: &Case) -> Result<(), Failed> {
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

fn two_containerds(case: &Case) -> Result<(), Failed> {
    let script = "systemd-run --unit=second /usr/bin/containerd --config /dev/null --root /run/second/root \
        --state /run/second/state --address /run/second/second.sock; \
        until [ -S /run/second/second.sock ]; do sleep 0.05; done";
    refused(case, &Case::legacy(), script, "many-daemons")
}

/// The unit names another file: the usual one is not the one to change, and with `--config` the right one is.
fn another_config(case: &Case) -> Result<(), Failed> {
    let other = "/etc/containerd/other.toml";
    let options = Case::legacy().file(other, &Live::config(MIRRORS)).drop_in(
        "containerd.service",
        "other",
        &format!("[Service]\nExecStart=\nExecStart=/usr/bin/containerd --config {other}\n"),
    );
    let live = case.boot(&options)?;
    refusal(&live, &[], "other-file")?;
    live.migrate(0, &["--config", other])?;
    live.serves("migrated")?;
    live.is_old("the other file was migrated")?;
    let new = String::from_utf8_lossy(&live.node.read(other)?).into_owned();
    assert!(new.contains("config_path"), "{new}");
    Ok(())
}

fn another_root(case: &Case) -> Result<(), Failed> {
    let root = format!("root = \"/data/containerd\"\n{}", Live::config(MIRRORS));
    let live = case.boot(&Case::legacy().file(CONFIG, &root).disk("/data", "size=256m"))?;
    live.migrate(0, &[])?;
    live.serves("migrated")?;
    live.is_new("migrated")
}

/// Mirrors in both files.
fn root_file_and_drop_in(case: &Case) -> Result<(), Failed> {
    let drop_in = mirrorshift_tests::live::DROP_IN;
    let options = Case::two_files();
    let mut live = case.boot(&options)?;
    let routes = |live: &mut Live, run: &str| -> Result<Vec<String>, Failed> {
        let mut asked = live.asked(&format!("quay.io/{run}/one:1"))?;
        asked.extend(live.asked(&format!("ghcr.io/{run}/two:1"))?);
        Ok(asked.iter().map(|ask| ask.replace(run, "RUN")).collect())
    };
    let before = routes(&mut live, "before")?;
    let old = live.node.read(drop_in)?;
    live.migrate(0, &[])?;
    live.serves("migrated")?;
    assert_eq!(routes(&mut live, "after")?, before);
    live.run(&["rollback", "--yes"])?.ok()?;
    live.serves("rolled back")?;
    live.is_old("rolled back")?;
    assert_eq!(live.node.read(drop_in)?, old);
    Ok(())
}

fn unit_fails_already(case: &Case) -> Result<(), Failed> {
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
fn slow_start(case: &Case) -> Result<(), Failed> {
    let slow = format!("[Service]\nExecStartPre=/bin/sh -c 'if grep -q config_path {CONFIG}; then sleep 30; fi'\n");
    let live = case.boot(&Case::legacy().drop_in("containerd.service", "slow", &slow))?;
    live.migrate(0, &[])?;
    live.serves("after a slow start")?;
    live.is_new("after a slow start")
}

fn no_bus(case: &Case) -> Result<(), Failed> {
    refused(
        case,
        &Case::legacy(),
        "systemctl stop dbus.socket dbus.service; rm -f /run/dbus/system_bus_socket",
        "systemd",
    )
}

/// The bus goes once the new files are in force: the change ends well, or is undone, without it.
fn bus_goes(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    let child = background(&live, &[])?;
    live.node.until("the new files are never in force", CRI, || {
        Ok((live.node.read(CONFIG)? != live.old).then_some(()))
    })?;
    live.node.run(&[
        "sh",
        "-c",
        "systemctl stop dbus.socket dbus.service; rm -f /run/dbus/system_bus_socket",
    ])?;
    let output = child.wait_with_output()?;
    live.node
        .run(&["systemctl", "start", "dbus.socket", "dbus.service"])?
        .ok()?;
    match output.status.code() {
        Some(0) => live.is_new("without a bus")?,
        Some(4) => live.is_old("without a bus")?,
        other => return Err(format!("ended with {other:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
    live.serves("without a bus")
}

fn containerd_is_stopped(case: &Case) -> Result<(), Failed> {
    let live = case.boot_bare(&Case::legacy())?;
    live.node.wait_cri(CRI)?;
    live.node.run(&["systemctl", "stop", "containerd"])?.ok()?;
    let ran = live.migrate(3, &[])?;
    assert!(ran.stderr.contains("no containerd runs"), "{}", ran.stderr);
    live.is_old("stopped")?;
    assert_eq!(live.node.show("containerd.service", "ActiveState")?, "inactive");
    Ok(())
}

fn containerd_hangs(case: &Case) -> Result<(), Failed> {
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

fn cri_dead_otherwise(case: &Case) -> Result<(), Failed> {
    let broken = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"none\"\n";
    let live = case.boot_bare(&Case::legacy().file(CONFIG, &Live::config(&format!("{MIRRORS}{broken}"))))?;
    let ran = live.migrate(3, &[])?;
    assert!(ran.stderr.contains("CRI"), "{}", ran.stderr);
    live.is_old("dead of something else")
}

/// The one dead CRI that the change mends.
fn cri_dead_of_both(case: &Case) -> Result<(), Failed> {
    let both = format!(
        "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n{MIRRORS}"
    );
    let live = case.boot_bare(&Case::legacy().file(CONFIG, &Live::config(&both)))?;
    live.migrate(0, &[])?;
    live.node.wait_cri(CRI)?;
    live.is_new("healed")?;
    live.nothing_is_left("healed")
}

fn noexec(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy().disk("/var/lib/mirrorshift", "size=64m,noexec"))?;
    let ran = live.migrate(3, &[])?;
    assert!(ran.stderr.contains("noexec"), "{}", ran.stderr);
    live.is_old("noexec")?;
    live.serves("noexec")
}

/// A download is waited for, within a bound, and then the change goes on.
fn pull_in_flight(case: &Case) -> Result<(), Failed> {
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

fn two_at_once(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    let held = Held::begin(&live)?;
    let child = background(&live, &[])?;
    reaches(&live, "waiting")?;
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

fn corrupt_journal(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    live.migrate(0, &[])?;
    let journal = "/var/lib/mirrorshift/journal.json";
    let whole = live.node.read(journal)?;
    let migrated = live.node.read(CONFIG)?;
    for bytes in [&whole[..whole.len() / 2], b"", b"{}"] {
        live.node.write(journal, bytes)?;
        for command in ["migrate", "rollback", "status"] {
            let ran = live.run(&[command])?;
            assert_eq!(ran.code, 3, "{command}: {}{}", ran.stdout, ran.stderr);
            assert!(ran.stderr.contains("journal.json"), "{}", ran.stderr);
        }
    }
    live.node.write(journal, &whole)?;
    // A backup that is not what it was.
    let backup = live
        .node
        .run(&["sh", "-c", "ls /var/lib/mirrorshift/changes/*/* | tail -1"])?
        .stdout;
    let kept = live.node.read(backup.trim())?;
    live.node.write(backup.trim(), "other")?;
    let ran = live.run(&["rollback", "--yes"])?;
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(live.node.read(CONFIG)? == migrated, "config.toml was touched");
    live.node.write(backup.trim(), &kept)?;
    live.run(&["rollback", "--yes"])?.ok()?;
    live.serves("rolled back")?;
    live.is_old("rolled back")
}

/// systemd reads its files again, over and over, while it watches over a change.
fn reload_in_the_middle(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
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
    let child = background(&live, &[])?;
    live.node.until("the new files are never in force", CRI, || {
        Ok((live.node.read(CONFIG)? != live.old).then_some(()))
    })?;
    live.node
        .run(&[
            "sh",
            "-c",
            &format!("systemctl daemon-reload; systemctl kill --signal=SIGKILL {UNIT}"),
        ])?
        .ok()?;
    ended(child, 4)?;
    live.serves("undone")?;
    live.is_old("undone")
}

/// A sandbox whose network takes its time is waited for.
fn sandbox_in_creation(case: &Case) -> Result<(), Failed> {
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

/// The disk of the journal has room for one page more each time, so that each write is the first that fails.
fn less_and_less_space(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy().disk("/var/lib/mirrorshift", "size=64m"))?;
    live.learn_order()?;
    let (mut refused, mut settled) = (0, 0);
    for pages in 0..16 {
        let fill = format!(
            "cd /var/lib/mirrorshift; rm -f full; cat /dev/zero > full 2>/dev/null || true; \
             truncate -s -{} full",
            pages * 4096
        );
        live.node.run(&["sh", "-c", &fill])?;
        let ran = live.run(&["migrate", "--yes"])?;
        live.node.run(&["rm", "/var/lib/mirrorshift/full"])?.ok()?;
        let why = format!("{pages} pages: exit code {}", ran.code);
        live.serves(&why)?;
        match ran.code {
            0 => {
                settled += 1;
                live.is_new(&why)?;
                live.run(&["rollback", "--yes"])?.ok()?;
                live.is_old(&why)?;
            }
            3 | 4 => {
                refused += 1;
                live.is_old(&why)?;
            }
            code => return Err(format!("{why} ({code}): {}{}", ran.stdout, ran.stderr).into()),
        }
    }
    assert!(refused > 0, "there was always room: {settled} settled");
    live.migrate(0, &[])?;
    live.serves("with room")?;
    live.is_new("with room")
}

/// From some write on the journal can no longer be written, as on a disk that fails; whoever undoes it finds it whole.
fn journal_disk_goes(case: &Case) -> Result<(), Failed> {
    let often = "[Unit]\nStartLimitIntervalSec=0\n";
    let live = case.boot(&Case::legacy().drop_in("containerd.service", "often", often))?;
    live.learn_order()?;
    let mut ends = Vec::new();
    for from in [1, 3, 5, 7, 9, 11, 13] {
        let inject = format!("--inject=renameat:error=EIO:when={from}+");
        let run = live.traced(&["--trace=renameat", &inject], &[], true)?;
        let code = live.traced_end(&run)?;
        let why = format!("from write {from} on: exit code {code}");
        live.serves(&why)?;
        match code {
            0 => live.is_new(&why)?,
            1 | 3 | 4 => live.is_old(&why)?,
            _ => return Err(why.into()),
        }
        ends.push(code);
        live.migrate(0, &[])?;
        live.serves(&why)?;
        live.is_new(&why)?;
        live.run(&["rollback", "--yes"])?.ok()?;
    }
    assert!(ends.iter().any(|code| *code != 0), "nothing ever failed: {ends:?}");
    Ok(())
}

/// Nothing is left that could undo: containerd starts all the same, and the next run closes the change.
fn guard_deleted(case: &Case) -> Result<(), Failed> {
    let mut live = case.boot(&Case::legacy())?;
    let mut child = background(&live, &[])?;
    live.node.until("the new files are never in force", CRI, || {
        Ok((live.node.read(CONFIG)? != live.old).then_some(()))
    })?;
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
fn upgrade_in_the_middle(case: &Case) -> Result<(), Failed> {
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
