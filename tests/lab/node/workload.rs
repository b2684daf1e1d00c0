//! The workloads of a node: sandboxes, and containers whose log shows whether they ever stopped.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tonic::Status;

use super::Node;
use crate::lab::cri::{Cri, Ready, Sandbox};
use crate::lab::scene::Image;

/// The image that every node has.
pub const IMAGE: &str = "lab.test/tools:1";
/// The path of its archive in a node.
pub(super) const ARCHIVE: &str = "/lab/tools.tar";
/// A gap in the log counts as an interruption from this length on. Two numbers are a third of it apart. The gap at a
/// restart of containerd is longer: 50 to 145 ms in 600 restarts, on each release alike.
const STILL: SignedDuration = SignedDuration::from_millis(30);
/// Time limit of one call.
const CALL: Duration = Duration::from_mins(1);

/// Prints a number every 10 ms. It waits with a read from a pipe without input, because each `sleep` would be a new
/// process. The first process of a container ignores signals by default, so it has a handler for `TERM`.
pub(in crate::lab) const COUNT: &str = "trap 'exit 0' TERM; mkfifo /tmp/never; exec 3<> /tmp/never; i=0; \
    while :; do i=$((i + 1)); echo $i; read -t 0.01 -u 3 never; done";

/// A synchronous client of a node's CRI. Every call has a time limit.
pub struct NodeCri {
    runtime: Runtime,
    cri: Cri,
}

/// A sandbox with one counting container.
#[derive(Clone, Debug)]
pub struct Workload {
    pub sandbox: String,
    pub container: String,
    /// The path of the container's log in the node.
    pub log: String,
}

/// The numbers that a counting container has logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub last: u64,
    /// The count of missing numbers at interruptions, such as a restart of containerd. containerd loses what it has
    /// read and not yet written when it stops, for whatever reason: `tests/campaign/kills` counts the loss of plain
    /// restarts.
    pub lost: u64,
}

/// The main process of a sandbox or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerProcess {
    /// The process id in the node.
    pub pid: i32,
    /// The start time in ticks since the machine's boot, because process ids are reused.
    pub started: u64,
}

impl NodeCri {
    /// Connects to a socket. Fails if no process listens there.
    pub(super) fn connect(socket: PathBuf) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let cri = runtime
            .block_on(async { tokio::time::timeout(CALL, Cri::connect(socket)).await })?
            .map_err(io::Error::other)?;
        Ok(Self { runtime, cri })
    }

    /// Returns CRI's status. It fails with `Unimplemented` if the CRI plugin did not load.
    pub fn status(&mut self) -> io::Result<Ready> {
        self.wait(Cri::status)
    }

    /// Pulls an image as the kubelet does. The error is containerd's text.
    pub fn pull(&mut self, image: &Image) -> Result<(), String> {
        self.runtime.block_on(self.cri.pull(image, CALL))
    }

    /// Returns the ids of all sandboxes and containers in any state.
    pub fn ids(&mut self) -> io::Result<(Vec<String>, Vec<String>)> {
        Ok((self.wait(Cri::sandboxes)?, self.wait(Cri::containers)?))
    }

    fn wait<'a, T, F>(&'a mut self, call: impl FnOnce(&'a mut Cri) -> F) -> io::Result<T>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let call = call(&mut self.cri);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(CALL, call).await })?;
        answer.map_err(|status| io::Error::other(format!("CRI: {}", status.message())))
    }
}

impl Node {
    /// Starts a sandbox with its own address, or in the node's network.
    pub fn start_sandbox(&self, name: &str, host_network: bool) -> io::Result<String> {
        let logs = logs(name);
        let sandbox = sandbox(name, host_network, &logs);
        let mut cri = self.cri()?;
        self.have_image(&mut cri)?;
        cri.wait(|cri| cri.run_sandbox(&sandbox))
    }

    /// Starts a sandbox, and in it a container that prints the next number every 10 ms.
    pub fn start_workload(&self, name: &str) -> io::Result<Workload> {
        let logs = logs(name);
        let sandbox = sandbox(name, false, &logs);
        let mut cri = self.cri()?;
        self.have_image(&mut cri)?;
        let id = cri.wait(|cri| cri.run_sandbox(&sandbox))?;
        let command = ["/bin/sh", "-c", COUNT];
        let container = cri.wait(|cri| cri.run_container((&id, &sandbox), IMAGE, &command, "count.log"))?;
        Ok(Workload {
            sandbox: id,
            container,
            log: format!("{logs}/count.log"),
        })
    }

    /// The main process of every running sandbox and container, by id.
    pub fn pids(&self) -> io::Result<BTreeMap<String, ContainerProcess>> {
        let mut cri = self.cri()?;
        let (sandboxes, containers) = cri.ids()?;
        let mut pids = BTreeMap::new();
        for id in sandboxes {
            let one = cri.wait(|cri| cri.sandbox_status(&id))?;
            if one.state == 0 {
                pids.insert(id, self.process(one.pid)?);
            }
        }
        for id in containers {
            let one = cri.wait(|cri| cri.container_status(&id))?;
            if one.state == 1 {
                pids.insert(id, self.process(one.pid)?);
            }
        }
        Ok(pids)
    }

    /// Returns what a workload has logged. An error names the first number that is repeated or malformed, or that is
    /// missing without an interruption of the log.
    pub fn counted(&self, workload: &Workload) -> io::Result<Counted> {
        let log = String::from_utf8(self.read(&workload.log)?).map_err(io::Error::other)?;
        counted(&log).map_err(io::Error::other)
    }

