//! A change that is killed at each of its system calls, and then finished or rolled back; and a change in which each call fails.
//!
//! The change is traced once to list its calls. strace counts `when` separately for each system call. A signal that is injected
//! at the entry of a call prevents the call.

use crate::common::{CREATED, REPLACED, copy, example, old_root, show, skip, snapshot, strace_works};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The calls that read or change the disk. A kill before another call has the same effect as a kill before the next of
/// these.
const CALLS: [&str; 20] = [
    "openat",
    "openat2",
    "read",
    "write",
    "fallocate",
    "ftruncate",
    "fchown",
    "fchmod",
    "fsetxattr",
    "fremovexattr",
    "flock",
    "fsync",
    "mkdirat",
    "linkat",
    "renameat",
    "renameat2",
    "unlinkat",
    "statx",
    "flistxattr",
    "getdents64",
];

/// The number of changes that run at the same time.
const PARALLEL: usize = 2;

#[derive(Clone, Debug)]
struct Point {
    call: String,
    when: usize,
}

struct Bench {
    dir: tempfile::TempDir,
    example: PathBuf,
    old: PathBuf,
    new: PathBuf,
    next: AtomicUsize,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        old_root(&old);
        let bench = Self {
            example: example(),
            old,
            new,
            dir,
            next: AtomicUsize::new(0),
        };
        copy(&bench.old, &bench.new);
        let done = bench.run("apply", &bench.new, "first");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        bench
    }

    fn fresh(&self) -> PathBuf {
        let path = self
            .dir
            .path()
            .join(format!("node-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        copy(&self.old, &path);
        path
    }

    fn run(&self, command: &str, root: &Path, id: &str) -> Output {
        Command::new(&self.example)
            .arg(command)
            .arg(root)
            .arg(id)
            .output()
            .unwrap()
    }

    /// Runs `command` on `root` under strace with `options`.
    fn traced(&self, options: &[&str], log: &Path, command: &str, root: &Path) -> ExitStatus {
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(log)
            .args(options)
            .arg(&self.example)
            .arg(command)
            .arg(root)
            .output()
            .unwrap();
        output.status
    }

    /// Returns every point of `command` on a copy of `start`, from the first call that names the root.
    fn points(&self, start: &Path, command: &str) -> Vec<Point> {
        let root = self.dir.path().join(format!("traced-{command}"));
        copy(start, &root);
        let log = self.dir.path().join("log");
        let trace = format!("trace={}", CALLS.join(","));
        assert!(
            self.traced(&["-s", "4096", "-e", &trace], &log, command, &root)
                .success()
        );
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        let mut counts = BTreeMap::<&str, usize>::new();
        let (mut points, mut begun) = (Vec::new(), false);
        for line in text.lines() {
            let Some((call, rest)) = line
                .split_once(' ')
                .and_then(|(_, call)| call.trim_start().split_once('('))
            else {
                continue;
            };
            let when = counts.entry(call).or_default();
            *when += 1;
            begun |= rest.contains(root.to_str().unwrap());
            if begun && CALLS.contains(&call) {
                points.push(Point {
                    call: call.to_owned(),
                    when: *when,
                });
            }
        }
        points
    }

    /// Describes the files of `root` that are not in any of `allowed`.
    fn unexpected_file(root: &Path, allowed: &[&Path]) -> Option<String> {
        let found = snapshot(&root.join("etc"));
        for path in REPLACED.iter().chain([&CREATED]) {
            let relative = Path::new(path).strip_prefix("etc").unwrap();
            let is_allowed = |allowed: &&Path| snapshot(&allowed.join("etc")).get(relative) == found.get(relative);
            if !allowed.iter().any(is_allowed) {
                return Some(format!("{path}: {:?}", found.get(relative)));
            }
        }
        None
    }

    /// Describes the files and folders of `root` that differ from `wanted`.
    fn difference(root: &Path, wanted: &Path) -> Option<String> {
        let (found, wanted) = (snapshot(&root.join("etc")), snapshot(&wanted.join("etc")));
        let state = root.join("var/lib/mirrorshift");
        let left = ["reserve", "journal.json.new"]
            .iter()
            .find(|name| state.join(name).exists());
        match left {
            Some(name) => Some(format!("`{name}` still exists")),
            None if found != wanted => Some(format!("is {found:#?}")),
            None => None,
        }
    }

    /// Finishes a killed change: completes it here, and rolls it back on a copy.
    fn finish(&self, root: &Path) -> Result<(), String> {
        if let Some(found) = Self::unexpected_file(root, &[&self.old, &self.new]) {
            return Err(format!("after the kill {found}"));
        }
        let back = root.with_extension("back");
        copy(root, &back);
        for (command, root, wanted) in [("apply", root, &self.new), ("rollback", &back, &self.old)] {
            let run = self.run(command, root, "second");
            if !run.status.success() {
                return Err(format!(
                    "{command}: {:?}: {}",
                    run.status,
                    String::from_utf8_lossy(&run.stderr)
                ));
            }
            if let Some(found) = Self::difference(root, wanted) {
                return Err(format!("after {command} {found}"));
            }
        }
        fs::remove_dir_all(&back).unwrap();
        Ok(())
    }

    /// Runs `try_point` at every point, [`PARALLEL`] at a time. Returns the number of points per call, and the failures.
    fn sweep(
        points: &[Point],
        try_point: impl Fn(&Point) -> Result<(), String> + Sync,
    ) -> (BTreeMap<String, usize>, Vec<String>) {
        let (at, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(|| {
                    while let Some(point) = points.get(at.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(why) = try_point(point) {
                            broken
                                .lock()
                                .unwrap()
                                .push(format!("{} {}: {why}", point.call, point.when));
                        }
                    }
                });
            }
        });
        let mut table = BTreeMap::new();
        for point in points {
            *table.entry(point.call.clone()).or_default() += 1;
        }
        (table, broken.into_inner().unwrap())
    }
}

