//! The shipped artefacts. The Debian package on nodes: what it installs, the unit that migrates once, and what is
//! left after its removal. The image: its contents; the agent's tests run it.
//!
//! `MIRRORSHIFT_DEB` names the package and `MIRRORSHIFT_IMAGE` the image: `tests/run package` builds them and sets
//! the variables.

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::agents::BUILT;
use mirrorshift_tests::lab::{Containerd, NodeOptions, Nodes};
use mirrorshift_tests::node_tests::{CONFIG, CRI, NodeTestContext, TestNode};
use mirrorshift_tests::{Ran, all_skipped, skipped};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

/// The release line of the nodes; nothing here depends on it.
const LINE: &str = "1.7";
const PACKAGE: &str = "MIRRORSHIFT_DEB";
const ONCE: &str = "mirrorshift-migrate.service";
const POLICY: &str = "/etc/mirrorshift/policy.yaml";
/// The type of the program header that names the dynamic linker.
const INTERPRETER: usize = 3;
/// The dpkg configuration with which the node's root was built without manuals and documentation.
const LEAVES_OUT: &str = "/etc/dpkg/dpkg.cfg.d/99mmdebstrap";

struct Packaged {
    nodes: Nodes,
    containerd: Containerd,
    package: PathBuf,
}

type Run = fn(&Packaged) -> Result<(), Failed>;

const TRIALS: [(&str, Run); 7] = [
    ("installation_changes_nothing", installation_changes_nothing),
    ("consent_is_requested_on_a_terminal", consent_is_requested_on_a_terminal),
    ("unit_migrates_once", unit_migrates_once),
    ("enabled_unit_migrates_at_boot", enabled_unit_migrates_at_boot),
    ("unit_applies_the_policy", unit_applies_the_policy),
    ("unit_fails_with_an_invalid_policy", unit_fails_with_an_invalid_policy),
    (
        "removed_package_leaves_the_node_working",
        removed_package_leaves_the_node_working,
    ),
];

fn main() -> ExitCode {
    let Some(package) = std::env::var_os(PACKAGE) else {
        let why = format!("{PACKAGE} is not set: `tests/run package` builds a package");
        return all_skipped("package", &why);
    };
    let nodes = match Nodes::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(nodes) => nodes,
        Err(why) => return all_skipped("package", &why.to_string()),
    };
    let packaged = match Nodes::containerd(LINE) {
        Ok(containerd) => Arc::new(Packaged {
            nodes,
            containerd,
            package: package.into(),
        }),
        Err(why) => return all_skipped("package", &why.to_string()),
    };
    let mut trials = Vec::from(TRIALS.map(|(name, run)| {
        let packaged = Arc::clone(&packaged);
        Trial::test(format!("package::{name}"), move || run(&packaged))
    }));
    let name = "package::image_contains_only_the_program";
    trials.push(match std::env::var_os(BUILT) {
        Some(archive) => Trial::test(name, move || image_contains_only_the_program(archive.as_ref())),
        None => skipped(name, &format!("{BUILT} is not set: `packaging/image` builds an image")),
    });
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

impl Packaged {
    /// Boots a node with mirrors that are in use, a counting container, and the package.
    fn boot(&self) -> Result<TestNode, Failed> {
        Ok(self.boot_bare(&NodeTestContext::legacy())?.with_workload("counts")?)
    }

    fn boot_bare(&self, options: &NodeOptions) -> Result<TestNode, Failed> {
        let node = self
            .nodes
            .boot(&self.containerd, &options.clone().file(LEAVES_OUT, ""))?;
        node.copy_in(&self.package, "/root/mirrorshift.deb")?;
        node.run(&["dpkg", "--install", "/root/mirrorshift.deb"])?.ok()?;
        let old = node.read(CONFIG)?;
        Ok(TestNode {
            node,
            old,
            pids: BTreeMap::new(),
            workload: None,
        })
    }
}

/// Returns the invocation id of containerd.
fn invocation(test_node: &TestNode) -> Result<String, Failed> {
    Ok(test_node.node.show("containerd.service", "InvocationID")?)
}

