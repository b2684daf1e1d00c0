//! Bad luck with files and disks.

use crate::{Held, background, ended, reaches, refusal, refused};
use libtest_mimic::Failed;
use mirrorshift_tests::node_trials::{CONFIG, CRI, Case, Live, MIRRORS};
use std::thread::sleep;
use std::time::Duration;

pub(crate) fn import_appears(case: &Case) -> Result<(), Failed> {
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

/// What an editor writes between the last look at a file and its exchange is neither lost nor covered.
pub(crate) fn edited_by_somebody_else(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    let count = "find /etc/containerd/certs.d -name hosts.toml 2>/dev/null | wc -l";
    let made = || live.node.run(&["sh", "-c", count]).map(|ran| ran.stdout);
    live.migrate(0, &[])?;
    live.keep_order()?;
    let all = made()?;
    live.run(&["rollback", "--yes"])?.ok()?;
    let invocation = live.node.show("containerd.service", "InvocationID")?;
    // Each exchange waits after it was decided on; that of config.toml is the last one.
    let run = live.traced(
        &["--trace=renameat2", "--inject=renameat2:delay_enter=1500000"],
        &[],
        true,
    )?;
    live.node.until("the other files are never there", CRI, || {
        Ok((made()? == all).then_some(()))
    })?;
    sleep(Duration::from_millis(300));
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
    let trace = String::from_utf8_lossy(&live.node.read("/root/trace")?).into_owned();
    let exchanges = trace.matches("RENAME_EXCHANGE").count();
    assert!(exchanges >= 2, "it was not exchanged and given back: {trace}");
    assert!(code == 3 || code == 4, "{code}");
    assert!(live.node.read(CONFIG)? == edited, "the edit is gone");
    let now = live.node.show("containerd.service", "InvocationID")?;
    assert_eq!(
        now, invocation,
        "containerd was restarted without the edit that was there"
    );
    live.serves("edited")
}

pub(crate) fn bind_mounted(case: &Case) -> Result<(), Failed> {
    refused(
        case,
        &Case::legacy(),
        &format!("mount --bind {CONFIG} {CONFIG}"),
        "mounted",
    )
}

pub(crate) fn read_only(case: &Case) -> Result<(), Failed> {
    let script = "mount --bind /etc/containerd /etc/containerd; mount -o remount,bind,ro /etc/containerd";
    refused(case, &Case::legacy(), script, "read-only")
}

pub(crate) fn link_out(case: &Case) -> Result<(), Failed> {
    let script = format!(
        "mkdir /root/elsewhere; mv {CONFIG} /root/elsewhere/; ln -s /root/elsewhere/config.toml {CONFIG}; \
        systemctl restart containerd; sleep 1"
    );
    refused(case, &Case::legacy(), &script, "outside")
}

pub(crate) fn immutable(case: &Case) -> Result<(), Failed> {
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
pub(crate) fn full_journal_disk(case: &Case) -> Result<(), Failed> {
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

pub(crate) fn full_configuration_disk(case: &Case) -> Result<(), Failed> {
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

/// The unit names another file: the usual one is not the one to change, and with `--config` the right one is.
pub(crate) fn another_config(case: &Case) -> Result<(), Failed> {
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

pub(crate) fn another_root(case: &Case) -> Result<(), Failed> {
    let root = format!("root = \"/data/containerd\"\n{}", Live::config(MIRRORS));
    let live = case.boot(&Case::legacy().file(CONFIG, &root).disk("/data", "size=256m"))?;
    live.migrate(0, &[])?;
    live.serves("migrated")?;
    live.is_new("migrated")
}

/// Mirrors in both files.
pub(crate) fn root_file_and_drop_in(case: &Case) -> Result<(), Failed> {
    let drop_in = mirrorshift_tests::node_trials::DROP_IN;
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

pub(crate) fn noexec(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy().disk("/var/lib/mirrorshift", "size=64m,noexec"))?;
    let ran = live.migrate(3, &[])?;
    assert!(ran.stderr.contains("noexec"), "{}", ran.stderr);
    live.is_old("noexec")?;
    live.serves("noexec")
}

pub(crate) fn corrupt_journal(case: &Case) -> Result<(), Failed> {
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

/// The disk of the journal has room for one page more each time, so that each write is the first that fails.
pub(crate) fn less_and_less_space(case: &Case) -> Result<(), Failed> {
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

/// A node on which a change is made again and again, and how often it writes the journal.
fn much_changed(case: &Case) -> Result<(Live, usize), Failed> {
    let often = "[Unit]\nStartLimitIntervalSec=0\n";
    let live = case.boot(&Case::legacy().drop_in("containerd.service", "often", often))?;
    live.learn_order()?;
    let run = live.traced(&["--trace=renameat"], &[], true)?;
    assert_eq!(live.traced_end(&run)?, 0);
    let trace = String::from_utf8_lossy(&live.node.read("/root/trace")?).into_owned();
    let writes = trace.lines().filter(|line| line.contains("\"journal.json\"")).count();
    live.run(&["rollback", "--yes"])?.ok()?;
    live.is_old("taken back")?;
    Ok((live, writes))
}

/// The exit code of a change whose journal cannot be written any more from its write number `from` on.
fn journal_fails(live: &Live, from: usize) -> Result<i64, Failed> {
    let inject = format!("--inject=renameat:error=EIO:when={from}+");
    let run = live.traced(&["--trace=renameat", &inject], &[], true)?;
    live.traced_end(&run)
}

/// The journal cannot be written at all, as on a disk that fails: refused.
pub(crate) fn journal_disk_is_gone(case: &Case) -> Result<(), Failed> {
    let (live, _) = much_changed(case)?;
    assert_eq!(journal_fails(&live, 1)?, 3);
    live.serves("refused")?;
    live.is_old("refused")?;
    live.migrate(0, &[])?;
    live.serves("with a disk")?;
    live.is_new("with a disk")
}

/// From some later write on it cannot: the change stops where it is, and its owner, who can write again, undoes it.
pub(crate) fn journal_disk_goes(case: &Case) -> Result<(), Failed> {
    let (live, writes) = much_changed(case)?;
    assert!(writes > 8, "it writes {writes} times");
    for from in (2..writes).step_by(3).chain([writes]) {
        let why = format!("from write {from} of {writes} on");
        assert_eq!(journal_fails(&live, from)?, 1, "{why}");
        live.serves(&why)?;
        live.is_old(&why)?;
        live.migrate(0, &[])?;
        live.serves(&why)?;
        live.is_new(&why)?;
        live.run(&["rollback", "--yes"])?.ok()?;
    }
    // Once more than it writes: nothing fails.
    assert_eq!(journal_fails(&live, writes + 1)?, 0);
    live.serves("written")?;
    live.is_new("written")
}

/// What stood there before a healing change is dead: going back is refused before anything is touched.
pub(crate) fn rollback_that_no_longer_loads(case: &Case) -> Result<(), Failed> {
    let both = format!(
        "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n{MIRRORS}"
    );
    let live = case.boot_bare(&Case::legacy().file(CONFIG, &Live::config(&both)))?;
    live.migrate(0, &[])?;
    live.node.wait_cri(CRI)?;
    let live = live.with_workload("healed")?;
    let ran = live.run(&["rollback", "--yes"])?;
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("CRI does not come up"), "{}", ran.stderr);
    live.is_new("refused")?;
    live.serves("refused")
}
