//! A change of a running node, killed, stopped or cut off by a reset at every system call that changes something or is
//! heard by somebody. Two files hold mirrors. Whatever was going on: CRI serves, the files are old or new as a whole, no
//! guard is left, and the next `migrate` succeeds.
//!
//! A run takes a sample that is another one each day; `MIRRORSHIFT_SEED` repeats one. With `MIRRORSHIFT_CAMPAIGN` every
//! point is tried, and the file that it names keeps what was tried: `tests/campaign/kills`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program's output is its report"
)]

mod tried;

use libtest_mimic::Failed;
use mirrorshift_tests::node_trials::{CRI, NodeTrial, ReleaseLines, TestNode, TrialContext, run_node_trials};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, io, thread};
use tried::Tried;

/// On this release every call counts, on the others those that write the journal and exchange files.
const WHOLE: &str = "2.4";
/// Points of each kind that a sample takes, on [`WHOLE`] and on the others.
const SAMPLE: (usize, usize) = (2, 1);
/// How many of them a campaign strikes at once.
const NODES: usize = 6;
/// What changes a file or is heard by systemd. What containerd is asked goes by `writev` and changes nothing: a kill before
/// such a question leaves what a kill before the next of these leaves.
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
    let entry: NodeTrial = ("kills", ReleaseLines::All, kills);
    run_node_trials(env!("CARGO_BIN_EXE_lab-run"), "systemd_kill_points", &[entry])
}

/// What happens at a point, and who comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Killed: systemd starts the owner that undoes it.
    LeftAlone,
    /// Killed with nobody to undo it but the next run.
    RunAgain,
    /// Killed, and the node reset: the guard is left.
    Reset,
    /// Stopped: systemd's time runs out.
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

/// A node to kill changes on, and its two allowed sets of files.
struct Bench<'c> {
    context: &'c TrialContext,
    test_node: TestNode,
    old: String,
    new: String,
    /// Lines that were lost of the container's output, and restarts of containerd that may have lost them.
    lost: Lost,
    points: usize,
}

/// Lines that a restart of containerd lost: those that it had read and not yet written. A bare restart loses some as well.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    lines: u64,
    restarts: u64,
}

/// So many points are tried on a node before it is exchanged: its log grows all the time.
const POINTS_OF_A_NODE: usize = 60;

impl<'c> Bench<'c> {
    fn new(context: &'c TrialContext) -> Result<Self, Failed> {
        // A trial restarts containerd more often than an operator would.
        let often = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=200ms\n";
        let test_node = context.boot(&TrialContext::two_files().drop_in("containerd.service", "often", often))?;
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

    /// Every call of one run that goes well, by the number that strace counts it with.
    fn points(&self) -> Result<BTreeMap<&'static str, BTreeSet<usize>>, Failed> {
        let trace = format!("--trace={}", CALLS.join(","));
        let run = self.test_node.traced(&["--decode-fds=path", &trace], &[], true)?;
        let code = self.test_node.wait_for_traced_exit_code(&run)?;
        assert_eq!(code, 0, "a traced run does not end well");
        assert_eq!(files(&self.test_node)?, self.new);
        let text = String::from_utf8_lossy(&self.test_node.node.read("/root/trace")?).into_owned();
        self.test_node.run(&["rollback", "--yes"])?.ok()?;
        // strace counts for each thread by itself.
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
            // A thread that wakes another one changes nothing.
            let wakes = rest.split(',').next().is_some_and(|file| file.contains("[eventfd"));
            if !wakes {
                points.entry(name).or_default().insert(*count);
            }
        }
        Ok(points)
    }

    /// Lets it happen at a point, and sees what is left; whether the files were `old` or `new` once its owner was done.
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
        // With its filter in the kernel strace injects nothing.
        let run = self.test_node.traced(&[&trace, &inject], limit, owned)?;
        let ended = self.test_node.wait_until_unit_ended()?;
        let struck = ended == if kind == Kind::Stopped { "timeout" } else { "signal" };
        if kind == Kind::Reset {
            self.test_node.node.reset()?;
            self.test_node.node.wait_cri(CRI)?;
        }
        let mut found = "again";
        if !struck {
            // A run that asks less often than the one that was counted.
            assert_eq!(ended, "success", "{}", self.test_node.unit_log()?);
            found = "missed";
        }
        // Killed in the middle of a restart, containerd comes up by itself, whichever files it finds.
        self.test_node.node.wait_cri(CRI)?;
        if kind != Kind::RunAgain {
            // Copies beside the files, of a change that was armed and not begun, are for the next run to take away.
            let begun = kind != Kind::Reset || self.test_node.phase()? != "armed";
            let taken_away = || {
                self.test_node.no_guard_is_left("after its owner")?;
                self.test_node.nothing_is_left("after its owner")
            };
            // The same goes for a guard's unit that nothing has started, as its link was gone.
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
            // Who is ended tells nothing; whoever comes after it tells what became of it.
            if struck && owned {
                let told = self.test_node.reported_exit_code(&run)?;
                let so: &[i64] = if which == "new" { &[0, 1] } else { &[3, 4] };
                assert!(so.contains(&told), "{which}, and {told} was told");
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
                "containers have other processes"
            );
        }
        self.test_node.migrate(0, &[])?;
        assert_eq!(self.which()?, "new", "the next run");
        self.serves("the next run")?;
        self.test_node.run(&["rollback", "--yes"])?.ok()?;
        assert_eq!(self.which()?, "old", "the way back");
        self.points += 1;
        // A reset begins another log. The others have two restarts at least.
        self.lost.restarts += if kind == Kind::Reset { 0 } else { 2 };
        Ok(found)
    }

    /// CRI is ready, containers have their processes, their output comes, and nothing is left of a change.
    fn serves(&self, why: &str) -> Result<(), Failed> {
        self.test_node.node.wait_cri(CRI)?;
        assert_eq!(
            self.test_node.node.pids()?,
            self.test_node.pids,
            "{why}: containers have other processes"
        );
        let before = self.last_number()?;
        self.test_node.node.until("the log does not flow", CRI, || {
            Ok((self.last_number()? > before + 5).then_some(()))
        })?;
        self.test_node.nothing_is_left(why)
    }

    /// Whether the guard's second unit was started in this boot.
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

    /// Adds up what this node's log lacks, before the node goes.
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

