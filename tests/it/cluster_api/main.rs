//! The agent's API client at a real API server: which requests it sends and how often, which agent gets a slot, and
//! what the admission policy refuses.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod admission;
/// The NodeMirror.
mod node_mirror_writer;
mod outage;
/// The requests that the admission policy must refuse.
mod refusals;
mod slots;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::all_skipped;
use mirrorshift_tests::lab::ControlPlanes;

type Run = fn(&ControlPlanes) -> Result<(), Failed>;

const CASES: [(&str, Run); 9] = [
    (
        "object_is_only_written_when_it_differs",
        node_mirror_writer::object_is_only_written_when_it_differs,
    ),
    (
        "object_is_deleted_with_its_node",
        node_mirror_writer::object_is_deleted_with_its_node,
    ),
    ("slot_is_acquired_and_released", slots::slot_is_acquired_and_released),
    (
        "three_of_twenty_agents_get_a_slot",
        slots::three_of_twenty_agents_get_a_slot,
    ),
    (
        "slot_is_deleted_only_with_its_node",
        slots::slot_is_deleted_only_with_its_node,
    ),
    (
        "agent_writes_only_for_its_own_node",
        admission::agent_writes_only_for_its_own_node,
    ),
    (
        "each_part_of_the_admission_policy_is_needed",
        admission::each_part_of_the_admission_policy_is_needed,
    ),
    (
        "account_has_only_the_rights_that_it_needs",
        admission::account_has_only_the_rights_that_it_needs,
    ),
    (
        "failing_api_server_is_not_flooded_with_requests",
        outage::failing_api_server_is_not_flooded_with_requests,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // An API server is slow to start and to stop, and has little to do in between.
    arguments.test_threads.get_or_insert(4);
    let planes = match ControlPlanes::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(planes) => Arc::new(planes),
        Err(why) => return all_skipped("cluster_api", &why.to_string()),
    };
    let trials = CASES.map(|(name, run)| {
        let planes = Arc::clone(&planes);
        Trial::test(format!("cluster_api::{name}"), move || run(&planes))
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}
