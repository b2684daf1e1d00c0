//! Tests that cannot run here are told of, and never pass.

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

/// A trial that is counted as ignored. Run all the same, by `--include-ignored`, it fails: nothing passes that was not
/// tried.
#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
pub fn skipped(name: &str, why: &str) -> Trial {
    eprintln!("SKIPPED {name}: {why}");
    let why = why.to_owned();
    Trial::test(name, move || Err(why.into())).with_ignored_flag(true)
}

/// A test program of which nothing can run here.
pub fn all_skipped(name: &str, why: &str) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), vec![skipped(name, why)]).exit_code()
}
