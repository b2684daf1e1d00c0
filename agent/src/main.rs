//! The program `mirrorshift`; the library beside it is all of it.

use std::process::ExitCode;

fn main() -> ExitCode {
    mirrorshift_agent::run()
}
