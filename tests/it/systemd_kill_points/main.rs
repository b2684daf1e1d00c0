//! A change of a running node, killed, stopped or reset at every system call that changes something or that reaches
//! systemd. Two files have mirrors. Afterwards CRI serves, all files are old or all are new, no boot guard is left,
//! and the next `migrate` succeeds.
//!
//! A run takes a sample that differs each day; `MIRRORSHIFT_SEED` repeats one. With `MIRRORSHIFT_CAMPAIGN` every
//! point is tested, and the file that it names has the results: see `tests/campaign/kills`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program's output is its report"
)]

mod campaign_results;

use campaign_results::CampaignResults;
use libtest_mimic::Failed;
use mirrorshift_tests::node_tests::{CRI, NodeTest, NodeTestContext, ReleaseLines, TestNode, run_node_tests};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, io, thread};

/// On this release all calls are tested, on the others those that write the journal and rename files.
const WHOLE: &str = "2.4";
/// The number of points of each kind in a sample, on [`WHOLE`] and on the others.
const SAMPLE: (usize, usize) = (2, 1);
/// The number of nodes that a campaign uses at the same time.
const NODES: usize = 6;
/// System calls that change a file or reach systemd. Requests to containerd use `writev` and change nothing: a kill
/// before one leaves the same state as a kill before the next of these.
const CALLS: [&str; 16] = [
    "exit_group",
    "fallocate",
    "fchmod",
    "fchown",
    "fsetxattr",
    "fsync",
    "ftruncate",
    "linkat",
    "mkdirat",
    "renameat",
    "renameat2",
    "sendmsg",
    "sendto",
    "symlinkat",
    "unlinkat",
    "write",
];
const BOUNDARIES: [&str; 2] = ["renameat", "renameat2"];

fn main() -> ExitCode {
    let entry: NodeTest = ("kills", ReleaseLines::All, kills);
    run_node_tests(env!("CARGO_BIN_EXE_lab-run"), "systemd_kill_points", &[entry])
}

/// The action at a point, and what undoes the change after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Killed: systemd starts the undo.
    LeftAlone,
    /// Killed without an undo unit; the next run undoes it.
    RunAgain,
    /// Killed, and the node reset: the boot guard is left.
    Reset,
    /// Stopped until systemd's time limit is reached.
    Stopped,
}

const KINDS: [Kind; 4] = [Kind::LeftAlone, Kind::RunAgain, Kind::Reset, Kind::Stopped];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    kind: Kind,
    call: &'static str,
    when: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\t{}\t{}", self.kind, self.call, self.when)
    }
}

/// A node whose changes are killed, and its two allowed sets of files.
struct ChangeBench<'c> {
    context: &'c NodeTestContext,
    test_node: TestNode,
    old: String,
    new: String,
    /// Lines of the container's output that were lost, and restarts of containerd that may have lost them.
    lost: Lost,
    points: usize,
}

/// Lines that restarts of containerd lost because it had read and not yet written them. A plain restart loses some as
/// well.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    lines: u64,
    restarts: u64,
}

/// The number of points on one node before it is replaced, because its log keeps growing.
const POINTS_OF_A_NODE: usize = 60;

impl<'c> ChangeBench<'c> {
    fn new(context: &'c NodeTestContext) -> Result<Self, Failed> {
        // A test restarts containerd more often than an operator would.
        let often = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=200ms\n";
        let test_node = context.boot(&NodeTestContext::two_files().drop_in("containerd.service", "often", often))?;
        let old = files(&test_node)?;
        test_node.migrate(0, &[])?;
        let new = files(&test_node)?;
        assert_ne!(old, new);
        test_node.keep_request()?;
        test_node.run(&["rollback", "--yes"])?.ok()?;
        assert_eq!(files(&test_node)?, old);
        Ok(Self {
            context,
            test_node,
            old,
            new,
            lost: Lost::default(),
            points: 0,
        })
    }

