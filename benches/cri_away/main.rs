//! Measures how long CRI is not available when a node is migrated, compared with a plain restart of containerd;
//! `benches/cri-away` runs it.
//!
//! This is a measurement and not a test. On one node with an increasing number of sandboxes, each round is a plain
//! restart, a migration, another plain restart and a rollback, while a client calls CRI's `Status` every few
//! milliseconds. The time without CRI is the time from the last answer that reports it as ready to the next such
//! answer.

mod figures; // medians and tables
mod watch; // calls CRI continuously

use figures::{Figures, Kind};
use mirrorshift_tests::lab::node::NODE_LINES;
use mirrorshift_tests::lab::{Node, Nodes};
use mirrorshift_tests::node_tests::{CRI, NodeTestContext, PROGRAM, UNIT};
use std::error::Error;
use std::io::{
    Write, stderr, stdout, {self},
};
use std::path::PathBuf;
use std::process::{ExitCode, Output, Stdio};
use std::time::{Duration, Instant};
use watch::away_during;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The pause between two restarts, so that they do not slow each other down.
const REST: Duration = Duration::from_millis(500);
/// The pause between two reads of the memory usage of a change.
const LOOK: Duration = Duration::from_millis(5);

/// The parameters of the measurement.
struct Plan {
    program: PathBuf,
    rounds: usize,
    sandboxes: Vec<usize>,
    lines: Vec<String>,
}

