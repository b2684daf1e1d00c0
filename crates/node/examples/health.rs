//! Keeps what serves on the running machine in a file, or says how it serves against that.
//!
//! `health keep FILE` and `health compare FILE`; the latter prints the health and a line for each difference.

#![expect(clippy::print_stdout, reason = "printing is what this example is for")]

use mirrorshift_node::{Baseline, ObserveOptions, Root, observe};
use std::fs;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let facts = observe(&Root::open("/")?, &ObserveOptions::default())?;
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["keep", file] => {
            let baseline = Baseline::of(&facts).ok_or("nothing can be compared with what cannot be asked")?;
            fs::write(file, serde_json::to_vec(&baseline)?)?;
        }
        ["compare", file] => {
            let baseline: Baseline = serde_json::from_slice(&fs::read(file)?)?;
            let compared = baseline.compared(&facts);
            println!("{:?}", compared.health);
            compared
                .differences
                .iter()
                .for_each(|difference| println!("{difference}"));
        }
        _ => return Err("usage: health keep|compare FILE".into()),
    }
    Ok(())
}
