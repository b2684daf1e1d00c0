//! The agent in a real cluster: nodes with real kubelets and four releases of containerd, and a workload that runs
//! all the time.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program's output is its report"
)]

mod clock; // two programs with different clocks
mod deaths; // agents, kubelets and pods that end during a change
mod drift; // files that another program changes
mod failure; // a change that fails and halts the fleet
mod outage; // an API server that is down or overloaded
mod policies; // policies that are invalid, missing or changed quickly
mod refusal; // a node that refuses the change
mod rollout; // observe, migrate and roll back
mod slots; // Leases, Nodes and objects that other clients change

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::agents::{AgentImage, World};
use mirrorshift_tests::all_skipped;
use mirrorshift_tests::lab::Clusters;

/// A name, the nodes of its cluster, and the test.
type Case = (
    &'static str,
    &'static [&'static str],
    fn(&mut World) -> Result<(), Failed>,
);

/// The longest comes first, so that all end at about the same time.
const CASES: [Case; 9] = [
    (
        "agents_killed_during_a_change_are_not_missed",
        &["n17", "n24"],
        deaths::agents_killed_during_a_change_are_not_missed,
    ),
    (
        "changes_end_without_an_api_server",
        &["n16", "n21"],
        outage::changes_end_without_an_api_server,
    ),
    (
        "fleet_is_migrated_and_rolled_back",
        &["n16", "n17", "n21", "n24"],
        rollout::fleet_is_migrated_and_rolled_back,
    ),
    (
        "failed_change_halts_the_fleet",
        &["n16", "n17", "n21", "n24"],
        failure::failed_change_halts_the_fleet,
    ),
    (
        "slots_changed_by_other_clients_are_respected",
        &["n21", "n24"],
        slots::slots_changed_by_other_clients_are_respected,
    ),
    (
        "clock_an_hour_ahead_changes_nothing",
        &["n17", "n24"],
        clock::clock_an_hour_ahead_changes_nothing,
    ),
    (
        "invalid_policy_keeps_the_last_valid_one",
        &["n16", "n24"],
        policies::invalid_policy_keeps_the_last_valid_one,
    ),
    (
        "refused_node_continues_once_the_obstacle_is_gone",
        &["n17", "n24"],
        refusal::refused_node_continues_once_the_obstacle_is_gone,
    ),
    (
        "drifted_file_is_repaired_once",
        &["n17", "n24"],
        drift::drifted_file_is_repaired_once,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A cluster waits most of the time.
    arguments.test_threads.get_or_insert(3);
    let clusters = match Clusters::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(clusters) => Arc::new(clusters),
        Err(why) => return all_skipped("agent", &why.to_string()),
    };
    let image = match AgentImage::made() {
        Ok(image) => Arc::new(image),
        Err(error) => {
            eprintln!("the agent's image cannot be built: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trials = CASES.map(|(name, nodes, run)| {
        let (clusters, image) = (Arc::clone(&clusters), Arc::clone(&image));
        Trial::test(format!("agent::{name}"), move || {
            let mut world = World::of(&clusters, &image, nodes)?;
            let ended = run(&mut world);
            println!("{name}, warnings of the agents:\n{}", world.warnings()?);
            ended
        })
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}
