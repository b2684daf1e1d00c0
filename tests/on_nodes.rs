//! Runs an example program on whole nodes: a trial for each release.

use crate::lab::node::NODE_LINES;
use crate::lab::{Containerd, Nodes};
use crate::skip::{all_skipped, skipped};
use crate::tool::built_example;
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// What a trial does with a release and the program.
pub type OnNodes = fn(&Nodes, &Containerd, &Path) -> Result<(), Failed>;

/// The main function of a test that runs the example `example` on nodes. `helper` is the program `lab-run`.
#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
pub fn on_nodes(helper: &str, example: &str, run: OnNodes) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Half of the time a node waits.
    arguments.test_threads.get_or_insert(NODE_LINES.len());
    let nodes = match Nodes::open(helper) {
        Ok(nodes) => Arc::new(nodes),
        Err(why) => return all_skipped(example, &why.to_string()),
    };
    let program = match built_example(example) {
        Ok(program) => Arc::new(program),
        Err(error) => {
            eprintln!("the example `{example}` cannot be built: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trials = NODE_LINES.map(|line| {
        let name = format!("{example}::{line}");
        match Nodes::containerd(line) {
            Ok(containerd) => {
                let (nodes, program) = (Arc::clone(&nodes), Arc::clone(&program));
                Trial::test(name, move || run(&nodes, &containerd, &program))
            }
            Err(why) => skipped(&name, &why.to_string()),
        }
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}
