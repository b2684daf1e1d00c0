//! The program `mirrorshift`. All of it is in the library `mirrorshift_agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mirrorshift_agent::run()
}
