//! Runs one task of the lab in the namespaces of this process. See `mirrorshift_tests::lab`.

use std::io::Write;
use std::process::ExitCode;

use mirrorshift_tests::lab::inside;

fn main() -> ExitCode {
    match inside::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, only the exit status is left.
            drop(writeln!(std::io::stderr(), "lab-run: {error}"));
            ExitCode::from(inside::FAILED)
        }
    }
}
