//! Faults of files and disks.

use crate::{Held, background, ended, reaches, refusal, refused};
use libtest_mimic::Failed;
use mirrorshift_tests::node_tests::{CONFIG, CRI, MIRRORS, NodeTestContext, TestNode};
use std::thread::sleep;
use std::time::Duration;

pub(crate) fn import_appears(context: &NodeTestContext) -> Result<(), Failed> {
    let imports = format!(
        "imports = [\"/etc/containerd/conf.d/*.toml\"]\n{}",
        TestNode::config(MIRRORS)
    );
    let test_node = context.boot(&NodeTestContext::legacy().file(CONFIG, &imports))?;
    test_node.node.run(&["mkdir", "/etc/containerd/conf.d"])?.ok()?;
    let held = Held::begin(&test_node)?;
    let child = background(&test_node, &[])?;
    reaches(&test_node, "waiting")?;
    test_node.node.write(
        "/etc/containerd/conf.d/new.toml",
        "version = 2\n[metrics]\naddress = \"127.0.0.1:9999\"\n",
    )?;
    held.end()?;
    let said = ended(child, 3)?;
    assert!(said.contains("changed since"), "{said}");
    test_node.is_old("an import appeared")?;
    test_node.serves("an import appeared")
}

/// Checks that an edit between the last check of a file and its replacement is neither lost nor hidden.
pub(crate) fn edit_during_the_change_is_kept(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    let count = "find /etc/containerd/certs.d -name hosts.toml 2>/dev/null | wc -l";
    let made = || test_node.node.run(&["sh", "-c", count]).map(|ran| ran.stdout);
    test_node.migrate(0, &[])?;
    test_node.keep_request()?;
    let all = made()?;
    test_node.run(&["rollback", "--yes"])?.ok()?;
    let invocation = test_node.node.show("containerd.service", "InvocationID")?;
    // Each rename is delayed after it was decided. The rename of config.toml is the last one.
    let run = test_node.traced(
        &["--trace=renameat2", "--inject=renameat2:delay_enter=1500000"],
        &[],
        true,
    )?;
    test_node.node.until("the other files were not created", CRI, || {
        Ok((made()? == all).then_some(()))
    })?;
    sleep(Duration::from_millis(300));
    let edited = [&test_node.old[..], b"# an edit\n"].concat();
    test_node.node.write("/root/edited.toml", &edited)?;
    test_node
        .node
        .run(&[
            "sh",
            "-ec",
            &format!("cp /root/edited.toml {CONFIG}.edit; mv {CONFIG}.edit {CONFIG}"),
        ])?
        .ok()?;
    let code = test_node.wait_for_traced_exit_code(&run)?;
    let trace = String::from_utf8_lossy(&test_node.node.read("/root/trace")?).into_owned();
    let exchanges = trace.matches("RENAME_EXCHANGE").count();
    assert!(exchanges >= 2, "config.toml was not replaced and restored: {trace}");
    assert!(code == 3 || code == 4, "{code}");
    assert!(test_node.node.read(CONFIG)? == edited, "the edit was lost");
    let now = test_node.node.show("containerd.service", "InvocationID")?;
    assert_eq!(
        now, invocation,
        "containerd was restarted without the edit that was there"
    );
    test_node.serves("edited")
}

pub(crate) fn bind_mounted(context: &NodeTestContext) -> Result<(), Failed> {
    refused(
        context,
        &NodeTestContext::legacy(),
        &format!("mount --bind {CONFIG} {CONFIG}"),
        "mounted",
    )
}

pub(crate) fn read_only(context: &NodeTestContext) -> Result<(), Failed> {
    let script = "mount --bind /etc/containerd /etc/containerd; mount -o remount,bind,ro /etc/containerd";
    refused(context, &NodeTestContext::legacy(), script, "read-only")
}

pub(crate) fn link_out(context: &NodeTestContext) -> Result<(), Failed> {
    let script = format!(
        "mkdir /root/elsewhere; mv {CONFIG} /root/elsewhere/; ln -s /root/elsewhere/config.toml {CONFIG}; \
        systemctl restart containerd; sleep 1"
    );
    refused(context, &NodeTestContext::legacy(), &script, "outside")
}

pub(crate) fn immutable(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    if test_node.node.run(&["chattr", "+i", CONFIG])?.code != 0 {
        return Err("the node's file system has no immutable files".into());
    }
    // Setting the flag changes the file's ctime, and containerd must have started after that.
    test_node.node.run(&["systemctl", "restart", "containerd"])?.ok()?;
    test_node.node.wait_cri(CRI)?;
    refusal(&test_node, &[], "protected")?;
    test_node.node.run(&["chattr", "-i", CONFIG])?.ok()?;
    test_node.is_old("immutable")?;
    test_node.nothing_is_left("immutable")
}

