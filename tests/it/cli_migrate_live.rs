//! The invariants of the program on a running node, on every release: `migrate` and `rollback` keep containers and
//! routes, and every change that is interrupted is undone.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use libtest_mimic::Failed;
use mirrorshift_tests::node_tests::{
    CRI, NodeTest, NodeTestContext, PROGRAM, ReleaseLines, TestNode, UNIT, run_node_tests,
};
use std::process::{ExitCode, Stdio};

const TRIALS: [NodeTest; 8] = [
    (
        "migrate_and_rollback_lose_no_lines",
        ReleaseLines::All,
        migrate_and_rollback_lose_no_lines,
    ),
    (
        "observation_begins_after_cri_answers",
        ReleaseLines::Only(&["1.6", "2.4"]),
        observation_begins_after_cri_answers,
    ),
    (
        "nothing_changes_without_consent",
        ReleaseLines::Only(&["1.7"]),
        nothing_changes_without_consent,
    ),
    ("killed_change_is_undone", ReleaseLines::All, killed_change_is_undone),
    (
        "hanging_change_is_undone",
        ReleaseLines::Only(&["1.7", "2.4"]),
        hanging_change_is_undone,
    ),
    (
        "change_is_undone_after_reset",
        ReleaseLines::All,
        change_is_undone_after_reset,
    ),
    (
        "rollback_undoes_interrupted_change",
        ReleaseLines::Only(&["1.7"]),
        rollback_undoes_interrupted_change,
    ),
    (
        "running_change_can_be_followed_again",
        ReleaseLines::Only(&["2.1"]),
        running_change_can_be_followed_again,
    ),
];

fn main() -> ExitCode {
    run_node_tests(env!("CARGO_BIN_EXE_lab-run"), "migrate", &TRIALS)
}

const WILDCARD: &str = "http://mirror.test:5000/v2";
const NAMED: &str = "http://10.0.20.10:5000/v2";

/// A restart of containerd occasionally loses a line of a container's output, whatever the reason for the restart,
/// and more often on a busy machine. Three losses in a row have another cause.
fn migrate_and_rollback_lose_no_lines(context: &NodeTestContext) -> Result<(), Failed> {
    for _ in 0..3 {
        let lost = migrate_and_roll_back(context)?;
        if lost == 0 {
            return Ok(());
        }
        eprintln!("containerd {}: lost {lost} lines", context.containerd.version);
    }
    Err("three migrations with rollbacks have each lost lines of a container".into())
}

/// Returns the number of lost lines.
fn migrate_and_roll_back(context: &NodeTestContext) -> Result<u64, Failed> {
    let mut test_node = context.boot(&NodeTestContext::legacy())?;
    let routes = |test_node: &mut TestNode, run: &str| -> Result<Vec<String>, Failed> {
        let mut asked = test_node.asked(&format!("quay.io/{run}/one:1"))?;
        asked.extend(test_node.asked(&format!("ghcr.io/{run}/two:1"))?);
        asked.extend(test_node.asked(&format!("docker.io/{run}/three:1"))?);
        Ok(asked.iter().map(|ask| ask.replace(run, "RUN")).collect())
    };
    let before = routes(&mut test_node, "before")?;
    assert!(before.iter().any(|ask| ask.starts_with(WILDCARD)), "{before:#?}");
    assert!(before.iter().any(|ask| ask.starts_with(NAMED)), "{before:#?}");

    // Only the workload's image has this registry: no file names it.
    let plan = test_node.run(&["plan", "-o", "json"])?.ok()?;
    assert!(plan.stdout.contains("\"lab.test\""), "{}", plan.stdout);
    assert!(!plan.stdout.contains("images-unknown"), "{}", plan.stdout);

    let ran = test_node.migrate(0, &[])?;
    assert!(
        ran.stdout.contains("containerd was restarted and verified"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("verifying"), "{}", ran.stderr);
    test_node.serves("migrated")?;
    test_node.is_new("migrated")?;
    assert_eq!(test_node.phase()?, "settled");
    assert_eq!(routes(&mut test_node, "after")?, before);

    let invocation = test_node.node.show("containerd.service", "InvocationID")?;
    let again = test_node.migrate(0, &[])?;
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    assert_eq!(test_node.node.show("containerd.service", "InvocationID")?, invocation);

    let back = test_node.run(&["rollback", "--yes"])?.ok()?;
    assert!(back.stdout.contains("rolled back"), "{}", back.stdout);
    test_node.serves("rolled back")?;
    test_node.is_old("rolled back")?;
    assert_eq!(routes(&mut test_node, "back")?, before);
    let workload = test_node.workload.as_ref().ok_or("there is no container")?;
    Ok(test_node.node.counted(workload)?.lost)
}

/// Checks that after the restart only CRI is called until it answers, and that the observation of all processes
/// begins after that.
fn observation_begins_after_cri_answers(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    test_node.record_request()?;
    let trace = ["--string-limit=1024", "--trace=sendmsg,recvfrom,openat"];
    let run = test_node.traced(&trace, &[], true)?;
    assert_eq!(test_node.wait_for_traced_exit_code(&run)?, 0);
    let trace = test_node.node.read("/root/trace")?;
    let trace = String::from_utf8_lossy(&trace);
    let (_, restarted) = trace.rsplit_once("RestartUnit").ok_or("nothing was restarted")?;
    let (before, _) = restarted.split_once("\"/proc\", ").ok_or("there was no observation")?;
    assert!(
        before.contains("RuntimeReady"),
        "the observation began before CRI answered: {before}"
    );
    Ok(())
}

/// Checks that nothing is changed without a terminal and without `--yes`.
fn nothing_changes_without_consent(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    for command in ["migrate", "rollback", "purge"] {
        let ran = test_node.run(&[command])?;
        let expected = if command == "rollback" { 0 } else { 2 };
        assert_eq!(ran.code, expected, "{command}: {}{}", ran.stdout, ran.stderr);
    }
    test_node.is_old("without consent")?;
    assert!(!test_node.node.path("/var/lib/mirrorshift").exists());
    test_node.serves("without consent")
}

/// Starts a change on a node of [`NodeTestContext::with_held_start`], and waits until config.toml has new contents. The
/// change does not continue before [`TestNode::let_start`].
fn begin(test_node: &TestNode) -> Result<(), Failed> {
    test_node.hold_start()?;
    let mut child = test_node.node.command(&[PROGRAM, "migrate", "--yes"])?;
    let mut child = child
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let begun = test_node.wait_until_files_are_new();
    // The client that follows the change may end at any time.
    child.kill()?;
    child.wait()?;
    Ok(begun?)
}

/// Checks that systemd undoes a killed change at once.
fn killed_change_is_undone(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::with_held_start())?;
    begin(&test_node)?;
    test_node
        .node
        .run(&["systemctl", "kill", "--signal=SIGKILL", UNIT])?
        .ok()?;
    test_node.let_start()?;
    test_node.wait_until_unit_ended()?;
    test_node.serves("killed_change_is_undone")?;
    test_node.is_old("killed_change_is_undone")?;
    assert_eq!(test_node.phase()?, "idle");
    // The same plan may be migrated again after a kill.
    test_node.migrate(0, &[])?;
    test_node.serves("after the second migration")?;
    test_node.is_new("after the second migration")
}

