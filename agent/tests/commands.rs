//! The effect of the commands on a node, and their documents for programs.

mod common;

use common::{CONFIG, Node, json, mirrorshift, ran, registry, untouched};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn documents_match_their_schemas() {
    let valid = |name: &str, text: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schemas/{name}.schema.json"));
        let schema = json(&fs::read_to_string(path).unwrap());
        let validator = jsonschema::validator_for(&schema).unwrap();
        let document = json(text);
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:?}\n{text}");
        document
    };
    let node = Node::example();
    let run = |words: &[&str]| node.run(&[words, &["--output", "json"]].concat()).out;
    let plan = valid("plan", &run(&["plan", "--mirror", "ghcr.io=http://c:5000"]));
    assert_eq!((&plan["hasChanges"], &plan["restart"]), (&true.into(), &true.into()));
    let unnamed = plan["routes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|route| route["registry"] == "*")
        .unwrap();
    assert_eq!(unnamed["after"]["hosts"][0]["url"], "http://10.0.20.10:5000/v2");
    let ghcr = plan["routes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|route| route["registry"] == "ghcr.io")
        .unwrap();
    assert_eq!(
        (&ghcr["differs"], &ghcr["requestedBy"][0]),
        (&true.into(), &"registries.ghcr.io.mirrors".into())
    );
    valid("check", &run(&["check", "--target", "2.2.0"]));
    let explain = valid("explain", &run(&["explain", "nginx"]));
    assert_eq!(
        explain["requests"][0],
        "HEAD http://10.0.20.10:5000/v2/library/nginx/manifests/latest?ns=docker.io"
    );
    assert_eq!(valid("migrate", &run(&["migrate"]))["outcome"], "settled");
    assert_eq!(valid("migrate", &run(&["migrate"]))["outcome"], "nothing");
    assert_eq!(valid("plan", &run(&["plan"]))["hasChanges"], false);
    assert_eq!(valid("status", &run(&["status"]))["phase"], "settled");
    assert_eq!(valid("rollback", &run(&["rollback"]))["outcome"], "rolled-back");
    assert_eq!(valid("rollback", &run(&["rollback"]))["outcome"], "nothing");
    assert_eq!(valid("status", &run(&["status"]))["history"][0]["phase"], "rolled-back");
    valid("error", &run(&["plan", "--wildcard", "x"]));
    valid("finding-help", &run(&["explain", "both-set"]));
    valid("version", &run(&["version"]));
    valid("rollback", &run(&["rollback", "--dry-run"]));
    valid("purge", &run(&["purge", "--dry-run"]));
    node.write(CONFIG, "a = 1\na = 2\n");
    let error = valid("error", &run(&["plan"]));
    assert_eq!(
        (&error["error"]["location"]["line"], &error["exitCode"]),
        (&2.into(), &3.into())
    );
    // The schemas are strict: an additional key is an error.
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas/error.schema.json");
    let schema = json(&fs::read_to_string(schema).unwrap());
    let mut other = error;
    other["error"]["more"] = 1.into();
    assert!(!jsonschema::is_valid(&schema, &other));
}

#[test]
fn reading_commands_change_nothing() {
    let node = Node::example();
    for words in [
        &["plan"][..],
        &["check"],
        &["explain", "nginx"],
        &["status"],
        &["plan", "--output", "json"],
    ] {
        assert_eq!(untouched(&node, || node.run(words)).code, 0);
    }
    assert_eq!(node.run(&["plan", "--exit-code"]).code, 7);
    assert_eq!(node.run(&["check", "--exit-code"]).code, 0);
    assert_eq!(node.run(&["check", "--exit-code", "--target", "2.2.0"]).code, 7);
    assert_eq!(node.run_as("2.2.0", &["check", "--exit-code"]).code, 7);
}

#[test]
fn rollback_restores_the_original_files() {
    let node = Node::example();
    let files = |node: &Node| -> Vec<_> {
        let below = node
            .snapshot()
            .into_keys()
            .filter(|path| path.starts_with(node.path("/etc")) && path.is_file());
        below.map(|path| (fs::read(&path).unwrap(), path)).collect()
    };
    let before = files(&node);
    let migrated = node.run(&["migrate"]);
    assert_eq!(migrated.code, 0, "{}", migrated.err);
    assert_ne!(files(&node), before);
    let again = untouched(&node, || node.run(&["migrate", "--no-restart", "--yes"]));
    assert!(
        again.code == 0 && again.out.starts_with("nothing to do: "),
        "{}",
        again.out
    );
    assert_eq!(node.run(&["rollback"]).code, 0);
    assert_eq!(files(&node), before);
    let again = untouched(&node, || node.run(&["rollback"]));
    assert!(
        again.code == 0 && again.out.starts_with("nothing to do: "),
        "{}",
        again.out
    );
}

#[test]
fn migrate_with_nothing_to_do_writes_nothing() {
    for text in [
        "version = 2\n",
        &registry("[r]\nconfig_path = \"/etc/containerd/certs.d\"\n"),
    ] {
        let node = Node::new(text);
        assert_eq!(untouched(&node, || node.run(&["migrate"])).code, 0);
    }
}

#[test]
fn hosts_file_without_secrets_is_readable_by_all() {
    use std::os::unix::fs::MetadataExt;
    let mode = |node: &Node| {
        assert_eq!(node.run(&["migrate", "--wildcard", "docker.io"]).code, 0);
        fs::metadata(node.path("/etc/containerd/certs.d/docker.io/hosts.toml"))
            .unwrap()
            .mode()
            & 0o777
    };
    let body = "[r.mirrors.\"*\"]\nendpoint = [\"http://m\"]\n";
    assert_eq!(mode(&Node::new(registry(body))), 0o644);
}

#[test]
fn live_migrate_refuses_or_has_nothing_to_do() {
    // The root is `/`. If its containerd has nothing to migrate, there is nothing to refuse.
    let plan = ran(mirrorshift()
        .args(["plan", "--exit-code", "--containerd-version", "1.7.24"])
        .output()
        .unwrap());
    let migrate = ran(mirrorshift()
        .args(["migrate", "--containerd-version", "1.7.24"])
        .output()
        .unwrap());
    match plan.code {
        7 => assert!(migrate.code == 3 && migrate.err.contains("--no-restart"), "{migrate:?}"),
        code => assert_eq!(migrate.code, code, "{migrate:?}"),
    }
}

#[test]
fn closed_pipe_is_not_an_error() {
    let node = Node::example();
    let mut command = mirrorshift();
    command
        .args(["plan", "--root"])
        .arg(node.root())
        .args(["--containerd-version", "1.7.24"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    // A full device is an error.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = command.stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("cannot print"));
}

#[test]
fn pipe_gets_no_color_unless_requested() {
    let node = Node::example();
    assert!(!node.run(&["plan"]).out.contains('\x1b'));
    assert!(node.run(&["plan", "--color", "always"]).out.contains("\x1b[3"));
    assert!(
        !node
            .run(&["plan", "--color", "always", "--output", "json"])
            .out
            .contains('\x1b')
    );
}

/// A terminal gets colors, unless a variable or a flag disables them.
#[test]
fn terminal_gets_color_unless_disabled() {
    let node = Node::example();
    // `script` gives the command a terminal. Other systems than Debian may lack it.
    let on_a_terminal = |words: &str, variable: Option<(&str, &str)>| {
        let (program, root) = (env!("CARGO_BIN_EXE_mirrorshift"), node.root().display());
        let plan = format!("{program} plan --root {root} --containerd-version 1.7.24 {words}");
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &plan, "/dev/null"]);
        command
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR")
            .env_remove("CLICOLOR_FORCE")
            // With CI set, colors are printed without a terminal too.
            .env_remove("CI")
            .env("TERM", "xterm");
        let output = command.envs(variable).stdin(Stdio::null()).output().ok()?;
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("6 unchanged, 0 changed"), "{text}");
        Some(text.contains('\x1b'))
    };
    let Some(coloured) = on_a_terminal("", None) else {
        writeln!(
            std::io::stdout(),
            "SKIPPED: color on a terminal: `script` is not installed"
        )
        .unwrap();
        return;
    };
    assert!(coloured);
    assert_eq!(on_a_terminal("", Some(("NO_COLOR", "1"))), Some(false));
    assert_eq!(on_a_terminal("", Some(("TERM", "dumb"))), Some(false));
    assert_eq!(on_a_terminal("--color never", None), Some(false));
    // The flag overrides the variable.
    assert_eq!(on_a_terminal("--color always", Some(("NO_COLOR", "1"))), Some(true));
}

