//! The parts that several tests share.
//!
//! Nothing depends on this crate, so it and its dependencies are never part of a shipped crate.

#![expect(
    missing_docs,
    reason = "only the tests of this package use the crate, and a name that says enough needs no comment"
)]

pub mod agents; // the agent in a real cluster
mod corpus; // configuration files from public repositories
mod example_tests; // tests that run an example program on nodes
pub mod lab; // real containerds that pull from recording registries
pub mod node_tests; // tests that run the program on nodes, as an operator does
mod skip; // tests that cannot run here
mod tool; // the program under test

/// The agent's API client, for tests with a real API server.
pub use mirrorshift_agent::cluster;

pub use corpus::{CorpusTest, corpus, with_corpus};
pub use example_tests::{ExampleTest, run_example_on_nodes};
pub use skip::{all_skipped, skipped};
pub use tool::{Ran, Tool, built_example, files_below, folder_of, snapshot, static_program};
