//! What must hold of the program on a running node, on every release: `migrate` and `rollback` keep containers and routes,
//! and whatever ends a change in the middle, somebody undoes it.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use libtest_mimic::Failed;
use mirrorshift_tests::node_trials::{CRI, Case, Entry, Live, On, PROGRAM, UNIT, on_live_nodes};
use std::process::{ExitCode, Stdio};

const TRIALS: [Entry; 8] = [
    ("there_and_back", On::Every, there_and_back),
    (
        "comes_up_before_a_look",
        On::Only(&["1.6", "2.4"]),
        comes_up_before_a_look,
    ),
    ("nobody_was_asked", On::Only(&["1.7"]), nobody_was_asked),
    ("killed", On::Every, killed),
    ("stopped", On::Only(&["1.7", "2.4"]), stopped),
    ("reset", On::Every, reset),
    ("rolled_back_unfinished", On::Only(&["1.7"]), rolled_back_unfinished),
    ("followed_again", On::Only(&["2.1"]), followed_again),
];

fn main() -> ExitCode {
    on_live_nodes(env!("CARGO_BIN_EXE_lab-run"), "migrate", &TRIALS)
}

const WILDCARD: &str = "http://mirror.test:5000/v2";
const NAMED: &str = "http://10.0.20.10:5000/v2";

/// A restart of containerd loses a line of a container now and then, whoever asks for it, and more so where processors are
/// short. Three in a row that lose some are not that.
fn there_and_back(case: &Case) -> Result<(), Failed> {
    for _ in 0..3 {
        let lost = there_and_back_once(case)?;
        if lost == 0 {
            return Ok(());
        }
        eprintln!("containerd {}: lost {lost} lines", case.containerd.version);
    }
    Err("three migrations with their way back have each lost lines of a container".into())
}

/// How many lines were lost.
fn there_and_back_once(case: &Case) -> Result<u64, Failed> {
    let mut live = case.boot(&Case::legacy())?;
    let routes = |live: &mut Live, run: &str| -> Result<Vec<String>, Failed> {
        let mut asked = live.asked(&format!("quay.io/{run}/one:1"))?;
        asked.extend(live.asked(&format!("ghcr.io/{run}/two:1"))?);
        asked.extend(live.asked(&format!("docker.io/{run}/three:1"))?);
        Ok(asked.iter().map(|ask| ask.replace(run, "RUN")).collect())
    };
    let before = routes(&mut live, "before")?;
    assert!(before.iter().any(|ask| ask.starts_with(WILDCARD)), "{before:#?}");
    assert!(before.iter().any(|ask| ask.starts_with(NAMED)), "{before:#?}");

    let ran = live.migrate(0, &[])?;
    assert!(
        ran.stdout.contains("containerd was restarted and serves as before"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("verifying"), "{}", ran.stderr);
    live.serves("migrated")?;
    live.is_new("migrated")?;
    assert_eq!(live.phase()?, "settled");
    assert_eq!(routes(&mut live, "after")?, before);

    let invocation = live.node.show("containerd.service", "InvocationID")?;
    let again = live.migrate(0, &[])?;
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    assert_eq!(live.node.show("containerd.service", "InvocationID")?, invocation);

    let back = live.run(&["rollback", "--yes"])?.ok()?;
    assert!(back.stdout.contains("rolled back"), "{}", back.stdout);
    live.serves("rolled back")?;
    live.is_old("rolled back")?;
    assert_eq!(routes(&mut live, "back")?, before);
    let workload = live.workload.as_ref().ok_or("there is no container")?;
    Ok(live.node.counted(workload)?.lost)
}

/// After the restart CRI alone is asked until it answers; only then begins a look, with all processes of the node.
fn comes_up_before_a_look(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    live.learn_order()?;
    let trace = ["--string-limit=1024", "--trace=sendmsg,recvfrom,openat"];
    let run = live.traced(&trace, &[], true)?;
    assert_eq!(live.traced_end(&run)?, 0);
    let trace = live.node.read("/root/trace")?;
    let trace = String::from_utf8_lossy(&trace);
    let (_, restarted) = trace.rsplit_once("RestartUnit").ok_or("nothing was restarted")?;
    let (before, _) = restarted.split_once("\"/proc\", ").ok_or("nobody looked")?;
    assert!(
        before.contains("RuntimeReady"),
        "it looked before CRI had answered: {before}"
    );
    Ok(())
}

/// Without a terminal and without `--yes` nothing is done.
fn nobody_was_asked(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    for command in ["migrate", "rollback", "purge"] {
        let ran = live.run(&[command])?;
        let expected = if command == "rollback" { 0 } else { 2 };
        assert_eq!(ran.code, expected, "{command}: {}{}", ran.stdout, ran.stderr);
    }
    live.is_old("nobody was asked")?;
    assert!(!live.node.path("/var/lib/mirrorshift").exists());
    live.serves("nobody was asked")
}

/// Starts a change on a node of [`Case::that_waits`] and waits until config.toml has its new bytes. It does not go on before
/// [`Live::let_start`].
fn begin(live: &Live) -> Result<(), Failed> {
    live.hold_start()?;
    let mut child = live.node.command(&[PROGRAM, "migrate", "--yes"])?;
    let mut child = child
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let begun = live.until_in_force();
    // Whoever follows may go at any time.
    child.kill()?;
    child.wait()?;
    Ok(begun?)
}

/// systemd undoes what was killed, at once.
fn killed(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::that_waits())?;
    begin(&live)?;
    live.node.run(&["systemctl", "kill", "--signal=SIGKILL", UNIT])?.ok()?;
    live.let_start()?;
    live.over()?;
    live.serves("killed")?;
    live.is_old("killed")?;
    assert_eq!(live.phase()?, "idle");
    // And what was killed may be tried again.
    live.migrate(0, &[])?;
    live.serves("migrated after all")?;
    live.is_new("migrated after all")
}