    /// Returns every call of a run that settles, by the number that strace counts.
    fn points(&self) -> Result<BTreeMap<&'static str, BTreeSet<usize>>, Failed> {
        let trace = format!("--trace={}", CALLS.join(","));
        let run = self.test_node.traced(&["--decode-fds=path", &trace], &[], true)?;
        let code = self.test_node.wait_for_traced_exit_code(&run)?;
        assert_eq!(code, 0, "a traced run does not settle");
        assert_eq!(files(&self.test_node)?, self.new);
        let text = String::from_utf8_lossy(&self.test_node.node.read("/root/trace")?).into_owned();
        self.test_node.run(&["rollback", "--yes"])?.ok()?;
        // strace counts per thread.
        let mut counts = BTreeMap::<(&str, &str), usize>::new();
        let mut points = BTreeMap::<&str, BTreeSet<usize>>::new();
        for line in text.lines() {
            let Some((thread, call)) = line.split_once(' ') else {
                continue;
            };
            let Some((name, rest)) = call.trim_start().split_once('(') else {
                continue;
            };
            let Some(name) = CALLS.into_iter().find(|call| *call == name) else {
                continue;
            };
            let count = counts.entry((thread, name)).or_default();
            *count += 1;
            // A write to an eventfd only resumes another thread.
            let wakes = rest.split(',').next().is_some_and(|file| file.contains("[eventfd"));
            if !wakes {
                points.entry(name).or_default().insert(*count);
            }
        }
        Ok(points)
    }

    /// Performs the action at a point and checks the state after it. Returns whether the files were `old` or `new`
    /// after the undo.
    fn at(&mut self, point: &Point) -> Result<&'static str, Failed> {
        let Point { kind, call, when } = *point;
        let signal = if kind == Kind::Stopped { "STOP" } else { "KILL" };
        let trace = format!("--trace={call}");
        let inject = format!("--inject={call}:signal={signal}:when={when}");
        let limit: &[&str] = if kind == Kind::Stopped {
            &["RuntimeMaxSec=6"]
        } else {
            &[]
        };
        let owned = matches!(kind, Kind::LeftAlone | Kind::Stopped);
        // With `--seccomp-bpf` strace injects nothing.
        let run = self.test_node.traced(&[&trace, &inject], limit, owned)?;
        let ended = self.test_node.wait_until_unit_ended()?;
        let struck = ended == if kind == Kind::Stopped { "timeout" } else { "signal" };
        if kind == Kind::Reset {
            self.test_node.node.reset()?;
            self.test_node.node.wait_cri(CRI)?;
        }
        let mut found = "again";
        if !struck {
            // This run made fewer calls than the counted one.
            assert_eq!(ended, "success", "{}", self.test_node.unit_log()?);
            found = "missed";
        }
        // If it is killed during a restart, containerd starts with whichever files it finds.
        self.test_node.node.wait_cri(CRI)?;
        if kind != Kind::RunAgain {
            // Staged files of a change that was armed and not begun are removed by the next run.
            let begun = kind != Kind::Reset || self.test_node.phase()? != "armed";
            let taken_away = || {
                self.test_node.no_guard_is_left("after the undo")?;
                self.test_node.nothing_is_left("after the undo")
            };
            // The same applies to a boot guard's unit that was not started because its link was missing.
            match begun.then(taken_away) {
                Some(Err(left)) if kind == Kind::Reset && self.looked()? => return Err(left),
                Some(Err(left)) if kind != Kind::Reset => return Err(left),
                Some(Ok(())) => {}
                Some(Err(_)) | None => {
                    let links = ["ls", "/etc/systemd/system/containerd.service.wants"];
                    let links = self.test_node.node.run(&links)?.stdout;
                    assert_eq!(links, "", "a guard is armed");
                }
            }
            let which = self.which()?;
            // A killed run reports nothing; the undo reports the result.
            if struck && owned {
                let told = self.test_node.reported_exit_code(&run)?;
                let so: &[i64] = if which == "new" { &[0, 1] } else { &[3, 4] };
                assert!(so.contains(&told), "{which}, and exit code {told} was reported");
            }
            found = if struck { which } else { found };
        }
        if kind == Kind::Reset {
            static STARTED: AtomicU32 = AtomicU32::new(0);
            let name = format!("again-{}", STARTED.fetch_add(1, Ordering::Relaxed));
            self.test_node.start_workload(&name)?;
        } else {
            assert_eq!(
                self.test_node.node.pids()?,
                self.test_node.pids,
                "the processes of containers changed"
            );
        }
        self.test_node.migrate(0, &[])?;
        assert_eq!(self.which()?, "new", "the next run");
        self.serves("the next run")?;
        self.test_node.run(&["rollback", "--yes"])?.ok()?;
        assert_eq!(self.which()?, "old", "after the rollback");
        self.points += 1;
        // A reset starts another log. The other kinds have at least two restarts.
        self.lost.restarts += if kind == Kind::Reset { 0 } else { 2 };
        Ok(found)
    }

    /// Checks that CRI is ready, that containers have their processes and their output continues, and that nothing of
    /// the change is left.
    fn serves(&self, why: &str) -> Result<(), Failed> {
        self.test_node.node.wait_cri(CRI)?;
        assert_eq!(
            self.test_node.node.pids()?,
            self.test_node.pids,
            "{why}: the processes of containers changed"
        );
        let before = self.last_number()?;
        self.test_node
            .node
            .until("the container logs no further number", CRI, || {
                Ok((self.last_number()? > before + 5).then_some(()))
            })?;
        self.test_node.nothing_is_left(why)
    }

    /// Returns whether the boot guard's second unit was started in this boot.
    fn looked(&self) -> io::Result<bool> {
        let said = ["journalctl", "-b", "-q", "-o", "cat", "-u", "mirrorshift-look"];
        Ok(!self.test_node.node.run(&said)?.stdout.is_empty())
    }

    fn log(&self) -> &str {
        self.test_node.workload.as_ref().map_or("", |workload| &workload.log)
    }

    fn last_number(&self) -> io::Result<u64> {
        let tail = self.test_node.node.run(&["tail", "-n", "2", self.log()])?.ok()?.stdout;
        Ok(numbers(&tail).last().unwrap_or(0))
    }

    /// Adds up the lines that this node's log lacks, before the node is removed.
    fn end(self) -> Result<Lost, Failed> {
        let log = self.test_node.node.read(self.log())?;
        let log = String::from_utf8_lossy(&log);
        let there: BTreeSet<u64> = numbers(&log).collect();
        let (first, last) = (there.first().copied().unwrap_or(0), there.last().copied().unwrap_or(0));
        let lines = (last + 1 - first) - there.len() as u64;
        Ok(Lost { lines, ..self.lost })
    }

    fn which(&self) -> Result<&'static str, Failed> {
        let now = files(&self.test_node)?;
        match now {
            _ if now == self.old => Ok("old"),
            _ if now == self.new => Ok("new"),
            _ => Err(format!("the files are neither old nor new:\n{now}").into()),
        }
    }
}

