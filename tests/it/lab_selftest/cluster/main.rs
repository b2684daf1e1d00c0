//! Tests of the lab's clusters: their parts must work, fail as requested, and leave nothing behind.

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
    (
        "control_plane_keeps_objects_over_a_crash",
        plane::control_plane_keeps_objects_over_a_crash,
    ),
    (
        "audit_log_names_the_client_of_each_request",
        plane::audit_log_names_the_client_of_each_request,
    ),
    (
        "proxy_has_the_requested_behaviour",
        plane::proxy_has_the_requested_behaviour,
    ),
    (
        "dropped_control_plane_leaves_nothing",
        plane::dropped_control_plane_leaves_nothing,
    ),
    (
        "nodes_run_pods_with_images_from_caches",
        nodes::nodes_run_pods_with_images_from_caches,
    ),
    (
        "cluster_of_a_killed_test_is_cleaned_up",
        nodes::cluster_of_a_killed_test_is_cleaned_up,
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

/// Returns what the machine still has of a cluster: mounts, control groups, processes and its folder.
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
        // A process that has ended exists until its parent waits for it. The parent of an abandoned one is this test.
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        if !stat.is_empty() && !stat.contains(") Z ") {
            found.push(format!("process {process}"));
        }
    }
    Ok(found)
}