/// Checks that a full disk of the journal is detected before anything is changed.
pub(crate) fn full_journal_disk(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy().disk("/var/lib/mirrorshift", "size=64m"))?;
    test_node.node.run(&[
        "sh",
        "-c",
        "cat /dev/zero > /var/lib/mirrorshift/full 2>/dev/null; true",
    ])?;
    let ran = test_node.migrate(3, &[])?;
    assert!(ran.stderr.contains("space"), "{}", ran.stderr);
    test_node.is_old("full")?;
    test_node.serves("full")?;
    test_node.node.run(&["rm", "/var/lib/mirrorshift/full"])?.ok()?;
    test_node.migrate(0, &[])?;
    test_node.serves("with free space")?;
    test_node.is_new("with free space")
}

pub(crate) fn full_configuration_disk(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy().disk("/etc/containerd", "size=1m"))?;
    test_node
        .node
        .run(&["sh", "-c", "cat /dev/zero > /etc/containerd/full 2>/dev/null; true"])?;
    // Because this disk is a tmpfs, there is a second reason.
    let ran = test_node.migrate(3, &[])?;
    assert!(ran.stderr.contains("has 0 bytes free"), "{}", ran.stderr);
    test_node.is_old("full")?;
    test_node.node.run(&["rm", "/etc/containerd/full"])?.ok()?;
    test_node.serves("full")
}

/// The unit names another file. The default file must not be changed; with `--config` the right file is.
pub(crate) fn another_config(context: &NodeTestContext) -> Result<(), Failed> {
    let other = "/etc/containerd/other.toml";
    let options = NodeTestContext::legacy()
        .file(other, &TestNode::config(MIRRORS))
        .drop_in(
            "containerd.service",
            "other",
            &format!("[Service]\nExecStart=\nExecStart=/usr/bin/containerd --config {other}\n"),
        );
    let test_node = context.boot(&options)?;
    refusal(&test_node, &[], "other-file")?;
    test_node.migrate(0, &["--config", other])?;
    test_node.serves("migrated")?;
    test_node.is_old("the other file was migrated")?;
    let new = String::from_utf8_lossy(&test_node.node.read(other)?).into_owned();
    assert!(new.contains("config_path"), "{new}");
    Ok(())
}

pub(crate) fn another_root(context: &NodeTestContext) -> Result<(), Failed> {
    let root = format!("root = \"/data/containerd\"\n{}", TestNode::config(MIRRORS));
    let test_node = context.boot(&NodeTestContext::legacy().file(CONFIG, &root).disk("/data", "size=256m"))?;
    test_node.migrate(0, &[])?;
    test_node.serves("migrated")?;
    test_node.is_new("migrated")
}

/// Mirrors in both files.
pub(crate) fn root_file_and_drop_in(context: &NodeTestContext) -> Result<(), Failed> {
    let drop_in = mirrorshift_tests::node_tests::DROP_IN;
    let options = NodeTestContext::two_files();
    let mut test_node = context.boot(&options)?;
    let routes = |test_node: &mut TestNode, run: &str| -> Result<Vec<String>, Failed> {
        let mut asked = test_node.asked(&format!("quay.io/{run}/one:1"))?;
        asked.extend(test_node.asked(&format!("ghcr.io/{run}/two:1"))?);
        Ok(asked.iter().map(|ask| ask.replace(run, "RUN")).collect())
    };
    let before = routes(&mut test_node, "before")?;
    let old = test_node.node.read(drop_in)?;
    test_node.migrate(0, &[])?;
    test_node.serves("migrated")?;
    assert_eq!(routes(&mut test_node, "after")?, before);
    test_node.run(&["rollback", "--yes"])?.ok()?;
    test_node.serves("rolled back")?;
    test_node.is_old("rolled back")?;
    assert_eq!(test_node.node.read(drop_in)?, old);
    Ok(())
}

pub(crate) fn noexec(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy().disk("/var/lib/mirrorshift", "size=64m,noexec"))?;
    let ran = test_node.migrate(3, &[])?;
    assert!(ran.stderr.contains("noexec"), "{}", ran.stderr);
    test_node.is_old("noexec")?;
    test_node.serves("noexec")
}

pub(crate) fn corrupt_journal(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    test_node.migrate(0, &[])?;
    let journal = "/var/lib/mirrorshift/journal.json";
    let whole = test_node.node.read(journal)?;
    let migrated = test_node.node.read(CONFIG)?;
    for bytes in [&whole[..whole.len() / 2], b"", b"{}"] {
        test_node.node.write(journal, bytes)?;
        for command in ["migrate", "rollback", "status"] {
            let ran = test_node.run(&[command])?;
            assert_eq!(ran.code, 3, "{command}: {}{}", ran.stdout, ran.stderr);
            assert!(ran.stderr.contains("journal.json"), "{}", ran.stderr);
        }
    }
    test_node.node.write(journal, &whole)?;
    // The backup was modified.
    let backup = test_node
        .node
        .run(&["sh", "-c", "ls /var/lib/mirrorshift/changes/*/* | tail -1"])?
        .stdout;
    let kept = test_node.node.read(backup.trim())?;
    test_node.node.write(backup.trim(), "other")?;
    let ran = test_node.run(&["rollback", "--yes"])?;
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(test_node.node.read(CONFIG)? == migrated, "config.toml was changed");
    test_node.node.write(backup.trim(), &kept)?;
    test_node.run(&["rollback", "--yes"])?.ok()?;
    test_node.serves("rolled back")?;
    test_node.is_old("rolled back")
}

