//! `migrate` and `rollback` of the program, killed at every system call that changes something, then run again.
//!
//! One run is traced, and every pair of a system call and its number is listed from the first that names the root on,
//! because strace's `when` counts each system call separately. A signal at the entry of a call prevents the call.
//! After each kill, every file in /etc must be the original or the new file, real containerd must load the files, and
//! the next run must finish both a migration and a rollback.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program fails by panicking, and its output is its report"
)]

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::{Boot, Containerd, Files, Lab};
use mirrorshift_tests::{Tool, files_below, skipped};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const VERSION: &str = "1.7.24";
/// The number of runs at the same time: the number of processors of small machines.
const LANES: usize = 2;
/// System calls that change a disk, and the last call of all. A kill before any other call leaves the same state as a
/// kill before the next of these; the tests of crates/node cover those as well.
const CALLS: [&str; 16] = [
    "exit_group",
    "fallocate",
    "fchmod",
    "fchown",
    "flock",
    "fremovexattr",
    "fsetxattr",
    "fsync",
    "ftruncate",
    "linkat",
    "mkdirat",
    "renameat",
    "renameat2",
    "symlinkat",
    "unlinkat",
    "write",
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let strace = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .status();
    let mut trials = Vec::new();
    for command in ["migrate", "rollback"] {
        let name = format!("kill_points::{command}");
        trials.push(match &strace {
            Ok(status) if status.success() => Trial::test(name, move || killed_everywhere(command)),
            _ => skipped(&name, "strace is not installed or not permitted"),
        });
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

#[derive(Clone, Debug)]
struct Point {
    call: String,
    when: usize,
}

/// The roots of the test: the node before, the node after, and copies.
struct KillBench {
    dir: tempfile::TempDir,
    /// A copy of the program, so that a build at the same time does not change it.
    program: PathBuf,
    old: Files,
    new: Files,
    next: AtomicUsize,
}

impl KillBench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/node");
        copy(&example, &dir.path().join("old"));
        copy(&example, &dir.path().join("new"));
        let done = Tool::new(&dir.path().join("new"), VERSION)
            .run(&["migrate", "--no-restart"])
            .unwrap();
        assert_eq!(done.code, 0, "{}", done.stderr);
        let etc = |name: &str| files_below(&dir.path().join(name), "/etc").unwrap();
        let program = dir.path().join("mirrorshift");
        // `cp` writes the copy. If this process had it open for writing while another thread starts a process, the
        // kernel would refuse to run it.
        let copied = Command::new("cp").arg(Tool::program().unwrap()).arg(&program).status();
        assert!(copied.unwrap().success());
        Self {
            program,
            old: etc("old"),
            new: etc("new"),
            dir,
            next: AtomicUsize::new(0),
        }
    }

    /// Returns a copy of the node on which `command` has something to do.
    fn start(&self, command: &str) -> PathBuf {
        let from = if command == "migrate" { "old" } else { "new" };
        let to = self
            .dir
            .path()
            .join(format!("node-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        copy(&self.dir.path().join(from), &to);
        to
    }

    fn traced(&self, root: &Path, options: &[&str], log: &Path, command: &str) -> ExitStatus {
        Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(log)
            .args(options)
            .arg(&self.program)
            .args([command, "--no-restart", "--containerd-version", VERSION, "--root"])
            .arg(root)
            .output()
            .unwrap()
            .status
    }

    fn points(&self, command: &str) -> Vec<Point> {
        let (root, log) = (self.start(command), self.dir.path().join("log"));
        let trace = format!("trace=openat,openat2,{}", CALLS.join(","));
        assert!(
            self.traced(&root, &["-s", "4096", "-e", &trace], &log, command)
                .success()
        );
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        let named = root.to_string_lossy().into_owned();
        let (mut counts, mut points, mut begun) = (BTreeMap::<&str, usize>::new(), Vec::new(), false);
        for line in text.lines() {
            let after_pid = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
            let Some((call, rest)) = after_pid.split_once('(') else {
                continue;
            };
            let when = counts.entry(call).or_default();
            *when += 1;
            begun |= rest.contains(&named);
            if begun && (CALLS.contains(&call) || rest.contains("O_CREAT")) {
                points.push(Point {
                    call: call.to_owned(),
                    when: *when,
                });
            }
        }
        points
    }

    /// Kills `command` at `point`. Returns the files in /etc, or the violated condition.
    fn kill(&self, command: &str, point: &Point) -> Result<Files, String> {
        let root = self.start(command);
        let inject = format!("inject={}:signal=KILL:when={}", point.call, point.when);
        let trace = format!("trace={}", point.call);
        let status = self.traced(&root, &["-e", &trace, "-e", &inject], Path::new("/dev/null"), command);
        if status.signal() != Some(9) {
            return Err(format!("was not killed: {status:?}"));
        }
        let left = files_below(&root, "/etc").unwrap();
        let names: BTreeSet<&String> = self.old.keys().chain(self.new.keys()).collect();
        for name in names {
            let found = left.get(name);
            if found != self.old.get(name) && found != self.new.get(name) {
                return Err(format!("{name} is neither old nor new"));
            }
        }
        let back = root.with_extension("back");
        copy(&root, &back);
        for (again, root, wanted) in [("migrate", &root, &self.new), ("rollback", &back, &self.old)] {
            let ran = Tool::new(root, VERSION).run(&[again, "--no-restart"]).unwrap();
            if ran.code != 0 {
                return Err(format!("`{again}` afterwards exits {}: {}", ran.code, ran.stderr));
            }
            if files_below(root, "/etc").unwrap() != *wanted {
                return Err(format!("`{again}` afterwards does not bring the files there"));
            }
            fs::remove_dir_all(root).unwrap();
        }
        Ok(left)
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(
        Command::new("cp")
            .arg("-a")
            .arg(from)
            .arg(to)
            .status()
            .unwrap()
            .success()
    );
}

fn killed_everywhere(command: &str) -> Result<(), Failed> {
    let bench = KillBench::new();
    let points = bench.points(command);
    let (at, broken, states) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(point) = points.get(at.fetch_add(1, Ordering::Relaxed)) {
                    match bench.kill(command, point) {
                        Ok(left) => {
                            states.lock().unwrap().insert(left);
                        }
                        Err(why) => broken
                            .lock()
                            .unwrap()
                            .push(format!("{} {}: {why}", point.call, point.when)),
                    }
                }
            });
        }
    });
    let mut table = BTreeMap::<&str, usize>::new();
    for point in &points {
        *table.entry(&point.call).or_default() += 1;
    }
    println!("kill points of `{command}`, by system call");
    for (call, points) in &table {
        println!("  {call:<14}{points:>5}");
    }
    let broken = broken.into_inner().unwrap();
    let states: Vec<Files> = states.into_inner().unwrap().into_iter().collect();
    println!(
        "  {:<14}{:>5}, {} broken, {} different states of /etc",
        "all",
        points.len(),
        broken.len(),
        states.len()
    );
    if !broken.is_empty() {
        return Err(broken.join("\n").into());
    }
    for call in ["renameat2", "linkat", "fsync", "fchmod", "unlinkat"] {
        // A rollback renames existing files: it writes and links no new ones.
        if !table.contains_key(call) && command == "migrate" {
            return Err(format!("no point at {call}").into());
        }
    }
    loaded(&states)
}

/// Checks that real containerd loads CRI with every state.
fn loaded(states: &[Files]) -> Result<(), Failed> {
    let lab = Lab::open(env!("CARGO_BIN_EXE_lab-run")).map_err(|missing| missing.to_string());
    let containerd = Containerd::line("1.7").map_err(|missing| missing.to_string());
    let (lab, containerd) = match (lab, containerd) {
        (Ok(lab), Ok(containerd)) => (lab, containerd),
        (Err(why), _) | (_, Err(why)) => {
            println!("SKIPPED: loading what a kill left with a real containerd: {why}");
            return Ok(());
        }
    };
    for boot in lab.boots(&containerd, states) {
        match boot? {
            Boot::CriOk => {}
            other => return Err(other.to_string().into()),
        }
    }
    println!("  containerd {} loads CRI with each", containerd.version);
    Ok(())
}
