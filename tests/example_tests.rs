//! Runs an example program on nodes, with one test per release.

use crate::lab::node::NODE_LINES;
use crate::lab::{Containerd, Nodes};
use crate::skip::{all_skipped, skipped};
use crate::tool::built_example;
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// The function of a test, with the release and the program.
pub type ExampleTest = fn(&Nodes, &Containerd, &Path) -> Result<(), Failed>;

/// The main function of the test `test`, which runs the example `example` on nodes. `helper` is the program
/// `lab-run`.
#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
pub fn run_example_on_nodes(helper: &str, test: &str, example: &str, run: ExampleTest) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A node waits half of the time.
    arguments.test_threads.get_or_insert(NODE_LINES.len());
    let nodes = match Nodes::open(helper) {
        Ok(nodes) => Arc::new(nodes),
        Err(why) => return all_skipped(test, &why.to_string()),
    };
    let program = match built_example(example) {
        Ok(program) => Arc::new(program),
        Err(error) => {
            eprintln!("the example `{example}` cannot be built: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trials = NODE_LINES.map(|line| {
        let name = format!("{test}::{line}");
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