    /// Waits until a workload has logged `more` further numbers, and returns what it has logged then. Fails at once
    /// when the log is inconsistent.
    pub fn log_flows(&self, workload: &Workload, more: u64, within: Duration) -> io::Result<Counted> {
        let start = self.counted(workload)?.last;
        let look = || {
            Ok(match self.counted(workload) {
                Ok(now) if now.last < start + more => None,
                other => Some(other),
            })
        };
        self.until("the container logs no further number", within, look)?
    }

    /// Imports an image archive of the machine. CRI knows the image as `reference` when this returns.
    pub fn import(&self, archive: &Path, reference: &str) -> io::Result<()> {
        const INSIDE: &str = "/run/lab-image.tar";
        self.copy_in(archive, INSIDE)?;
        let imported = self.take_image(&mut self.cri()?, INSIDE, reference);
        self.run(&["rm", "-f", INSIDE])?;
        imported
    }

    fn have_image(&self, cri: &mut NodeCri) -> io::Result<()> {
        if cri.wait(|cri| cri.has_image(IMAGE))? {
            return Ok(());
        }
        self.take_image(cri, ARCHIVE, IMAGE)
    }

    fn take_image(&self, cri: &mut NodeCri, archive: &str, reference: &str) -> io::Result<()> {
        self.run(&["ctr", "-n", "k8s.io", "images", "import", archive])?.ok()?;
        // CRI learns of the image by an event.
        self.until("CRI does not learn of the image", CALL, || {
            Ok(cri.wait(|cri| cri.has_image(reference))?.then_some(()))
        })
    }

    fn process(&self, pid: i32) -> io::Result<ContainerProcess> {
        ContainerProcess::parse(pid, &String::from_utf8_lossy(&self.read(&format!("/proc/{pid}/stat"))?))
    }
}

impl ContainerProcess {
    /// Parses `/proc/PID/stat`.
    pub(in crate::lab) fn parse(pid: i32, stat: &str) -> io::Result<Self> {
        // The name may contain any character, and ends at the last bracket.
        let started = stat
            .rsplit_once(") ")
            .and_then(|(_, fields)| fields.split(' ').nth(19)?.parse().ok());
        let started = started.ok_or_else(|| io::Error::other(format!("process {pid}: {stat}")))?;
        Ok(Self { pid, started })
    }
}

fn logs(name: &str) -> String {
    format!("/var/log/pods/lab_{name}")
}

fn sandbox<'a>(name: &'a str, host_network: bool, logs: &'a str) -> Sandbox<'a> {
    Sandbox {
        name,
        host_network,
        logs,
    }
}

/// Reads a log in CRI's format (`time stream tag text`), whose texts must be 1, 2, 3 and so on. A last line without a
/// line end is still being written.
fn counted(log: &str) -> Result<Counted, String> {
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let mut counted = Counted::default();
    let mut before: Option<Timestamp> = None;
    for line in whole.lines() {
        let broken = || format!("after {} comes `{line}`", counted.last);
        let mut fields = line.splitn(4, ' ');
        let time: Timestamp = fields.next().and_then(|time| time.parse().ok()).ok_or_else(broken)?;
        let number: u64 = fields.nth(2).and_then(|text| text.parse().ok()).ok_or_else(broken)?;
        let missing = number.checked_sub(counted.last + 1).ok_or_else(broken)?;
        let stood_still = before.is_some_and(|before| time.duration_since(before) >= STILL);
        if missing > 0 && !stood_still {
            return Err(broken());
        }
        counted.last = number;
        counted.lost += missing;
        before = Some(time);
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::{Counted, counted};

    /// Returns log lines that are 10 ms apart, with a gap of 40 ms at each missing number.
    fn log(numbers: &[&str]) -> String {
        let mut time = 0;
        let mut line = |number: &&str| {
            time += if number.is_empty() { 40 } else { 10 };
            let (seconds, millis) = (time / 1000, time % 1000);
            let line = format!("2026-01-02T03:04:{seconds:02}.{millis:03}901234Z stdout F {number}\n");
            (!number.is_empty()).then_some(line)
        };
        numbers.iter().filter_map(&mut line).collect()
    }

    const fn all(last: u64) -> Counted {
        Counted { last, lost: 0 }
    }

    #[test]
    fn complete_log_loses_no_number() {
        assert_eq!(counted(""), Ok(all(0)));
        assert_eq!(counted(&log(&["1", "2", "3"])), Ok(all(3)));
        assert_eq!(counted(&log(&["1", "", "2", "3"])), Ok(all(3)));
        assert_eq!(counted(&format!("{}2026-01-02T03", log(&["1"]))), Ok(all(1)));
    }

    #[test]
    fn numbers_missing_at_an_interruption_are_counted() {
        let lost = counted(&log(&["1", "2", "", "5", "6", "", "8"]));
        assert_eq!(lost, Ok(Counted { last: 8, lost: 3 }));
    }

    #[test]
    fn each_kind_of_gap_is_an_error() {
        for numbers in [
            &["2"][..],
            &["", "2"],
            &["1", "3"],
            &["1", "1"],
            &["1", "", "1"],
            &["1", "2", "", "1"],
            &["1", "2x"],
            &["1", "", "2x"],
        ] {
            assert!(counted(&log(numbers)).is_err(), "{numbers:?}");
        }
        assert!(counted("1\n2\n").is_err());
    }
}
