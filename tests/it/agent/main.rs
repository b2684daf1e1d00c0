//! The agent in a real cluster: nodes with real kubelets and four releases of containerd, and a workload that runs throughout.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program's output is its report"
)]

mod clock; // another program and another time on one node
mod deaths; // agents, kubelets and pods that go in the middle of a change
mod drift; // files that somebody else writes
mod failure; // a change that fails, and the fleet that stands still
mod outage; // an API server that goes away or does not do well
mod policies; // policies that are wrong, gone, or other ones
mod refusal; // a node that cannot be changed as it is
mod rollout; // there and back
mod slots; // Leases, Nodes and objects that others write

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::agents::{AgentImage, World};
use mirrorshift_tests::all_skipped;
use mirrorshift_tests::lab::Clusters;

/// A name, the nodes of its cluster, and what is tried.
type Case = (
    &'static str,
    &'static [&'static str],
    fn(&mut World) -> Result<(), Failed>,
);

/// The longest first: the last ones have a machine to themselves.
const CASES: [Case; 9] = [
    ("who_dies_in_the_middle", &["n17", "n24"], deaths::in_the_middle),
    ("an_api_server_that_is_away", &["n16", "n21"], outage::outages),
    ("there_and_back", &["n16", "n17", "n21", "n24"], rollout::there_and_back),
    (
        "a_failure_halts_the_fleet",
        &["n16", "n17", "n21", "n24"],
        failure::halts_the_fleet,
    ),
    ("slots_and_objects_of_others", &["n21", "n24"], slots::of_others),
    ("another_program_and_another_time", &["n17", "n24"], clock::is_off),
    ("policies", &["n16", "n24"], policies::policies),
    ("a_refusal_that_passes", &["n17", "n24"], refusal::refusal),
    ("drift", &["n17", "n24"], drift::drift),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A cluster waits for most of a trial.
    arguments.test_threads.get_or_insert(3);
    let clusters = match Clusters::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(clusters) => Arc::new(clusters),
        Err(why) => return all_skipped("agent", &why.to_string()),
    };
    let image = match AgentImage::made() {
        Ok(image) => Arc::new(image),
        Err(error) => {
            eprintln!("there is no image of the agent: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trials = CASES.map(|(name, nodes, run)| {
        let (clusters, image) = (Arc::clone(&clusters), Arc::clone(&image));
        Trial::test(format!("agent::{name}"), move || {
            let mut world = World::of(&clusters, &image, nodes)?;
            let ended = run(&mut world);
            println!("{name}, what agents warned of:\n{}", world.warnings()?);
            ended
        })
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}
