//! Runs one task of the lab in the namespaces that it is started in. See `mirrorshift_tests::lab`.

use std::io::Write;
use std::process::ExitCode;

use mirrorshift_tests::lab::inside;

fn main() -> ExitCode {
    match inside::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With nobody to read it there is nothing left to do but the exit status.
            drop(writeln!(std::io::stderr(), "lab-run: {error}"));
            ExitCode::from(inside::FAILED)
        }
    }
}