/// Leaves room for one more page on the journal's disk in each round, so that each write is once the first that
/// fails.
pub(crate) fn less_and_less_space(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy().disk("/var/lib/mirrorshift", "size=64m"))?;
    test_node.record_request()?;
    let (mut refused, mut settled) = (0, 0);
    for pages in 0..16 {
        let fill = format!(
            "cd /var/lib/mirrorshift; rm -f full; cat /dev/zero > full 2>/dev/null || true; \
             truncate -s -{} full",
            pages * 4096
        );
        test_node.node.run(&["sh", "-c", &fill])?;
        let ran = test_node.run(&["migrate", "--yes"])?;
        test_node.node.run(&["rm", "/var/lib/mirrorshift/full"])?.ok()?;
        let why = format!("{pages} pages: exit code {}", ran.code);
        test_node.serves(&why)?;
        match ran.code {
            0 => {
                settled += 1;
                test_node.is_new(&why)?;
                test_node.run(&["rollback", "--yes"])?.ok()?;
                test_node.is_old(&why)?;
            }
            3 | 4 => {
                refused += 1;
                test_node.is_old(&why)?;
            }
            code => return Err(format!("{why} ({code}): {}{}", ran.stdout, ran.stderr).into()),
        }
    }
    assert!(refused > 0, "there was always room: {settled} settled");
    test_node.migrate(0, &[])?;
    test_node.serves("with free space")?;
    test_node.is_new("with free space")
}

/// A node for many changes, and the number of times that a change writes the journal.
fn much_changed(context: &NodeTestContext) -> Result<(TestNode, usize), Failed> {
    let often = "[Unit]\nStartLimitIntervalSec=0\n";
    let test_node = context.boot(&NodeTestContext::legacy().drop_in("containerd.service", "often", often))?;
    test_node.record_request()?;
    let run = test_node.traced(&["--trace=renameat"], &[], true)?;
    assert_eq!(test_node.wait_for_traced_exit_code(&run)?, 0);
    let trace = String::from_utf8_lossy(&test_node.node.read("/root/trace")?).into_owned();
    let writes = trace.lines().filter(|line| line.contains("\"journal.json\"")).count();
    test_node.run(&["rollback", "--yes"])?.ok()?;
    test_node.is_old("taken back")?;
    Ok((test_node, writes))
}

/// Returns the exit code of a change whose journal cannot be written from write number `from` on.
fn journal_fails(test_node: &TestNode, from: usize) -> Result<i64, Failed> {
    let inject = format!("--inject=renameat:error=EIO:when={from}+");
    let run = test_node.traced(&["--trace=renameat", &inject], &[], true)?;
    test_node.wait_for_traced_exit_code(&run)
}

/// Checks that a change is refused if its journal cannot be written, as on a failing disk.
pub(crate) fn journal_disk_is_gone(context: &NodeTestContext) -> Result<(), Failed> {
    let (test_node, _) = much_changed(context)?;
    assert_eq!(journal_fails(&test_node, 1)?, 3);
    test_node.serves("refused")?;
    test_node.is_old("refused")?;
    test_node.migrate(0, &[])?;
    test_node.serves("with a working disk")?;
    test_node.is_new("with a working disk")
}

/// Checks that a change stops when a later write of the journal fails, and that the undo unit, which can write again,
/// undoes it.
pub(crate) fn journal_disk_goes(context: &NodeTestContext) -> Result<(), Failed> {
    let (test_node, writes) = much_changed(context)?;
    assert!(writes > 8, "it writes {writes} times");
    for from in (2..writes).step_by(3).chain([writes]) {
        let why = format!("from write {from} of {writes} on");
        assert_eq!(journal_fails(&test_node, from)?, 1, "{why}");
        test_node.serves(&why)?;
        test_node.is_old(&why)?;
        test_node.migrate(0, &[])?;
        test_node.serves(&why)?;
        test_node.is_new(&why)?;
        test_node.run(&["rollback", "--yes"])?.ok()?;
    }
    // One more than the number of writes: nothing fails.
    assert_eq!(journal_fails(&test_node, writes + 1)?, 0);
    test_node.serves("written")?;
    test_node.is_new("written")
}

/// The files before a change that repaired CRI do not load, so a rollback is refused before anything is changed.
pub(crate) fn rollback_that_no_longer_loads(context: &NodeTestContext) -> Result<(), Failed> {
    let both = format!(
        "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n{MIRRORS}"
    );
    let test_node = context.boot_bare(&NodeTestContext::legacy().file(CONFIG, &TestNode::config(&both)))?;
    test_node.migrate(0, &[])?;
    test_node.node.wait_cri(CRI)?;
    let test_node = test_node.with_workload("healed")?;
    let ran = test_node.run(&["rollback", "--yes"])?;
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("CRI does not load"), "{}", ran.stderr);
    test_node.is_new("refused")?;
    test_node.serves("refused")
}
