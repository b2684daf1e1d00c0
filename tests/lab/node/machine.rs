//! The processes of a booted node: nspawn, and the node's init under it.

use std::fs::{
    File, {self},
};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cgroups;
use super::folder::LabFolder;

/// The pause between two checks.
const STEP: Duration = Duration::from_millis(10);
/// Time limit for init to appear or to end. It takes 0.1 s.
const INIT: Duration = Duration::from_secs(20);

/// nspawn's exit code when the node requests a reboot.
const REBOOT: i32 = 133;

/// Capabilities that no process of a node may have, because they would change the machine's clock or kernel modules.
pub(super) const DENIED: &str = "-sys_time,-sys_module";

/// A node's processes. They are killed when this is dropped.
#[derive(Debug)]
pub(super) struct NodeProcesses {
    nspawn: Child,
    /// `Pid::INIT` until the node's init is known.
    init: Pid,
    groups: Vec<PathBuf>,
}

impl NodeProcesses {
    /// Starts the node's init in the namespaces of `holder`.
    pub(super) fn start(folder: &LabFolder, holder: u32) -> io::Result<Self> {
        folder.make_groups()?;
        let console = File::options()
            .create(true)
            .append(true)
            .open(folder.path.join("console"))?;
        let network = format!("/proc/{holder}/ns/net");
        let mut command = folder.joined();
        command.args(["setpriv", "--bounding-set", DENIED]);
        command.args([
            "nsenter",
            &format!("--mount=/proc/{holder}/ns/mnt"),
            &format!("--net={network}"),
            "--",
        ]);
        command
            .args([
                "systemd-nspawn",
                "--boot",
                "--register=no",
                "--keep-unit",
                "--link-journal=no",
            ])
            .args(["--resolv-conf=off", "--timezone=off", "--quiet"])
            .args(["--capability=all", "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE"])
            .args(["--system-call-filter=@keyring", "--bind=/dev/kmsg"])
            .arg(format!("--network-namespace-path={network}"))
            .arg(format!("--machine={}", folder.name))
            .arg("-D")
            .arg(folder.path.join("root"))
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0);
        let nspawn = command.spawn()?;
        let mut machine = Self {
            nspawn,
            init: Pid::INIT,
            groups: folder.cgroups.clone(),
        };
        machine.find_init(&folder.path)?;
        Ok(machine)
    }

    /// The process id of the node's init, as the test's machine sees it.
    pub(super) fn init(&self) -> Pid {
        self.init
    }

    /// Waits for the node's init.
    fn find_init(&mut self, folder: &Path) -> io::Result<()> {
        let deadline = Instant::now() + INIT;
        while Instant::now() < deadline {
            if let Some(status) = self.nspawn.try_wait()? {
                let said = fs::read_to_string(folder.join("console")).unwrap_or_default();
                return Err(io::Error::other(format!("nspawn ended with {status}: {}", said.trim())));
            }
            if let Some(init) = self.init_below() {
                self.init = init;
                return Ok(());
            }
            sleep(STEP);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the node has no init"))
    }

    /// The first process of a new namespace under nspawn, once it no longer runs nspawn's code.
    fn init_below(&self) -> Option<Pid> {
        let nspawn = self.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        children.split_whitespace().find_map(|child| {
            let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
            let first = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            let own = first.split_whitespace().count() > 1 && first.trim_end().ends_with("\t1");
            let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
            (own && name.trim_end() == "systemd").then(|| Pid::from_raw(child.parse().ok()?))?
        })
    }

    /// Kills all processes of the node, like a reset. What they wrote stays in the page cache, so this is a crash and
    /// not a power cut.
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.end()
    }

    /// Waits until the node has shut down itself, as it was ordered to.
    pub(super) fn went_down(mut self, within: Duration) -> io::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            match self.nspawn.try_wait()?.map(|status| status.code()) {
                Some(Some(REBOOT)) => return self.end(),
                Some(other) => return Err(io::Error::other(format!("nspawn ended with {other:?}"))),
                None if Instant::now() > deadline => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the node does not go down"));
                }
                None => sleep(STEP),
            }
        }
    }

    /// Leaves the processes running, for another process to end.
    pub(super) fn leave(self) {
        std::mem::forget(self);
    }

    fn end(&mut self) -> io::Result<()> {
        // When the first process of their namespace ends, all others end. Killing nspawn would not end them.
        if self.init != Pid::INIT {
            let _ = kill_process(self.init, Signal::KILL);
        }
        let deadline = Instant::now() + INIT;
        while self.nspawn.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.nspawn.kill()?;
            }
            sleep(STEP);
        }
        cgroups::kill(&self.groups)?;
        cgroups::remove(&self.groups)
    }
}

impl Drop for NodeProcesses {
    fn drop(&mut self) {
        // Any remaining process is in the folder's groups, which are killed next.
        drop(self.end());
    }
}