#[test]
fn completions_and_manual_pages_omit_hidden_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let made = ran(mirrorshift().args(["completions", shell]).output().unwrap());
        assert!(made.code == 0 && made.out.contains("explain"), "{shell}");
        assert!(!made.out.contains("undo-unsettled"), "{shell} offers a hidden command");
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(ran(mirrorshift().arg("man").arg(dir.path()).output().unwrap()).code, 0);
    let page = fs::read_to_string(dir.path().join("mirrorshift-plan.1")).unwrap();
    assert!(page.contains("exit\\-code"), "{page}");
    let all = ran(mirrorshift().arg("man").output().unwrap());
    assert!(all.out.contains("Exit codes"), "{}", all.out);
}

/// Kills a `migrate` at its first exchange of files. Returns `None` without strace.
fn kill_migrate(node: &Node) -> Option<()> {
    let strace = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .output();
    if !strace.is_ok_and(|output| output.status.success()) {
        writeln!(
            std::io::stdout(),
            "SKIPPED: a crash of `migrate`: strace is not installed or cannot trace"
        )
        .ok()?;
        return None;
    }
    let mut command = Command::new("strace");
    command.args([
        "-qq",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "inject=renameat2:signal=KILL:when=1",
    ]);
    command.args([
        env!("CARGO_BIN_EXE_mirrorshift"),
        "migrate",
        "--containerd-version",
        "1.7.24",
        "--root",
    ]);
    let ended = command.arg(node.root()).output().ok()?;
    assert!(!ended.status.success(), "nothing was killed");
    Some(())
}