/// Returns the log of the unit, for a failure.
fn journal(test_node: &TestNode) -> Result<String, Failed> {
    Ok(test_node
        .node
        .run(&["journalctl", "-b", "-n", "60", "--no-pager"])?
        .stdout)
}

/// Runs `systemctl VERB` for the unit that migrates once, which must succeed.
fn once(test_node: &TestNode, verb: &str) -> Result<(), Failed> {
    let ran = test_node.node.run(&["systemctl", verb, ONCE])?;
    if ran.code == 0 {
        return Ok(());
    }
    Err(format!("systemctl {verb}: {}{}", ran.stderr, journal(test_node)?).into())
}

/// Returns the phase that a copy of the program reports.
fn phase(test_node: &TestNode, program: &str) -> Result<String, Failed> {
    let ran = test_node.node.run(&[program, "status", "--output", "json"])?.ok()?;
    let document: serde_json::Value = serde_json::from_str(&ran.stdout)?;
    Ok(document["phase"].as_str().unwrap_or_default().to_owned())
}

fn installation_changes_nothing(packaged: &Packaged) -> Result<(), Failed> {
    let test_node = packaged.boot_bare(&NodeTestContext::legacy())?;
    let run = |command: &[&str]| -> Result<Ran, Failed> { Ok(test_node.node.run(command)?.ok()?) };
    let version = run(&["mirrorshift", "--version"])?.stdout;
    assert_eq!(version.trim(), concat!("mirrorshift ", env!("CARGO_PKG_VERSION")));
    let program = test_node.node.read("/usr/bin/mirrorshift")?;
    assert!(is_static(&program), "the program needs a dynamic linker");

    for file in [
        "/usr/share/bash-completion/completions/mirrorshift",
        "/usr/share/zsh/vendor-completions/_mirrorshift",
        "/usr/share/fish/vendor_completions.d/mirrorshift.fish",
        "/usr/share/doc/mirrorshift/README.md",
        "/usr/share/doc/mirrorshift/docs/findings.md",
        "/usr/share/doc/mirrorshift/copyright",
    ] {
        let text = String::from_utf8(test_node.node.read(file)?)?;
        assert!(text.to_lowercase().contains("mirrorshift"), "{file}: {text}");
    }
    // There is a man page for each command that people use, and none for those that only units run.
    let pages = run(&["ls", "/usr/share/man/man1"])?.stdout;
    let ours: Vec<&str> = pages.lines().filter(|page| page.starts_with("mirrorshift")).collect();
    let commands = [
        "-agent",
        "-check",
        "-completions",
        "-explain",
        "-man",
        "-migrate",
        "-plan",
        "-purge",
        "-rollback",
        "-status",
        "-version",
        "",
    ];
    assert_eq!(ours, commands.map(|command| format!("mirrorshift{command}.1.gz")));
    let page = run(&["zcat", "/usr/share/man/man1/mirrorshift.1.gz"])?.stdout;
    assert!(page.contains("Exit codes"), "{page}");
    for policy in ["air-gapped", "fresh-tags", "pull-through-caches"] {
        let path = format!("/usr/share/doc/mirrorshift/examples/policies/{policy}.yaml");
        // An invalid policy would be a usage error.
        let ran = test_node.node.run(&["mirrorshift", "plan", "--policy", &path])?;
        assert!(ran.code == 0 || ran.code == 3, "{policy}: {ran:?}");
    }
    run(&["dpkg", "--verify", "mirrorshift"])?;
    // The node has man pages, and no program to show them.
    run(&["systemd-analyze", "verify", "--man=no", ONCE])?;
    let depends = run(&["dpkg-query", "--show", "--showformat=${Depends}", "mirrorshift"])?;
    assert_eq!(depends.stdout, "");

    // The installation changed nothing.
    assert_eq!(
        test_node.node.run(&["systemctl", "is-enabled", ONCE])?.stdout.trim(),
        "disabled"
    );
    assert_eq!(test_node.node.show(ONCE, "ActiveState")?, "inactive");
    assert!(!test_node.node.path("/var/lib/mirrorshift").exists());
    test_node.is_old("installed")
}