/// Returns the numbers that a container has counted, from complete lines of its log.
fn numbers(log: &str) -> impl Iterator<Item = u64> + '_ {
    let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

/// Returns everything in containerd's configuration folder: kinds, modes, owners and digests.
fn files(test_node: &TestNode) -> Result<String, Failed> {
    let script = "cd /etc/containerd; find . ! -name '*.new' -printf '%y %m %U %G %p\\n' | sort; find . -type f ! -name '*.new' -exec sha256sum {} + | sort";
    Ok(test_node.node.run(&["sh", "-ec", script])?.ok()?.stdout)
}

fn kills(context: &NodeTestContext) -> Result<(), Failed> {
    let bench = ChangeBench::new(context)?;
    let whole = context.containerd.version.starts_with(WHOLE);
    let counted = bench.points()?;
    if whole {
        for call in ["renameat2", "renameat", "linkat", "fsync", "unlinkat", "sendmsg"] {
            assert!(counted.contains_key(call), "no {call} was traced");
        }
    }
    let mut points = Vec::new();
    for (&call, numbers) in &counted {
        if !whole && !BOUNDARIES.contains(&call) {
            continue;
        }
        // One more than the number of calls: nothing happens, and the change settles.
        let beyond = numbers.last().map(|last| last + 1);
        for kind in KINDS {
            let numbers = numbers.iter().copied().chain(beyond);
            points.extend(numbers.map(|when| Point { kind, call, when }));
        }
    }
    let (tried, report) = CampaignResults::of(context);
    let todo: Vec<Point> = if report {
        points.iter().filter(|point| !tried.has(point)).cloned().collect()
    } else {
        sample(&points, if whole { SAMPLE.0 } else { SAMPLE.1 })
    };
    let version = context.containerd.version.clone();
    eprintln!(
        "containerd {version}: {} points of {}: {:?}",
        todo.len(),
        points.len(),
        counted
            .iter()
            .map(|(call, numbers)| (call, numbers.len()))
            .collect::<Vec<_>>()
    );
    let left = Mutex::new(todo.iter());
    let shared = Mutex::new(tried);
    let broken = if report {
        drop(bench);
        at_once(context, &left, &shared)?
    } else {
        each(bench, &left, &shared)?
    };
    let tried = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    tried.table(&version);
    assert!(
        todo.is_empty() || tried.lines.iter().any(|line| !line.ends_with("missed")),
        "no point was reached"
    );
    if broken.is_empty() {
        return Ok(());
    }
    Err(broken.join("\n").into())
}

