//! The parts that several tests share.
//!
//! Nothing depends on this crate, so it and its dependencies are never part of a shipped crate.

#![expect(
    missing_docs,
    reason = "only the tests of this package use the crate, and a name that says enough needs no comment"
)]

pub mod agents; // the agent in a real cluster
mod corpus; // real files of other people
pub mod lab; // real containerds pulling from recording registries
pub mod node_trials; // tests that run the program on nodes, as an operator does
mod on_nodes; // example programs on whole nodes
mod skip; // tests that cannot run here, told of and never passed
mod tool; // the binary under test, and the files that it works on

/// The agent's own side of the cluster's API, for tests that put it before a real API server.
pub use mirrorshift_agent::cluster;

pub use corpus::{CorpusTest, corpus, with_corpus};
pub use on_nodes::{NodeTest, run_on_nodes};
pub use skip::{all_skipped, skipped};
pub use tool::{Ran, Tool, built_example, files_below, folder_of, snapshot, static_program};
