//! The resource usage of an agent's process, as the kernel of its node reports it.

use crate::Outcome;
use mirrorshift_tests::lab::Node;
use std::time::Duration;

/// Memory in KiB.
pub(crate) struct Process {
    /// All resident memory, including the program's file.
    pub(crate) resident: u32,
    /// The part of it that is not backed by a file, and so is not shared.
    pub(crate) private: u32,
    /// The peak of the resident memory.
    pub(crate) most: u32,
    /// User and system time since the start.
    pub(crate) processor: Duration,
}

impl Process {
    pub(crate) fn of_agent(node: &Node) -> Outcome<Self> {
        let script = "for process in /proc/[0-9]*; do \
            case $(tr '\\0' ' ' < $process/cmdline 2> /dev/null) in '/mirrorshift agent '*) cat $process/status $process/stat;; esac; done";
        let text = node.run(&["sh", "-c", script])?.ok()?.stdout;
        let size = |name: &str| -> Outcome<u32> {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .ok_or("no agent runs")?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        let last = text.lines().last().unwrap_or_default();
        let fields: Vec<&str> = last.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| -> Outcome<u64> { Ok(fields.get(at).ok_or("a short stat")?.parse()?) };
        Ok(Self {
            resident: size("VmRSS:")?,
            private: size("RssAnon:")?,
            most: size("VmHWM:")?,
            // The unit is 10 ms on every Linux.
            processor: Duration::from_millis((ticks(11)? + ticks(12)?) * 10),
        })
    }
}
