//! Bad input: the exit code, the reason and the message of each, as text and JSON; nothing under the root changes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{CONFIG, Node, Ran, json, mirrorshift, ran, registry, untouched};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Command;

/// Runs `plan` and `migrate` with `words`, as text and as JSON, and checks the refusal.
fn refused(node: &Node, words: &[&str], code: i32, reason: &str, said: &str) -> Ran {
    let mut last = None;
    for command in ["plan", "migrate"] {
        let words: Vec<&str> = [command].iter().chain(words).copied().collect();
        let text = untouched(node, || node.run(&words));
        assert_eq!(text.code, code, "{words:?}: {}", text.err);
        assert_eq!(text.out, "");
        assert!(
            text.err.starts_with("error: ") && text.err.contains(said),
            "no `{said}` in {}",
            text.err
        );
        let document = untouched(node, || node.run(&[&words[..], &["--output", "json"]].concat()));
        assert_eq!((document.code, document.err.as_str()), (code, ""), "{words:?}");
        let error = &json(&document.out)["error"];
        assert_eq!(error["reason"], reason, "{error}");
        assert_eq!(json(&document.out)["exitCode"], code);
        last = Some(text);
    }
    last.unwrap()
}

fn config(bytes: impl AsRef<[u8]>, reason: &str, said: &str) -> Ran {
    refused(&Node::new(bytes), &[], 3, reason, said)
}

#[test]
fn files_that_are_not_toml_are_refused() {
    config(b"version = 2\n\xff\xfe = 1\n", "unreadable", "UTF-8");
    config("version = 2\n\0\n", "unreadable", "config.toml:2");
    let twice = config(
        "version = 2\nroot = \"/a\"\nroot = \"/b\"\n",
        "unreadable",
        "duplicate key",
    );
    assert!(
        twice.err.contains("3 | root = ") && twice.err.contains("  | ^"),
        "{}",
        twice.err
    );
    assert!(
        twice.err.contains("= effect: ") && twice.err.contains("= help: "),
        "{}",
        twice.err
    );
    // Two headers on one line: containerd 1.x loads it, TOML 1.0 does not have it.
    let lax = config("version = 2\n[a] [b]\n", "unreadable", "containerd 1.x loads this file");
    assert!(lax.err.contains("help"), "{}", lax.err);
    config("version = 2\na = { b = 1,\n c = 2 }\n", "unreadable", "config.toml:2");
    config(vec![b'#'; (1 << 20) + 1], "unreadable", "larger than 1048576 bytes");
}

#[test]
fn large_and_deep_files_are_read_to_the_end() {
    let tables: Vec<String> = (0..10_000).map(|number| format!("[t{number}]")).collect();
    let many = Node::new(format!("version = 2\n{}\n", tables.join("\n")));
    assert_eq!(untouched(&many, || many.run(&["migrate"])).code, 0);
    let deep = Node::new(format!(
        "version = 2\na = {}{}\n",
        "[".repeat(50_000),
        "]".repeat(50_000)
    ));
    assert_eq!(untouched(&deep, || deep.run(&["migrate"])).code, 3);
}

#[test]
fn missing_imports_are_refused_and_cyclic_ones_are_read() {
    let missing = config(
        "version = 2\nimports = [\"/etc/none.toml\"]\n",
        "unreadable",
        "/etc/none.toml",
    );
    assert!(missing.err.contains("Remove the entry"), "{}", missing.err);
    let cycle = Node::new("version = 2\nimports = [\"/etc/containerd/b.toml\"]\n");
    cycle.write(
        "/etc/containerd/b.toml",
        "version = 2\nimports = [\"/etc/containerd/config.toml\"]\n",
    );
    assert_eq!(untouched(&cycle, || cycle.run(&["migrate"])).code, 0);
}

#[test]
fn names_and_endpoints_that_no_directory_can_have_are_refused() {
    for name in ["../../etc", "a b", "", &"a".repeat(300)] {
        let text = registry(&format!("[r.mirrors.\"{name}\"]\nendpoint = [\"http://m\"]\n"));
        config(text, "registry-name", "is not the name of a registry");
    }
    let endpoint = |endpoint: &str| registry(&format!("[r.mirrors.\"a.io\"]\nendpoint = [\"{endpoint}\"]\n"));
    config(endpoint("http://[::1"), "endpoint", "config.toml:3");
    config(endpoint("http://[2001:db8::1]:5000"), "endpoint", "config.toml:3");
}