/// The points that no node has taken yet.
type Left<'p> = Mutex<std::slice::Iter<'p, Point>>;

/// Tests every remaining point, and returns the broken ones.
fn each(mut bench: ChangeBench<'_>, left: &Left<'_>, tried: &Mutex<CampaignResults>) -> Result<Vec<String>, Failed> {
    let version = &bench.context.containerd.version;
    let mut broken = Vec::new();
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    while let Some(point) = next() {
        if bench.points == POINTS_OF_A_NODE {
            let context = bench.context;
            let lost = bench.end()?;
            println!("containerd {version}: {lost:?}");
            bench = ChangeBench::new(context)?;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| bench.at(point)))
            .unwrap_or_else(|_| Err("a check failed, as printed above".into()));
        let told = outcome.as_ref().map_or("broken", |found| found);
        println!("containerd {version}: {point}: {told}");
        tried
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(version, point, told);
        if let Err(failed) = outcome {
            let why = failed.message().unwrap_or("").to_owned();
            eprintln!("containerd {version}: {point}: {why}");
            broken.push(format!("{point}: {why}"));
            // The state of this node may affect the next point.
            bench = ChangeBench::new(bench.context)?;
        }
    }
    let lost = bench.end()?;
    println!("containerd {version}: {lost:?}");
    Ok(broken)
}

/// Tests points on several nodes at the same time, because a campaign mostly waits.
fn at_once(context: &NodeTestContext, left: &Left<'_>, tried: &Mutex<CampaignResults>) -> Result<Vec<String>, Failed> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let started = [(); NODES].map(|()| scope.spawn(|| each(ChangeBench::new(context)?, left, tried)));
        let mut broken = Vec::new();
        let bare = scope.spawn(|| bare_restarts(context, &over));
        for node in started {
            broken.extend(node.join().map_err(|_| "a part of the campaign panicked")??);
        }
        over.store(true, Ordering::Relaxed);
        let lost = bare.join().map_err(|_| "the plain restarts panicked")??;
        println!("containerd {}: plain restarts: {lost:?}", context.containerd.version);
        Ok(broken)
    })
}

/// Measures what plain restarts lose on a separate node, as long as the campaign runs.
fn bare_restarts(context: &NodeTestContext, over: &AtomicBool) -> Result<Lost, Failed> {
    let mut sum = Lost::default();
    while !over.load(Ordering::Relaxed) {
        let mut bench = ChangeBench::new(context)?;
        while bench.lost.restarts < 200 && !over.load(Ordering::Relaxed) {
            bench
                .test_node
                .node
                .run(&["systemctl", "restart", "containerd"])?
                .ok()?;
            bench.test_node.node.wait_cri(CRI)?;
            bench.lost.restarts += 1;
            thread::sleep(Duration::from_secs(3));
        }
        let lost = bench.end()?;
        sum.lines += lost.lines;
        sum.restarts += lost.restarts;
        println!(
            "containerd {}: plain restarts until now: {sum:?}",
            context.containerd.version
        );
    }
    Ok(sum)
}

/// Returns some points of each kind, others every day.
fn sample(points: &[Point], each: usize) -> Vec<Point> {
    let days = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / 86_400);
    let seed = std::env::var("MIRRORSHIFT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(days);
    println!("MIRRORSHIFT_SEED={seed}");
    let mut chosen = BTreeSet::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        let of_kind: Vec<&Point> = points.iter().filter(|point| point.kind == kind).collect();
        for at in 0..each.min(of_kind.len()) {
            // A step without a common factor with most lengths reaches all points over time.
            let index = usize::try_from(seed)
                .unwrap_or(0)
                .wrapping_mul(7919)
                // The kinds do not get the same calls.
                .wrapping_add((at * KINDS.len() + number) * of_kind.len() / (each * KINDS.len()))
                % of_kind.len();
            chosen.insert(of_kind[index].clone());
        }
    }
    chosen.into_iter().collect()
}
