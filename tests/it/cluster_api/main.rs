//! The agent's side of the API against a real one: what it writes and how often, who gets a slot, and what the admission policy
//! keeps from it.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

/// The admission policy and RBAC, verb by verb.
mod admission;
/// Slots.
mod gate;
/// The node's object.
mod mirror;
/// An API server that fails.
mod outage;
/// What the admission policy is to refuse.
mod refusals;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::all_skipped;
use mirrorshift_tests::lab::ControlPlanes;

type Run = fn(&ControlPlanes) -> Result<(), Failed>;

const CASES: [(&str, Run); 9] = [
    (
        "the_object_is_written_where_it_differs",
        mirror::written_where_it_differs,
    ),
    ("the_object_goes_with_its_node", mirror::goes_with_its_node),
    ("slots_are_taken_and_given_back", gate::taken_and_given_back),
    ("of_twenty_who_race_three_get_a_slot", gate::races),
    ("a_slot_goes_with_its_node_alone", gate::goes_with_its_node),
    ("an_agent_writes_for_its_own_node_alone", admission::own_node_alone),
    (
        "each_part_of_the_admission_policy_is_needed",
        admission::each_part_is_needed,
    ),
    ("an_agent_may_do_what_it_must_and_no_more", admission::least_rights),
    ("an_api_server_that_fails_is_left_in_peace", outage::left_in_peace),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // An API server is slow to start and to stop, and does little between.
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
