//! Writes the baseline of the running machine to a file, or compares the machine with it.
//!
//! `health keep FILE` writes the baseline. `health compare FILE` prints the health, and one line per difference.

#![expect(clippy::print_stdout, reason = "the purpose of this example is to print")]

use mirrorshift_node::{Baseline, ObserveOptions, Root, observe};
use std::fs;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let facts = observe(&Root::open("/")?, &ObserveOptions::default())?;
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["keep", file] => {
            let baseline = Baseline::from_facts(&facts).ok_or("containerd or its CRI cannot be observed")?;
            fs::write(file, serde_json::to_vec(&baseline)?)?;
        }
        ["compare", file] => {
            let baseline: Baseline = serde_json::from_slice(&fs::read(file)?)?;
            let report = baseline.compare(&facts);
            println!("{:?}", report.health);
            report
                .differences
                .iter()
                .for_each(|difference| println!("{difference}"));
        }
        _ => return Err("usage: health keep|compare FILE".into()),
    }
    Ok(())
}
