//! The place of a cluster: its folder, its control groups and its network, and the processes in them.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io, panic, thread};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::network;
use crate::lab::inside::site::{SiteOrder, SiteSpec};
use crate::lab::node::{Holder, LabFolder};
use crate::lab::pki::Pair;
use crate::lab::scene::Front;
use crate::tool::Ran;

/// Time limit for a program that is waited for, in seconds.
const RUN: &str = "180";

/// A cluster's place. When it is dropped, all of its processes end and it is removed.
#[derive(Debug)]
pub(super) struct Site {
    // In the order in which they must end.
    folder: Option<LabFolder>,
    holder: Option<Holder>,
    path: PathBuf,
    pid: u32,
}

impl Site {
    /// Creates the place around a folder. `front` is the certificate of the proxy in front of the API server.
    pub(super) fn make(helper: &Path, folder: LabFolder, front: Pair, registries: u8) -> io::Result<Self> {
        folder.make_groups()?;
        fs::create_dir(folder.path.join("log"))?;
        let mut addresses = vec![
            format!("{}/{}", network::PLANE, network::LENGTH),
            format!("{}/32", network::SERVICE),
        ];
        addresses.extend((0..registries).map(|i| format!("{}/{}", network::registry(i), network::LENGTH)));
        let wanted = SiteSpec {
            folder: folder.path.clone(),
            bridge: (network::BRIDGE.into(), addresses),
            front: (
                SocketAddr::from((network::SERVICE, 443)),
                SocketAddr::from((network::PLANE, network::API_PORT)),
                front,
            ),
        };
        let holder = Holder::start(helper, "site", &wanted)?;
        Ok(Self {
            path: folder.path.clone(),
            pid: holder.pid(),
            folder: Some(folder),
            holder: Some(holder),
        })
    }

    /// The process whose network namespace the cluster uses.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// A path in the folder.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.path.join(inside)
    }

    pub(super) fn cgroups(&self) -> &[PathBuf] {
        self.folder.as_ref().map_or(&[], |folder| &folder.cgroups)
    }

    /// A command that runs in the cluster's network. The caller must wait for its end.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.net()).arg("--").arg(program);
        command
    }

    /// Runs a short program in the cluster's network and waits for its end.
    pub(super) fn run(&self, program: &Path, arguments: &[&str], input: &str) -> io::Result<Ran> {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", RUN, "nsenter", &self.net(), "--"])
            .arg(program)
            .args(arguments);
        // Standard input is a file, because with a pipe both sides could wait for each other.
        let given = tempfile::tempfile_in(&self.path).and_then(|mut file| {
            io::Write::write_all(&mut file, input.as_bytes())?;
            io::Seek::rewind(&mut file)?;
            Ok(file)
        })?;
        let output = command.stdin(given).output()?;
        Ok(output.into())
    }

    /// Starts a program in the cluster's network and control groups, with its output in `log/NAME`.
    pub(super) fn start(&self, name: &str, command: &Command) -> io::Result<ClusterProcess> {
        let folder = self.folder.as_ref().ok_or_else(gone)?;
        let log = self.path("log").join(name);
        let output = File::options().create(true).append(true).open(&log)?;
        let mut started = folder.joined();
        started
            .args(["nsenter", &self.net(), "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(&self.path)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        for (name, value) in command.get_envs() {
            started.env(name, value.unwrap_or_default());
        }
        Ok(ClusterProcess {
            child: started.spawn()?,
            log,
        })
    }

    /// Calls a function in a thread that is in the cluster's network, as are all threads that it starts.
    pub(super) fn inside<T: Send>(&self, call: impl FnOnce() -> T + Send) -> io::Result<T> {
        let net = File::open(format!("/proc/{}/ns/net", self.pid))?;
        let enter = || {
            move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(call())
        };
        thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }

    /// Changes the behaviour of the proxy; see [`Front`]. Returns the number of requests that it has answered itself
    /// since the last change.
    pub(super) fn front(&mut self, front: Front) -> io::Result<u64> {
        self.holder
            .as_mut()
            .ok_or_else(gone)?
            .send_order(&SiteOrder::Front(front))
    }

    /// Leaves everything running, as a killed test does; see [`crate::lab::Node::abandon`].
    pub(super) fn abandon(mut self, holder_too: bool) -> io::Result<()> {
        if let Some(folder) = self.folder.take() {
            folder.leave();
        }
        match self.holder.take() {
            Some(holder) if holder_too => holder.kill()?,
            Some(holder) => holder.leave(),
            None => {}
        }
        Ok(())
    }

    fn net(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.pid)
    }
}

/// A long-running program of the cluster. When it is dropped, it is killed.
#[derive(Debug)]
pub(super) struct ClusterProcess {
    child: Child,
    log: PathBuf,
}

impl ClusterProcess {
    /// Its process id, as the test's machine sees it.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns an error if the program has ended.
    pub(super) fn lives(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!(
                "it ended with {status}: {}",
                self.last_words()
            ))),
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.ok_or_else(gone)?, signal).map_err(Into::into)
    }

    /// Leaves the process running, for another process to end.
    pub(super) fn leave(self) {
        std::mem::forget(self);
    }

    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let end = &log[log.len().saturating_sub(2000)..];
        format!("{}: {}", self.log.display(), String::from_utf8_lossy(end))
    }
}

impl Drop for ClusterProcess {
    fn drop(&mut self) {
        // It needs no clean end: its data are removed too, or it starts from them as after a crash.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the cluster is gone")
}