/// What a run has left with nobody to undo it is what `rollback` takes back first.
fn rolled_back_unfinished(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::legacy())?;
    live.learn_order()?;
    live.traced(&["--inject=renameat2:signal=KILL:when=2"], &[], false)?;
    assert_eq!(live.over()?, "signal");
    assert_eq!(live.phase()?, "applying");
    // Files alone would end it without anybody asking containerd.
    for command in ["migrate", "rollback"] {
        let ran = live.run(&[command, "--no-restart"])?;
        assert_eq!(ran.code, 3, "{command}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(live.phase()?, "applying", "{command}");
    }
    let ran = live.run(&["rollback", "--yes"])?.ok()?;
    assert!(ran.stdout.contains("undone the change"), "{}", ran.stdout);
    live.serves("taken back")?;
    live.is_old("taken back")
}

/// systemd undoes what hangs, when its time is up.
fn stopped(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::that_waits())?;
    begin(&live)?;
    live.node.run(&["systemctl", "kill", "--signal=SIGSTOP", UNIT])?.ok()?;
    let state = live
        .node
        .run(&["systemctl", "show", "--value", "-p", "RuntimeMaxUSec", UNIT])?
        .stdout;
    assert_ne!(state.trim(), "infinity", "it would hang for ever");
    live.let_start()?;
    live.node.run(&["systemctl", "stop", UNIT])?.ok()?;
    live.over()?;
    live.serves("stopped")?;
    live.is_old("stopped")
}

/// The guard undoes what a reset has cut off.
fn reset(case: &Case) -> Result<(), Failed> {
    let mut live = case.boot(&Case::that_waits())?;
    begin(&live)?;
    live.node.run(&["systemctl", "kill", "--signal=SIGSTOP", UNIT])?.ok()?;
    live.node.reset()?;
    live.node.wait_cri(CRI)?;
    live.nothing_is_left("reset")?;
    live.is_old("reset")?;
    let live = live.with_workload("again")?;
    live.migrate(0, &[])?;
    live.serves("migrated after all")?;
    live.is_new("migrated after all")
}

/// Whoever left finds it again.
fn followed_again(case: &Case) -> Result<(), Failed> {
    let live = case.boot(&Case::that_waits())?;
    begin(&live)?;
    live.let_start()?;
    let ran = live.run(&["status", "--follow"])?.ok()?;
    assert!(
        ran.stdout.contains("containerd was restarted and serves as before"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("verifying"), "{}", ran.stderr);
    live.serves("followed")?;
    live.is_new("followed")
}