/// The numbers that a container has counted to, in whole lines of its log.
fn numbers(log: &str) -> impl Iterator<Item = u64> + '_ {
    let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

/// Everything below containerd's folder: kinds, modes, owners and digests.
fn files(test_node: &TestNode) -> Result<String, Failed> {
    let script = "cd /etc/containerd; find . ! -name '*.new' -printf '%y %m %U %G %p\\n' | sort; find . -type f ! -name '*.new' -exec sha256sum {} + | sort";
    Ok(test_node.node.run(&["sh", "-ec", script])?.ok()?.stdout)
}

fn kills(context: &TrialContext) -> Result<(), Failed> {
    let bench = Bench::new(context)?;
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
        // Once more than there are: nothing happens, and the change ends well.
        let beyond = numbers.last().map(|last| last + 1);
        for kind in KINDS {
            let numbers = numbers.iter().copied().chain(beyond);
            points.extend(numbers.map(|when| Point { kind, call, when }));
        }
    }
    let (tried, report) = Tried::of(context);
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
        "nothing was struck"
    );
    if broken.is_empty() {
        return Ok(());
    }
    Err(broken.join("\n").into())
}

/// Points that nobody has taken yet.
type Left<'p> = Mutex<std::slice::Iter<'p, Point>>;

/// Every point that is left, in turn; those that were broken.
fn each(mut bench: Bench<'_>, left: &Left<'_>, tried: &Mutex<Tried>) -> Result<Vec<String>, Failed> {
    let version = &bench.context.containerd.version;
    let mut broken = Vec::new();
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    while let Some(point) = next() {
        if bench.points == POINTS_OF_A_NODE {
            let context = bench.context;
            let lost = bench.end()?;
            println!("containerd {version}: {lost:?}");
            bench = Bench::new(context)?;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| bench.at(point)))
            .unwrap_or_else(|_| Err("a check failed, as told above".into()));
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
            // What is left may spoil the next one.
            bench = Bench::new(bench.context)?;
        }
    }
    let lost = bench.end()?;
    println!("containerd {version}: {lost:?}");
    Ok(broken)
}

/// The same on several nodes at once: a campaign waits more than it works.
fn at_once(context: &TrialContext, left: &Left<'_>, tried: &Mutex<Tried>) -> Result<Vec<String>, Failed> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let started = [(); NODES].map(|()| scope.spawn(|| each(Bench::new(context)?, left, tried)));
        let mut broken = Vec::new();
        let bare = scope.spawn(|| bare_restarts(context, &over));
        for node in started {
            broken.extend(node.join().map_err(|_| "a part of the campaign panicked")??);
        }
        over.store(true, Ordering::Relaxed);
        let lost = bare.join().map_err(|_| "the bare restarts panicked")??;
        println!("containerd {}: bare restarts: {lost:?}", context.containerd.version);
        Ok(broken)
    })
}

/// What a restart loses by itself, on a node beside the others, as long as they are tried.
fn bare_restarts(context: &TrialContext, over: &AtomicBool) -> Result<Lost, Failed> {
    let mut sum = Lost::default();
    while !over.load(Ordering::Relaxed) {
        let mut bench = Bench::new(context)?;
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
            "containerd {}: bare restarts until now: {sum:?}",
            context.containerd.version
        );
    }
    Ok(sum)
}

/// Some of each kind, others every day.
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
            // A step that shares no factor with most lengths walks through all of them in time.
            let index = usize::try_from(seed)
                .unwrap_or(0)
                .wrapping_mul(7919)
                // Not the same call for each kind.
                .wrapping_add((at * KINDS.len() + number) * of_kind.len() / (each * KINDS.len()))
                % of_kind.len();
            chosen.insert(of_kind[index].clone());
        }
    }
    chosen.into_iter().collect()
}