/// Returns whether a 64-bit little-endian program has no dynamic linker.
fn is_static(elf: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| {
        elf[at..at + bytes]
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!(elf[..6], *b"\x7fELF\x02\x01");
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    assert!(count > 0, "there are no program headers");
    (0..count).all(|index| number(table + index * size, 4) != INTERPRETER)
}

/// Checks the image of the Dockerfile: a static program that runs, no other file, and only the user root.
fn image_contains_only_the_program(archive: &Path) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let tar = |arguments: &[&OsStr]| -> Result<String, Failed> {
        let ran = Command::new("tar").current_dir(&folder).args(arguments).output()?;
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    let json =
        |name: &str| -> Result<Value, Failed> { Ok(serde_json::from_slice(&fs::read(folder.path().join(name))?)?) };
    tar(&["-xf".as_ref(), archive.as_ref()])?;
    let image = json("manifest.json")?[0].take();
    let config = json(image["Config"].as_str().ok_or("no configuration")?)?["config"].take();
    assert_eq!(
        (&config["User"], &config["Entrypoint"]),
        (&json!("0:0"), &json!(["/mirrorshift"]))
    );
    assert_eq!(config["Cmd"], json!(["agent"]));
    let layers = image["Layers"].as_array().ok_or("no layers")?;
    assert_eq!(layers.len(), 1, "{image}");
    let layer = layers[0].as_str().ok_or("no layer")?;
    assert_eq!(tar(&["-tf".as_ref(), layer.as_ref()])?, "mirrorshift\n");
    tar(&["-xf".as_ref(), layer.as_ref()])?;
    let program = folder.path().join("mirrorshift");
    assert!(is_static(&fs::read(&program)?), "it needs a dynamic linker");
    let version = Command::new(&program).arg("--version").output()?;
    assert_eq!(
        String::from_utf8_lossy(&version.stdout),
        concat!("mirrorshift ", env!("CARGO_PKG_VERSION"), "\n")
    );
    Ok(())
}

/// Types a word and runs a command on a terminal with this number of columns. Returns the exit code and the output.
fn typed(test_node: &TestNode, word: &str, columns: usize, command: &str) -> Result<(i32, String), Failed> {
    let command = format!("stty -echo cols {columns}; mirrorshift {command}");
    let terminal = ["script", "--quiet", "--return", "--command", &command, "/dev/null"];
    let mut child = test_node
        .node
        .command(&terminal)?
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        writeln!(stdin, "{word}")?;
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.code().unwrap_or(-1), text))
}

fn consent_is_requested_on_a_terminal(packaged: &Packaged) -> Result<(), Failed> {
    let test_node = packaged.boot()?;
    let (code, text) = typed(&test_node, "n", 80, "migrate")?;
    assert!(code == 3 && text.contains("[y/N]"), "{code}: {text}");
    test_node.serves("declined")?;
    test_node.is_old("declined")?;
    assert!(!test_node.node.path("/var/lib/mirrorshift").exists());

    let columns = 40;
    let (code, text) = typed(&test_node, "y", columns, "migrate")?;
    assert_eq!(code, 0, "{text}");
    let diff = text.split("[y/N]").next().unwrap_or_default();
    assert!(diff.contains("config.toml") && diff.contains("\x1b[3"), "{text}");
    // The line of a step is overwritten with the step's duration, so it must not wrap.
    let lines = text.split('\r').filter_map(|line| line.split_once("\x1b[K"));
    let lines: Vec<&str> = lines.map(|(line, _)| line).collect();
    assert!(lines.iter().any(|line| line.contains("verifying")), "{text}");
    assert!(lines.iter().any(|line| line.len() == columns - 1), "{lines:#?}");
    for line in &lines {
        assert!(line.chars().count() < columns, "{line}");
    }
    test_node.serves("agreed")?;
    test_node.is_new("agreed")
}