#[test]
fn interrupted_change_is_reported_and_finished() {
    let node = Node::example();
    let config = fs::read(node.path(CONFIG)).unwrap();
    let Some(()) = kill_migrate(&node) else { return };
    let plan = untouched(&node, || node.run(&["plan"]));
    assert!(plan.out.contains("is unfinished"), "{}", plan.out);
    let status = untouched(&node, || node.run(&["status"]));
    assert!(status.out.contains("unfinished"), "{}", status.out);
    let other = Node::example();
    kill_migrate(&other);
    assert_eq!(node.run(&["migrate"]).code, 0);
    assert!(node.run(&["migrate"]).out.starts_with("nothing to do: "));
    assert_eq!(other.run(&["rollback"]).code, 0);
    assert_eq!(fs::read(other.path(CONFIG)).unwrap(), config);
    assert!(!other.run(&["status"]).out.contains("unfinished"));
}

#[test]
fn version_comes_from_containerd_on_the_running_machine() {
    use std::os::unix::fs::PermissionsExt;
    let bin = tempfile::tempdir().unwrap();
    let program = bin.path().join("containerd");
    fs::write(bin.path().join("config.toml"), "version = 2\n").unwrap();
    let ask = |script: &str| {
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = mirrorshift();
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.path().display()));
        ran(command
            .arg("plan")
            .arg("--config")
            .arg(bin.path().join("config.toml"))
            .output()
            .unwrap())
    };
    let asked = ask("echo containerd containerd.io 1.7.27 05044ec0a9a7");
    assert!(asked.out.contains("containerd 1.7.27"), "{asked:?}");
    for script in ["echo hello", "yes", "exit 1", "printf '\\377'"] {
        let asked = ask(script);
        assert_eq!(asked.code, 2, "{script}: {asked:?}");
        assert!(asked.err.contains("--containerd-version"), "{}", asked.err);
    }
}
