//! The agent in a real cluster: four nodes with real kubelets and four releases of containerd, and a workload that runs
//! throughout.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program's output is its report"
)]

mod image; // of the agent
mod world; // a cluster with the agent in it

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::all_skipped;
use mirrorshift_tests::lab::Clusters;
use world::World;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let clusters = match Clusters::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(clusters) => Arc::new(clusters),
        Err(why) => return all_skipped("agent", &why.to_string()),
    };
    let image = match image::made() {
        Ok(image) => Arc::new(image),
        Err(error) => {
            eprintln!("there is no image of the agent: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trial = Trial::test("agent::there_and_back", move || {
        there_and_back(&World::new(&clusters, &image)?)
    });
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// Observed, migrated one node at a time, and taken back; what runs meanwhile does not notice.
fn there_and_back(world: &World) -> Result<(), Failed> {
    let before = world.files()?;
    world.apply("observe")?;
    world.all("Pending")?;
    println!("{}", world.progress()?);
    assert_eq!(world.files()?, before, "observing changed a file");

    let mark = world.cluster.plane.audit().mark()?;
    world.apply("migrate")?;
    world.all("Migrated")?;
    println!("{}", world.progress()?);
    let (most, taken) = world.held_at_once(mark)?;
    println!("slots were taken {taken} times, and at most {most} were held at one time");
    assert_eq!(most, 1);
    assert!(taken >= 4, "{taken}");
    world.workload_is_unbroken()?;
    for files in world.files()?.values() {
        assert!(files.contains("config_path"), "{files}");
    }

    world.apply("rollback")?;
    world.all("RolledBack")?;
    println!("{}", world.progress()?);
    world.workload_is_unbroken()?;
    assert_eq!(world.files()?, before, "the way back");
    Ok(())
}
