//! Prints whether a change of the running containerd may begin: `go`, `wait: …`, or one line per obstacle.
//!
//! `preflight [--repairs-cri] [--accept] [FILE…]` also inspects these files, in addition to containerd's root file.

#![expect(clippy::print_stdout, reason = "the purpose of this example is to print")]

use mirrorshift_containerd::{DEFAULT_CONFIG, Version};
use mirrorshift_node::{ChangeIntent, ObserveOptions, Root, observe};
use mirrorshift_plan::preflight::{PreflightResult, preflight};
use rustix::time::{ClockId, clock_gettime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, files): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    let facts = observe(
        &Root::open("/")?,
        &ObserveOptions {
            files,
            ..ObserveOptions::default()
        },
    )?;
    let now = clock_gettime(ClockId::Monotonic);
    let version: Version = match facts.containerd.version.value() {
        Some(version) => version.parse()?,
        None => "1.7.24".parse()?,
    };
    let ground = facts.node_conditions(
        version,
        &ChangeIntent {
            planned_for: DEFAULT_CONFIG.to_owned(),
            written_bytes: 4096,
            repairs_cri: flags.iter().any(|flag| flag == "--repairs-cri"),
            containers_may_restart: flags.iter().any(|flag| flag == "--accept"),
            now_s: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)?
                .as_secs(),
            now_monotonic_us: u64::try_from(now.tv_sec)? * 1_000_000 + u64::try_from(now.tv_nsec)? / 1000,
        },
    );
    match preflight(&ground) {
        PreflightResult::Go => println!("go"),
        PreflightResult::Wait(busy) => busy.iter().for_each(|busy| println!("wait: {busy}")),
        PreflightResult::Refuse(obstacles) => obstacles
            .iter()
            .for_each(|obstacle| println!("{}: {obstacle}", obstacle.id())),
    }
    Ok(())
}