#[test]
fn directories_fifos_and_links_out_of_the_root_are_refused() {
    let folder = Node::empty();
    fs::create_dir_all(folder.path(CONFIG)).unwrap();
    refused(&folder, &[], 3, "unreadable", "folder");
    let fifo = Node::empty();
    fs::create_dir_all(fifo.path("/etc/containerd")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(fifo.path(CONFIG))
            .status()
            .unwrap()
            .success()
    );
    refused(&fifo, &[], 3, "unreadable", "is a FIFO");
    let out = Node::empty();
    fs::create_dir_all(out.path("/etc/containerd")).unwrap();
    symlink("../../../../../../../../etc/passwd", out.path(CONFIG)).unwrap();
    refused(&out, &[], 3, "unreadable", "leads out of the root");
    // To containerd a dangling link is a missing file, so it runs with its defaults.
    let dangling = Node::empty();
    fs::create_dir_all(dangling.path("/etc/containerd")).unwrap();
    symlink("/etc/none.toml", dangling.path(CONFIG)).unwrap();
    assert_eq!(untouched(&dangling, || dangling.run(&["migrate"])).code, 0);
}

#[test]
fn invalid_policies_and_flags_are_refused() {
    let node = Node::example();
    let policy = node.path("policy.yaml").display().to_string();
    node.write(
        "policy.yaml",
        "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\nwildcrad: drop\n",
    );
    let unknown = refused(
        &node,
        &["--policy", &policy],
        2,
        "policy-file",
        "unknown key `wildcrad`",
    );
    assert!(
        unknown.err.contains("policy.yaml:3:1") && unknown.err.contains("did you mean `wildcard`?"),
        "{}",
        unknown.err
    );
    refused(
        &node,
        &["--policy", "/none.yaml"],
        2,
        "policy-file",
        "cannot read the policy `/none.yaml`",
    );
    refused(&node, &["--policy", "/"], 2, "policy-file", "not a regular file");
    refused(
        &node,
        &["--mirror", "ghcr.io"],
        2,
        "flag",
        "--mirror: `ghcr.io` has no `=`",
    );
    refused(&node, &["--wildcard", "kepe"], 2, "flag", "did you mean `keep`?");
    refused(&node, &["--mirror", "a.io=http://u:hunter2@h"], 2, "flag", "user-info");
    node.write(
        "policy.yaml",
        "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\nwildcard: drop\nregistries:\n- host: a.io\n  fallback: none\n",
    );
    refused(
        &node,
        &["--policy", &policy],
        3,
        "policy",
        "leaves no host to pull images",
    );
}

#[test]
fn invalid_command_lines_are_refused() {
    let node = Node::example();
    let without_version = |words: &[&str]| {
        let mut command = mirrorshift();
        command.args(words).arg("--root").arg(node.root());
        ran(command.output().unwrap())
    };
    let unasked = untouched(&node, || without_version(&["migrate"]));
    assert_eq!(unasked.code, 2);
    assert!(
        unasked.err.contains("--containerd-version is required") && unasked.err.contains("chroot"),
        "{}",
        unasked.err
    );
    for (words, said) in [
        (
            &["plan", "--containerd-version", "latest"][..],
            "`latest` is not a containerd version",
        ),
        (&["plan", "--containerd-version", "1.5.9"], "older than 1.6.0"),
        (
            &["plan", "--containerd-version", "1.7.24", "--config", "x"],
            "not an absolute path",
        ),
        (
            &["explain", "a b", "--containerd-version", "1.7.24"],
            "is not an image reference",
        ),
        (
            &["check", "--target", "x", "--containerd-version", "1.7.24"],
            "--target",
        ),
        (&["plan", "--nonsense"], "--nonsense"),
        (&[], "Usage"),
    ] {
        let ran = untouched(&node, || without_version(words));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?}");
        assert!(ran.err.contains(said), "no `{said}` in {}", ran.err);
    }
    let json_too = without_version(&["plan", "--output", "json", "--nonsense"]);
    assert_eq!(
        (json_too.code, &json(&json_too.out)["error"]["reason"]),
        (2, &"arguments".into())
    );
    let no_root = ran(mirrorshift().args(["status", "--root", "/none"]).output().unwrap());
    assert_eq!(no_root.code, 2);
    assert!(no_root.err.contains("cannot open the root `/none`"), "{}", no_root.err);
}

