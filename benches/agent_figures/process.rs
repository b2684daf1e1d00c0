//! An agent's process, as the kernel of its node sees it.

use crate::Outcome;
use mirrorshift_tests::lab::Node;
use std::time::Duration;

/// Memory in KiB.
pub(crate) struct Process {
    /// All that is in memory, of the program's file too.
    pub(crate) resident: u32,
    /// Of that, what is in no file and so nobody else's.
    pub(crate) private: u32,
    /// The most that was ever resident.
    pub(crate) most: u32,
    /// In the program and in the kernel for it, since it began.
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
            // Hundredths of a second on every Linux.
            processor: Duration::from_millis((ticks(11)? + ticks(12)?) * 10),
        })
    }
}