/// Checks that `rollback` first undoes an interrupted change that has no undo unit.
fn rollback_undoes_interrupted_change(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::legacy())?;
    test_node.record_request()?;
    test_node.traced(&["--inject=renameat2:signal=KILL:when=2"], &[], false)?;
    assert_eq!(test_node.wait_until_unit_ended()?, "signal");
    assert_eq!(test_node.phase()?, "applying");
    // A change with `--root` would only finish the files, without a check of containerd.
    for command in ["migrate", "rollback"] {
        let ran = test_node.run(&[command, "--no-restart"])?;
        assert_eq!(ran.code, 3, "{command}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(test_node.phase()?, "applying", "{command}");
    }
    let ran = test_node.run(&["rollback", "--yes"])?.ok()?;
    assert!(ran.stdout.contains("undone the change"), "{}", ran.stdout);
    test_node.serves("after the rollback")?;
    test_node.is_old("after the rollback")
}

/// Checks that systemd undoes a hanging change when its time is over.
fn hanging_change_is_undone(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::with_held_start())?;
    begin(&test_node)?;
    test_node
        .node
        .run(&["systemctl", "kill", "--signal=SIGSTOP", UNIT])?
        .ok()?;
    let state = test_node
        .node
        .run(&["systemctl", "show", "--value", "-p", "RuntimeMaxUSec", UNIT])?
        .stdout;
    assert_ne!(state.trim(), "infinity", "the unit has no time limit");
    test_node.let_start()?;
    test_node.node.run(&["systemctl", "stop", UNIT])?.ok()?;
    test_node.wait_until_unit_ended()?;
    test_node.serves("hanging_change_is_undone")?;
    test_node.is_old("hanging_change_is_undone")
}

/// Checks that the boot guard undoes a change that was interrupted by a reset.
fn change_is_undone_after_reset(context: &NodeTestContext) -> Result<(), Failed> {
    let mut test_node = context.boot(&NodeTestContext::with_held_start())?;
    begin(&test_node)?;
    test_node
        .node
        .run(&["systemctl", "kill", "--signal=SIGSTOP", UNIT])?
        .ok()?;
    test_node.node.reset()?;
    test_node.node.wait_cri(CRI)?;
    test_node.nothing_is_left("change_is_undone_after_reset")?;
    test_node.is_old("change_is_undone_after_reset")?;
    let test_node = test_node.with_workload("again")?;
    test_node.migrate(0, &[])?;
    test_node.serves("after the second migration")?;
    test_node.is_new("after the second migration")
}

/// Checks that a client can follow a running change again.
fn running_change_can_be_followed_again(context: &NodeTestContext) -> Result<(), Failed> {
    let test_node = context.boot(&NodeTestContext::with_held_start())?;
    begin(&test_node)?;
    test_node.let_start()?;
    let ran = test_node.run(&["status", "--follow"])?.ok()?;
    assert!(
        ran.stdout.contains("containerd was restarted and verified"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("verifying"), "{}", ran.stderr);
    test_node.serves("followed")?;
    test_node.is_new("followed")
}