#[test]
fn damaged_journal_and_damaged_backup_are_refused() {
    let node = Node::example();
    assert_eq!(node.run(&["migrate"]).code, 0);
    let changes = node.path("/var/lib/mirrorshift/changes");
    let change = fs::read_dir(changes).unwrap().next().unwrap().unwrap().path();
    let backup = fs::read_dir(change).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&backup).unwrap();
    fs::write(&backup, "version = 2\n").unwrap();
    let config = fs::read(node.path(CONFIG)).unwrap();
    let ran = node.run(&["rollback"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("no longer matches its digest"), "{}", ran.err);
    assert_eq!(fs::read(node.path(CONFIG)).unwrap(), config);
    fs::write(&backup, good).unwrap();
    fs::write(node.path("/var/lib/mirrorshift/journal.json"), "{}").unwrap();
    for command in ["plan", "migrate", "rollback", "status"] {
        let ran = untouched(&node, || node.run(&[command]));
        assert_eq!(ran.code, 3, "{}", ran.err);
        assert!(ran.err.contains("journal"), "{}", ran.err);
    }
}

#[test]
fn rollback_of_a_modified_file_is_refused() {
    let node = Node::example();
    assert_eq!(node.run(&["migrate"]).code, 0);
    let edited = format!("{}# by hand\n", fs::read_to_string(node.path(CONFIG)).unwrap());
    node.write(CONFIG, &edited);
    let ran = node.run(&["rollback"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let document = node.run(&["rollback", "-o", "json"]);
    assert_eq!(json(&document.out)["error"]["reason"], "edited-by-others");
    assert_eq!(fs::read_to_string(node.path(CONFIG)).unwrap(), edited);
}

#[test]
fn held_lock_is_exit_6() {
    let node = Node::example();
    fs::create_dir_all(node.path("/var/lib/mirrorshift")).unwrap();
    let lock = fs::File::create(node.path("/var/lib/mirrorshift/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let config = fs::read(node.path(CONFIG)).unwrap();
    let ran = node.run(&["migrate"]);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.err.contains("holds the lock"), "{}", ran.err);
    assert_eq!(fs::read(node.path(CONFIG)).unwrap(), config);
    assert!(!node.path("/etc/containerd/certs.d").exists());
    // Reading needs no lock.
    assert_eq!(node.run(&["plan"]).code, 0);
}

/// Reports that a test did not run, because the machine lacks something.
fn skip(test: &str) {
    writeln!(
        std::io::stdout(),
        "SKIPPED: {test}: users cannot create namespaces on this machine"
    )
    .ok();
}

/// Runs `script` in new mount and user namespaces, in which it can mount. Returns `None` if users cannot create them.
fn in_namespaces(script: &str, node: &Node) -> Option<Ran> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script]);
    command
        .env("ROOT", node.root())
        .env("MIRRORSHIFT", env!("CARGO_BIN_EXE_mirrorshift"));
    let allowed = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return None;
    }
    Some(ran(command.output().unwrap()))
}

const RUN: &str = "exec \"$MIRRORSHIFT\" migrate --root \"$ROOT\" --containerd-version 1.7.24";

#[test]
fn read_only_and_full_file_systems_are_refused() {
    let node = Node::example();
    let read_only = format!("mount --bind \"$ROOT\" \"$ROOT\"; mount -o remount,bind,ro \"$ROOT\"; {RUN}");
    let full = format!("mount -t tmpfs -o size=16k full \"$ROOT/var\"; {RUN}");
    fs::create_dir_all(node.path("/var")).unwrap();
    for (script, said) in [(read_only, "read-only"), (full, "free some space")] {
        let Some(ran) = untouched(&node, || in_namespaces(&script, &node)) else {
            return skip("file systems that take nothing");
        };
        assert_eq!(ran.code, 3, "{}", ran.err);
        assert!(ran.err.contains(said), "no `{said}` in {}", ran.err);
    }
}

#[test]
fn unreadable_files_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::example();
    fs::set_permissions(node.path(CONFIG), fs::Permissions::from_mode(0o0)).unwrap();
    // In a user namespace that maps no user, root has only the rights of other users.
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        env!("CARGO_BIN_EXE_mirrorshift"),
        "plan",
        "--containerd-version",
        "1.7.24",
        "--root",
    ]);
    command.arg(node.root());
    let allowed = Command::new("unshare").args(["--user", "true"]).output();
    if allowed.is_ok_and(|output| output.status.success()) {
        let ran = untouched(&node, || ran(command.output().unwrap()));
        assert_eq!(ran.code, 3, "{}", ran.err);
        assert!(ran.err.contains("permission denied"), "{}", ran.err);
    } else {
        skip("no permission");
    }
}
