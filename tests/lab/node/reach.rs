//! A test's actions in a node: run programs, read and write files, send requests to CRI and systemd, wait.

use std::fs::File;
use std::io::{
    Read, Write, {self},
};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::machine::DENIED;
use super::{Node, NodeCri};
use crate::lab::inside::hold::Order;
use crate::lab::{Image, Request};
use crate::tool::Ran;

/// Time limit of a program in a node, in seconds.
const RUN: &str = "120";
/// The pause between two checks.
const STEP: Duration = Duration::from_millis(20);
/// containerd's socket in a node.
const SOCKET: &str = "/run/containerd/containerd.sock";

impl Node {
    /// Runs a program in the node, as root and in all of its namespaces, for at most two minutes. The exit code is
    /// 124 after a timeout. The program is in the test's control groups, so systemd does not know it: `systemd-run
    /// --pipe --wait` runs a program that systemd knows.
    pub fn run(&self, command: &[&str]) -> io::Result<Ran> {
        Ok(self.command(command)?.output()?.into())
    }

    /// Like [`Node::run`], for a test that writes to the program, reads from it while it runs, or ends it.
    pub fn command(&self, command: &[&str]) -> io::Result<Command> {
        let init = self.init()?.to_string();
        // `timeout` ends the whole process group, and so what nsenter started too. `setpriv` drops capabilities that
        // the machine's root has and a node's must not have.
        let mut nsenter = Command::new("timeout");
        nsenter.args(["--kill-after=5", RUN, "setpriv", "--bounding-set", DENIED]);
        nsenter.args(["nsenter", "-a", "-t", &init, "--"]);
        nsenter.args(command).env_clear();
        nsenter
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C")
            .env("SYSTEMD_PAGER", "");
        Ok(nsenter)
    }

    /// Returns the machine's path of a path in the node. While the node runs, the path shows what its processes see,
    /// including `/run` and `/proc`; while it is down, its files. An absolute symbolic link would lead into the
    /// machine; [`Node::read`] and [`Node::write`] follow links as the node does.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.seen().join(inside.trim_start_matches('/'))
    }

    pub fn read(&self, inside: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.open(inside, OFlags::RDONLY)?;
        File::from(file).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Overwrites a file of the node in place, as an editor or a script would. Its folder must exist.
    pub fn write(&self, inside: &str, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let file = self.open(inside, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        File::from(file).write_all(bytes.as_ref())
    }

    /// Copies a program of the machine to a path in the node.
    pub fn copy_in(&self, program: &Path, inside: &str) -> io::Result<()> {
        // If this process had the file open for writing, a child that another thread starts at this moment would have
        // it open too, and until that child executes its own program the kernel would refuse to run the copy
        // (`ETXTBSY`).
        let script = "cat > \"$0\"; chmod 755 \"$0\"";
        let mut copy = self.command(&["sh", "-ec", script, inside])?;
        Ran::from(copy.stdin(File::open(program)?).output()?).ok()?;
        Ok(())
    }

    /// Connects to CRI, whose socket must exist.
    pub fn cri(&self) -> io::Result<NodeCri> {
        NodeCri::connect(self.path(SOCKET))
    }

    /// Waits until CRI reports that its runtime is ready. An error contains the last status.
    pub fn wait_cri(&self, within: Duration) -> io::Result<NodeCri> {
        self.until("CRI is not ready", within, || {
            let mut cri = self.cri()?;
            Ok(cri.status()?.runtime.then_some(cri))
        })
    }

    /// Returns a property of a unit, as `systemctl show` prints it.
    pub fn show(&self, unit: &str, property: &str) -> io::Result<String> {
        let ran = self
            .run(&["systemctl", "show", "--value", "--property", property, unit])?
            .ok()?;
        Ok(ran.stdout.trim_end().into())
    }

    /// Pulls an image, and returns the requests that arrived at the registries meanwhile. The inner error is
    /// containerd's text.
    pub fn pull(&mut self, image: &Image) -> io::Result<(Result<(), String>, Vec<Request>)> {
        let mut cri = self.cri()?;
        self.order(&Order::Serve(image.reference.clone()))?;
        let pulled = cri.pull(image);
        Ok((pulled, self.order(&Order::Tell)?))
    }

    /// From now on the registries serve the image of this reference. Returns the requests since the last call.
    pub fn serve(&mut self, reference: &str) -> io::Result<Vec<Request>> {
        self.order(&Order::Serve(reference.into()))
    }

    /// Returns the requests that arrived at the registries since the last call.
    pub fn requests(&mut self) -> io::Result<Vec<Request>> {
        self.order(&Order::Tell)
    }

    /// Repeats `look` until it returns a value. An error is treated like no value, and reported when the time is
    /// over.
    pub fn until<T>(&self, what: &str, within: Duration, look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
        until(what, (STEP, within), look)
    }

    /// The node's root: as its init sees it, or as its holder has mounted it.
    fn seen(&self) -> PathBuf {
        match (&self.machine, &self.holder) {
            (Some(machine), _) => format!("/proc/{}/root", machine.init().as_raw_nonzero()).into(),
            (None, Some(holder)) => {
                let root = self.path.join("root");
                Path::new(&format!("/proc/{}/root", holder.pid())).join(root.strip_prefix("/").unwrap_or(&root))
            }
            (None, None) => self.path.join("gone"),
        }
    }

    fn open(&self, inside: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let named = |error: rustix::io::Errno| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("`{inside}` in the node: {error}"))
        };
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(self.seen(), folder, Mode::empty()).map_err(named)?;
        let mode = if flags.contains(OFlags::CREATE) {
            Mode::from_raw_mode(0o644)
        } else {
            Mode::empty()
        };
        openat2(root, inside, flags | OFlags::CLOEXEC, mode, ResolveFlags::IN_ROOT).map_err(named)
    }
}

/// Repeats `look` with a pause until it returns a value. An error is treated like no value, and reported when the
/// time is over.
pub(in crate::lab) fn until<T>(
    what: &str,
    (step, within): (Duration, Duration),
    mut look: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let seen = look();
        match seen {
            Ok(Some(seen)) => return Ok(seen),
            other if Instant::now() > deadline => {
                let why = other.err().map_or_else(String::new, |error| format!(": {error}"));
                return Err(late(&format!("{what}{why}"), within));
            }
            _ => sleep(step),
        }
    }
}

fn late(what: &str, within: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{what} within {} s", within.as_secs_f32()),
    )
}