fn unit_migrates_once(packaged: &Packaged) -> Result<(), Failed> {
    let test_node = packaged.boot()?;
    let before = invocation(&test_node)?;
    once(&test_node, "start")?;
    test_node.serves("started")?;
    test_node.is_new("started")?;
    let after = invocation(&test_node)?;
    assert_ne!(after, before);
    assert_eq!(test_node.node.show(ONCE, "ActiveState")?, "active");

    // A second start changes nothing, and neither does a restart, which runs the program again.
    once(&test_node, "start")?;
    once(&test_node, "restart")?;
    assert_eq!(invocation(&test_node)?, after);
    let said = test_node
        .node
        .run(&["journalctl", "-b", "--unit", ONCE, "--output=cat", "--no-pager"])?
        .stdout;
    assert!(said.contains("nothing to do"), "{said}");
    test_node.serves("after the second start")?;
    test_node.is_new("after the second start")
}

/// Checks that the enabled unit waits for containerd, changes the node, and is not stopped by containerd's restart.
fn enabled_unit_migrates_at_boot(packaged: &Packaged) -> Result<(), Failed> {
    let mut test_node = packaged.boot_bare(&NodeTestContext::legacy())?;
    once(&test_node, "enable")?;
    test_node.node.reboot()?;
    test_node.node.until("the unit does not end", CRI, || {
        let state = test_node.node.show(ONCE, "ActiveState")?;
        Ok((state != "inactive" && state != "activating").then_some(()))
    })?;
    let state = test_node.node.show(ONCE, "ActiveState")?;
    assert_eq!(state, "active", "{}", journal(&test_node)?);
    test_node.node.wait_cri(CRI)?;
    test_node.nothing_is_left("booted")?;
    test_node.is_new("booted")?;

    // The next boot finds nothing to do.
    test_node.node.reboot()?;
    test_node.node.wait_cri(CRI)?;
    assert_eq!(
        test_node.node.show(ONCE, "ActiveState")?,
        "active",
        "{}",
        journal(&test_node)?
    );
    assert_eq!(phase(&test_node, "mirrorshift")?, "settled");
    test_node.is_new("booted again")
}

fn unit_applies_the_policy(packaged: &Packaged) -> Result<(), Failed> {
    let policy = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\nwildcard: drop\n";
    let test_node = packaged
        .boot_bare(&NodeTestContext::legacy().file(POLICY, policy))?
        .with_workload("counts")?;
    once(&test_node, "start")?;
    test_node.serves("with a policy")?;
    test_node.is_new("with a policy")?;
    let folders = test_node.node.run(&["ls", "/etc/containerd/certs.d"])?.ok()?.stdout;
    assert!(folders.contains("quay.io"), "{folders}");
    assert!(!folders.contains("_default"), "the wildcard was kept: {folders}");
    Ok(())
}

/// Checks that an invalid policy is not ignored.
fn unit_fails_with_an_invalid_policy(packaged: &Packaged) -> Result<(), Failed> {
    let test_node = packaged
        .boot_bare(&NodeTestContext::legacy().file(POLICY, "kind: Nothing\n"))?
        .with_workload("counts")?;
    let before = invocation(&test_node)?;
    assert_ne!(test_node.node.run(&["systemctl", "start", ONCE])?.code, 0);
    assert_eq!(test_node.node.show(ONCE, "ExecMainStatus")?, "2");
    assert_eq!(invocation(&test_node)?, before);
    test_node.serves("with an invalid policy")?;
    test_node.is_old("with an invalid policy")
}

/// Checks that the node stays migrated without the package, and that the copy of the program that made the change
/// still knows it.
fn removed_package_leaves_the_node_working(packaged: &Packaged) -> Result<(), Failed> {
    let test_node = packaged.boot()?;
    once(&test_node, "start")?;
    test_node.node.run(&["dpkg", "--remove", "mirrorshift"])?.ok()?;
    assert!(!test_node.node.path("/usr/bin/mirrorshift").exists());
    test_node.serves("removed")?;
    test_node.is_new("removed")?;
    // The files also work after a restart.
    test_node.node.run(&["systemctl", "restart", "containerd"])?.ok()?;
    test_node.serves("removed and restarted")?;

    let copy = "/var/lib/mirrorshift/bin/mirrorshift";
    assert_eq!(phase(&test_node, copy)?, "settled");
    test_node.node.run(&[copy, "rollback", "--yes"])?.ok()?;
    test_node.serves("rolled back")?;
    test_node.is_old("rolled back")
}