fn report(title: &str, table: &BTreeMap<String, usize>, broken: &[String]) {
    let mut lines = vec![title.to_owned()];
    lines.extend(table.iter().map(|(call, points)| format!("  {call:<14}{points:>5}")));
    let all = table.values().sum::<usize>();
    lines.push(format!("  {:<14}{all:>5}, {} broken", "all", broken.len()));
    show(&lines.join("\n"));
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    for call in ["renameat2", "linkat", "fsync", "fchmod", "unlinkat"] {
        assert!(table.contains_key(call), "no point at {call}");
    }
}

fn kill_at_every_call(command: &str) {
    let bench = Bench::new();
    let start = if command == "apply" { &bench.old } else { &bench.new };
    let points = bench.points(start, command);
    let (table, broken) = Bench::sweep(&points, |point| {
        let root = bench.fresh();
        fs::remove_dir_all(&root).unwrap();
        copy(start, &root);
        let inject = format!("inject={}:signal=KILL:when={}", point.call, point.when);
        let trace = format!("trace={}", point.call);
        let status = bench.traced(&["-e", &trace, "-e", &inject], Path::new("/dev/null"), command, &root);
        // strace ends with the signal of the traced program.
        if status.signal() != Some(9) {
            return Err(format!("was not killed: {status:?}"));
        }
        bench.finish(&root)?;
        fs::remove_dir_all(&root).unwrap();
        Ok(())
    });
    report(&format!("kill points of `{command}`, by system call"), &table, &broken);
}

#[test]
fn change_killed_at_any_call_is_finished_by_the_next_run() {
    if !strace_works() {
        return skip("kill points of apply", "strace is missing or not permitted");
    }
    kill_at_every_call("apply");
}

#[test]
fn rollback_killed_at_any_call_is_finished_by_the_next_run() {
    if !strace_works() {
        return skip("kill points of rollback", "strace is missing or not permitted");
    }
    kill_at_every_call("rollback");
}

/// Returns the error of a failing call, if the call can fail in practice.
fn error_of(call: &str) -> Option<&'static str> {
    Some(match call {
        "fallocate" | "write" | "linkat" | "renameat" => "ENOSPC",
        "fsync" | "read" | "statx" | "unlinkat" | "getdents64" => "EIO",
        "fchmod" | "fsetxattr" => "EPERM",
        "renameat2" => "EBUSY",
        "mkdirat" => "EROFS",
        "openat" => "EMFILE",
        "openat2" => "EACCES",
        "flock" => "ENOLCK",
        _ => return None,
    })
}

