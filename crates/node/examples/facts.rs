//! Prints the facts of the running machine as JSON, and how long they took. Needs root for other users' processes.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this example is for"
)]

use mirrorshift_node::{ObserveOptions, Root, observe};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let files = std::env::args().skip(1).collect();
    let facts = observe(
        &Root::open("/")?,
        &ObserveOptions {
            files,
            ..ObserveOptions::default()
        },
    )?;
    let took = begun.elapsed();
    println!("{}", serde_json::to_string_pretty(&facts)?);
    eprintln!("{} ms", took.as_millis());
    Ok(())
}
