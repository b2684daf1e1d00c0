//! Tests that cannot run here are reported as skipped, and never pass.

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

/// Returns a `Trial` that is counted as ignored. It fails with `--include-ignored`, because nothing passes without a
/// test.
#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
pub fn skipped(name: &str, why: &str) -> Trial {
    eprintln!("SKIPPED {name}: {why}");
    let why = why.to_owned();
    Trial::test(name, move || Err(why.into())).with_ignored_flag(true)
}

/// Reports a test program as skipped.
pub fn all_skipped(name: &str, why: &str) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), vec![skipped(name, why)]).exit_code()
}
