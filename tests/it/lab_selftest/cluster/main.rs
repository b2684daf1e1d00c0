//! The lab's clusters against themselves: before the suite rolls something out in one, its parts must work, fail as they are
//! told to, and go without a trace.

mod nodes; // clusters with nodes, pods and registries
mod plane; // control planes without nodes

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use std::{fs, io};

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::all_skipped;
use mirrorshift_tests::lab::Clusters;

type Run = fn(&Clusters) -> Result<(), Failed>;

const CASES: [(&str, Run); 6] = [
    ("a_control_plane_keeps_what_it_is_told", plane::keeps_what_it_is_told),
    ("a_control_plane_writes_down_who_asked", plane::writes_down_who_asked),
    ("a_front_is_what_it_is_told", plane::front_is_what_it_is_told),
    (
        "nothing_is_left_of_a_control_plane",
        plane::nothing_is_left_of_a_control_plane,
    ),
    (
        "nodes_run_pods_that_come_by_caches",
        nodes::run_pods_that_come_by_caches,
    ),
    (
        "a_dead_test_is_cleaned_up_after",
        nodes::are_cleaned_up_after_a_dead_test,
    ),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let clusters = match Clusters::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(clusters) => Arc::new(clusters),
        Err(why) => return all_skipped("cluster", &why.to_string()),
    };
    let trials = CASES.map(|(name, run)| {
        let clusters = Arc::clone(&clusters);
        Trial::test(format!("cluster::{name}"), move || run(&clusters))
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
fn figure(what: &str, since: Instant) {
    eprintln!("{what} in {:.1} s", since.elapsed().as_secs_f32());
}

/// What the machine has of a cluster: mounts, control groups, processes, and its folder.
fn traces(folder: &Path, groups: &[PathBuf], processes: &[u32]) -> io::Result<Vec<String>> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<String> = mounts
        .lines()
        .filter(|line| line.contains(name))
        .map(str::to_owned)
        .collect();
    let folders = groups.iter().map(PathBuf::as_path).chain([folder]);
    found.extend(
        folders
            .filter(|path| path.exists())
            .map(|path| path.display().to_string()),
    );
    for process in processes {
        // One that has ended is there until its parent looks, and an abandoned one's is this test.
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        if !stat.is_empty() && !stat.contains(") Z ") {
            found.push(format!("process {process}"));
        }
    }
    Ok(found)
}
