//! Prints the facts of the running machine as JSON, and how long the observation took. It needs root to read the
//! processes of other users.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the purpose of this example is to print"
)]

use mirrorshift_node::{ObserveOptions, Root, observe};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let files = std::env::args().skip(1).collect();
    let facts = observe(
        &Root::open("/")?,
        &ObserveOptions {
            files,
            images: true,
            ..ObserveOptions::default()
        },
    )?;
    let duration = start.elapsed();
    println!("{}", serde_json::to_string_pretty(&facts)?);
    eprintln!("{} ms", duration.as_millis());
    Ok(())
}