/// Runs the change with a call that fails once, or from then on if `lasting`. Checks that the files match the exit code.
fn check_failing_call(bench: &Bench, point: &Point, error: &str, lasting: bool) -> Result<i32, String> {
    let root = bench.fresh();
    let plus = if lasting { "+" } else { "" };
    let inject = format!("inject={}:error={error}:when={}{plus}", point.call, point.when);
    let trace = format!("trace={}", point.call);
    let status = bench.traced(&["-e", &trace, "-e", &inject], Path::new("/dev/null"), "apply", &root);
    let code = status.code().ok_or(format!("ended by {status:?}"))?;
    let etc = |root: &Path| snapshot(&root.join("etc"));
    match code {
        0 if etc(&root) == etc(&bench.new) => {}
        3 | 4 if etc(&root) == etc(&bench.old) => {}
        1 => bench.finish(&root)?,
        5 if Bench::unexpected_file(&root, &[&bench.old, &bench.new]).is_none() => {
            let back = bench.run("rollback", &root, "second");
            if !back.status.success() || etc(&root) != etc(&bench.old) {
                return Err(format!(
                    "the rollback does not repair it: {}",
                    String::from_utf8_lossy(&back.stderr)
                ));
            }
        }
        _ => {
            let differs = |from: &Path| {
                etc(from)
                    .into_iter()
                    .filter(|(path, _)| etc(&root).get(path) != etc(from).get(path))
                    .count()
            };
            return Err(format!(
                "ended with {code}; {} old and {} new paths differ",
                differs(&bench.old),
                differs(&bench.new)
            ));
        }
    }
    fs::remove_dir_all(&root).unwrap();
    Ok(code)
}

#[test]
fn change_with_a_failing_call_matches_its_exit_code() {
    if !strace_works() {
        return skip("failing calls", "strace is missing or not permitted");
    }
    let bench = Bench::new();
    let points = bench.points(&bench.old, "apply");
    let points: Vec<_> = points
        .into_iter()
        .filter(|point| error_of(&point.call).is_some())
        .collect();
    let codes = Mutex::new(BTreeMap::<(bool, i32), usize>::new());
    let (table, broken) = Bench::sweep(&points, |point| {
        let Some(error) = error_of(&point.call) else {
            return Ok(());
        };
        // Only calls that a broken disk makes fail are tested with a lasting failure.
        let lasting: &[bool] = match point.call.as_str() {
            "fsync" | "write" | "renameat2" | "renameat" => &[false, true],
            _ => &[false],
        };
        for lasting in lasting {
            let code = check_failing_call(&bench, point, error, *lasting)
                .map_err(|why| format!("{error} {lasting}: {why}"))?;
            *codes.lock().unwrap().entry((*lasting, code)).or_default() += 1;
        }
        Ok(())
    });
    for ((lasting, code), count) in codes.into_inner().unwrap() {
        let kind = if lasting { "permanently" } else { "once" };
        show(&format!("failing {kind}: exit code {code}, {count} times"));
    }
    report("failing calls of `apply`, by system call", &table, &broken);
}

#[test]
fn change_works_without_rename_exchange_and_unnamed_files() {
    if !strace_works() {
        return skip("fallbacks for old file systems", "strace is missing or not permitted");
    }
    let bench = Bench::new();
    // In turn: without RENAME_EXCHANGE and RENAME_NOREPLACE, without /proc for naming a file, and without both. In the last
    // case every second link names a file, and the others replace a rename.
    let ways = [
        [("renameat2", "EINVAL", "1+"), ("renameat2", "EINVAL", "1+")],
        [("linkat", "ENOENT", "1+"), ("linkat", "ENOENT", "1+")],
        [("linkat", "ENOENT", "1..5+2"), ("linkat", "ENOENT", "1..3+2")],
    ];
    for (at, way) in ways.into_iter().enumerate() {
        let root = bench.fresh();
        let commands = [("apply", &bench.new), ("rollback", &bench.old)];
        for ((command, wanted), (call, error, when)) in commands.into_iter().zip(way) {
            let inject = format!("inject={call}:error={error}:when={when}");
            let mut options = vec!["-e", "trace=renameat2,linkat", "-e", &inject];
            if at == 2 {
                options.extend(["-e", "inject=renameat2:error=EINVAL:when=1+"]);
            }
            let status = bench.traced(&options, Path::new("/dev/null"), command, &root);
            assert!(status.success(), "{command} {inject}: {status:?}");
            assert_eq!(Bench::difference(&root, wanted), None, "{command} {inject}");
        }
    }
}