fn main() -> ExitCode {
    match plan().and_then(|plan| run(&plan)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(stderr(), "cannot measure: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Reads `PROGRAM ROUNDS SANDBOXES,… [LINE…]`, and ignores the arguments that cargo adds.
fn plan() -> Outcome<Plan> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let mut next = |what: &'static str| words.next().ok_or(what);
    let program = next("the program is missing")?.into();
    let rounds = next("the number of rounds is missing")?.parse()?;
    let sandboxes = next("the numbers of sandboxes are missing")?;
    let sandboxes = sandboxes.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let mut lines: Vec<String> = words.collect();
    if lines.is_empty() {
        lines = NODE_LINES.map(str::to_owned).into();
    }
    Ok(Plan {
        program,
        rounds,
        sandboxes,
        lines,
    })
}

fn run(plan: &Plan) -> Outcome<()> {
    let nodes = Nodes::open(env!("CARGO_BIN_EXE_lab-run"))?;
    let mut out = stdout();
    writeln!(out, "{}", Figures::HEADER)?;
    let mut all = Vec::new();
    for line in &plan.lines {
        let containerd = Nodes::containerd(line)?;
        let node = nodes.boot(&containerd, &NodeTestContext::legacy())?;
        node.copy_in(&plan.program, PROGRAM)?;
        node.wait_cri(CRI)?;
        let mut there = 0;
        for &count in &plan.sandboxes {
            while there < count {
                there += 1;
                node.start_sandbox(&format!("pod-{there}"), true)?;
            }
            let mut figures = Figures {
                version: containerd.version.clone(),
                sandboxes: count,
                ..Figures::default()
            };
            // The first change of a node creates folders, and its first restart fills caches.
            round(&node, &mut Figures::default())?;
            for _ in 0..plan.rounds {
                round(&node, &mut figures)?;
            }
            writeln!(out, "{}", figures.row())?;
            all.push(figures);
        }
    }
    writeln!(out, "\n{}\n", figures::verdict(&all))?;
    for figures in &all {
        writeln!(out, "- {}", figures.details())?;
    }
    Ok(())
}

fn round(node: &Node, figures: &mut Figures) -> Outcome<()> {
    let restart = ["systemctl", "restart", "containerd"];
    measured(node, &restart, &mut figures.bare)?;
    let (said, peak) = measured(node, &change("migrate"), &mut figures.migrate)?;
    figures.peak_kib = figures.peak_kib.max(peak);
    steps(&serde_json::from_slice(&said)?, figures);
    measured(node, &restart, &mut figures.bare)?;
    let (_, peak) = measured(node, &change("rollback"), &mut figures.rollback)?;
    figures.peak_kib = figures.peak_kib.max(peak);
    Ok(())
}

fn change(command: &str) -> [&str; 5] {
    [PROGRAM, command, "--yes", "--output", "json"]
}

/// Runs a command that restarts containerd on an idle node. Returns its output and the peak memory of the change in
/// KiB.
fn measured(node: &Node, command: &[&str], kind: &mut Kind) -> Outcome<(Vec<u8>, u64)> {
    // The restarts follow each other so quickly that systemd's start limit would be reached.
    node.run(&["systemctl", "reset-failed", "containerd"])?.ok()?;
    node.wait_cri(CRI)?;
    std::thread::sleep(REST);
    let ((output, took, peak), away) = away_during(node, || looked_at(node, command))?;
    if !output.status.success() {
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        return Err(format!("{}: {out}{err}", command.join(" ")).into());
    }
    kind.away.push(away);
    kind.whole.push(took);
    kind.no_process.push(no_process(node)?);
    Ok((output.stdout, peak))
}

/// Runs a command, and returns its duration and the peak memory of the change's process. A plain restart is observed
/// in the same way, so that the observation costs both the same.
fn looked_at(node: &Node, command: &[&str]) -> io::Result<(Output, Duration, u64)> {
    let began = Instant::now();
    let mut child = node
        .command(command)?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut peak = 0;
    // The output is smaller than a pipe's buffer.
    while child.try_wait()?.is_none() {
        peak = peak.max(peak_kib(node));
        std::thread::sleep(LOOK);
    }
    Ok((child.wait_with_output()?, began.elapsed(), peak))
}

/// Returns the peak memory of the change's process until now in KiB; 0 without a process.
fn peak_kib(node: &Node) -> u64 {
    let of = |pid: &str| -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // Before it executes the program, the process is a copy of systemd.
        let program = status.lines().next()?.ends_with("mirrorshift");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        program.then(|| peak.split_whitespace().next()?.parse().ok())?
    };
    let groups = node.cgroups().iter();
    let pids = groups.filter_map(|group| {
        // nspawn puts the node's init into this group.
        let slice = group.join("payload/system.slice");
        std::fs::read_to_string(slice.join(UNIT).join("cgroup.procs")).ok()
    });
    pids.filter_map(|pids| pids.lines().filter_map(of).max())
        .max()
        .unwrap_or(0)
}

/// Returns the time from the end of containerd's old process to the start of the new one in the last restart.
fn no_process(node: &Node) -> Outcome<Duration> {
    let moment = |property| -> Outcome<u64> { Ok(node.show("containerd.service", property)?.parse()?) };
    let ended = moment("InactiveEnterTimestampMonotonic")?;
    let started = moment("ExecMainStartTimestampMonotonic")?;
    Ok(Duration::from_micros(started.saturating_sub(ended)))
}

/// Records the duration of each step of a migration. The names are numbered, because a name may occur twice.
fn steps(document: &serde_json::Value, figures: &mut Figures) {
    let told = document["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let at = |step: &serde_json::Value| Duration::from_millis(step["atMs"].as_u64().unwrap_or_default());
    for (number, pair) in told.windows(2).enumerate() {
        let name = pair[0]["name"].as_str().unwrap_or_default();
        let took = at(&pair[1]).saturating_sub(at(&pair[0]));
        figures
            .steps
            .entry(format!("{}. {name}", number + 1))
            .or_default()
            .push(took);
    }
    if let (Some(first), Some(last), Some(whole)) = (told.first(), told.last(), figures.migrate.whole.last()) {
        let known = at(last).saturating_sub(at(first));
        let rest = whole.saturating_sub(known);
        figures
            .steps
            .entry("before the first and from the last on".to_owned())
            .or_default()
            .push(rest);
    }
}
