//! What runs on a node: sandboxes, and containers whose log shows whether they were ever held up.

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
/// Its archive in a node.
pub(super) const ARCHIVE: &str = "/lab/tools.tar";
/// A log that had no line for so long stood still. Two numbers are a third of it apart, and it lasts longer over a restart of
/// containerd: 50 to 145 ms in 600 of them, of each release alike.
const STILL: SignedDuration = SignedDuration::from_millis(30);
/// How long one call may take.
const CALL: Duration = Duration::from_mins(1);

/// Prints a number each hundredth of a second: by waiting for input that never comes, as a `sleep` would be a process each
/// time. The first process of a container has no default signals, so it ends when told because it says so.
pub(in crate::lab) const COUNT: &str = "trap 'exit 0' TERM; mkfifo /tmp/never; exec 3<> /tmp/never; i=0; \
    while :; do i=$((i + 1)); echo $i; read -t 0.01 -u 3 never; done";

/// CRI of a node, for tests: every call has a deadline.
pub struct NodeCri {
    runtime: Runtime,
    cri: Cri,
}

/// A sandbox with one container, which counts.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The sandbox's id.
    pub sandbox: String,
    /// The container's id.
    pub container: String,
    /// The container's log, by its path in the node.
    pub log: String,
}

/// What a counting container has logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The last number.
    pub last: u64,
    /// Numbers that are missing where the log stood still, as it does while containerd is restarted. containerd loses what it
    /// has read and not yet written when it is stopped, whoever stops it: `tests/campaign/kills` counts that of bare restarts.
    pub lost: u64,
}

/// The main process of a sandbox or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// Its number in the node.
    pub pid: i32,
    /// When it was started, in ticks since the machine's boot: numbers are used again.
    pub started: u64,
}

impl NodeCri {
    /// Connects to a socket. Fails while nobody listens there.
    pub(super) fn connect(socket: PathBuf) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let cri = runtime
            .block_on(async { tokio::time::timeout(CALL, Cri::connect(socket)).await })?
            .map_err(io::Error::other)?;
        Ok(Self { runtime, cri })
    }

    /// What the runtime service says of itself.
    ///
    /// # Errors
    ///
    /// When it is not there, which is what it looks like when the CRI plugin did not load.
    pub fn status(&mut self) -> io::Result<Ready> {
        self.wait(Cri::status)
    }

    /// Pulls as kubelet does. The error's text is containerd's.
    pub fn pull(&mut self, image: &Image) -> Result<(), String> {
        self.runtime.block_on(self.cri.pull(image, CALL))
    }

    /// Ids of all sandboxes and containers, in whatever state.
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
    /// Starts a sandbox with an address of its own, or in the node's network.
    ///
    /// # Errors
    ///
    /// containerd's.
    pub fn start_sandbox(&self, name: &str, host_network: bool) -> io::Result<String> {
        let logs = logs(name);
        let sandbox = sandbox(name, host_network, &logs);
        let mut cri = self.cri()?;
        self.have_image(&mut cri)?;
        cri.wait(|cri| cri.run_sandbox(&sandbox))
    }

    /// Starts a sandbox, and in it a container that prints the next number each hundredth of a second.
    ///
    /// # Errors
    ///
    /// containerd's.
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

    /// The main process of every sandbox and container that runs, by id.
    ///
    /// # Errors
    ///
    /// When CRI does not answer.
    pub fn pids(&self) -> io::Result<BTreeMap<String, Process>> {
        let mut cri = self.cri()?;
        let (sandboxes, containers) = cri.ids()?;
        let mut pids = BTreeMap::new();
        for id in sandboxes {
            let one = cri.wait(|cri| cri.sandbox(&id))?;
            if one.state == 0 {
                pids.insert(id, self.process(one.pid)?);
            }
        }
        for id in containers {
            let one = cri.wait(|cri| cri.container(&id))?;
            if one.state == 1 {
                pids.insert(id, self.process(one.pid)?);
            }
        }
        Ok(pids)
    }

    /// What a workload has logged.
    ///
    /// # Errors
    ///
    /// Naming the first place where a number is doubled or broken, or is missing where the log flowed.
    pub fn counted(&self, workload: &Workload) -> io::Result<Counted> {
        let log = String::from_utf8(self.read(&workload.log)?).map_err(io::Error::other)?;
        counted(&log).map_err(io::Error::other)
    }

    /// Waits until a workload has counted `more` numbers beyond those that are there; what it has logged then.
    ///
    /// # Errors
    ///
    /// When they do not come in time, or at once when the log is broken.
    pub fn log_flows(&self, workload: &Workload, more: u64, within: Duration) -> io::Result<Counted> {
        let start = self.counted(workload)?.last;
        let look = || {
            Ok(match self.counted(workload) {
                Ok(now) if now.last < start + more => None,
                other => Some(other),
            })
        };
        self.until("the log does not flow", within, look)?
    }

    /// Puts an image of an archive of the machine on the node. CRI knows it by `reference` when this returns.
    ///
    /// # Errors
    ///
    /// When containerd does not take it.
    pub fn import(&self, archive: &Path, reference: &str) -> io::Result<()> {
        const INSIDE: &str = "/run/lab-image.tar";
        self.copy_in(archive, INSIDE)?;
        let imported = self.take_image(&mut self.cri()?, INSIDE, reference);
        self.run(&["rm", "-f", INSIDE])?;
        imported
    }

    fn have_image(&self, cri: &mut NodeCri) -> io::Result<()> {
        if cri.wait(|cri| cri.holds(IMAGE))? {
            return Ok(());
        }
        self.take_image(cri, ARCHIVE, IMAGE)
    }

    fn take_image(&self, cri: &mut NodeCri, archive: &str, reference: &str) -> io::Result<()> {
        self.run(&["ctr", "-n", "k8s.io", "images", "import", archive])?.ok()?;
        // CRI comes to know of it by an event.
        self.until("CRI does not come to know its image", CALL, || {
            Ok(cri.wait(|cri| cri.holds(reference))?.then_some(()))
        })
    }

    fn process(&self, pid: i32) -> io::Result<Process> {
        Process::parse(pid, &String::from_utf8_lossy(&self.read(&format!("/proc/{pid}/stat"))?))
    }
}

impl Process {
    /// From what the kernel has in `/proc/PID/stat`.
    ///
    /// # Errors
    ///
    /// With that, when it cannot be read.
    pub(in crate::lab) fn parse(pid: i32, stat: &str) -> io::Result<Self> {
        // The name may hold anything, and is in the last brackets.
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

/// Reads a log in CRI's format (`time stream tag text`), whose texts are to be 1, 2, 3 and so on. A last line without an end
/// is still being written.
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

    /// Lines ten milliseconds apart, and 40 where there is none.
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
    fn a_log_without_gaps_is_counted() {
        assert_eq!(counted(""), Ok(all(0)));
        assert_eq!(counted(&log(&["1", "2", "3"])), Ok(all(3)));
        assert_eq!(counted(&log(&["1", "", "2", "3"])), Ok(all(3)));
        assert_eq!(counted(&format!("{}2026-01-02T03", log(&["1"]))), Ok(all(1)));
    }

    #[test]
    fn what_a_restart_has_lost_is_told() {
        let lost = counted(&log(&["1", "2", "", "5", "6", "", "8"]));
        assert_eq!(lost, Ok(Counted { last: 8, lost: 3 }));
    }

    #[test]
    fn every_kind_of_gap_is_seen() {
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
