//! Nodes: whole systems with a real systemd, D-Bus and containerd, that are booted, used as a person would, reset and
//! thrown away.
//!
//! A [`Node`] is a Debian root as layers: the one that all share, the programs of one containerd, and what is written while
//! it lives. `systemd-nspawn` boots it in a mount and a network namespace of the test's own, so no mount, no address and no
//! file of `/run` is ever the machine's; its control groups are, and go with it. Recording registries stand in its network.
//! Resetting it ends all of its processes at once and keeps every file: a crash, not a power cut, as the page cache lives.

mod base; // the root that all share, and containerds
mod cgroups; // where a node's processes are
mod files; // what is in a node before it boots
mod folder; // its place in the cache, and cleaning up
mod ground; // the namespaces that it stands in
mod machine; // booted
mod options; // what a test asks for
mod reach; // what a test does in it
mod workload; // sandboxes, containers, logs

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

pub(in crate::lab) use self::folder::{Folder, clean, end_if_left};
pub(in crate::lab) use self::ground::Holder;
use self::machine::Machine;
pub(in crate::lab) use self::options::Link;
pub use self::options::{BASE, NodeOptions};
pub(in crate::lab) use self::reach::until;
pub(in crate::lab) use self::workload::COUNT;
pub use self::workload::{Counted, IMAGE, NodeCri, Process, Workload};
use super::inside::hold::{Ground, Order};
use super::{Containerd, Lab, Missing, Pki, Request};

/// The release lines that nodes are tried with.
pub const NODE_LINES: [&str; 4] = ["1.6", "1.7", "2.1", "2.4"];
/// How long a boot may take. It takes 1 to 2 s.
const BOOT: Duration = Duration::from_mins(1);
/// Where containerd keeps snapshots, which cannot lie on layers themselves.
const SNAPSHOTS: &str = "/var/lib/containerd";

/// A lab that can boot nodes here.
#[derive(Debug)]
pub struct Nodes {
    lab: Lab,
    root: PathBuf,
}

/// A node that was booted. Dropped, it ends and leaves nothing.
#[derive(Debug)]
pub struct Node {
    // In the order in which they must end.
    machine: Option<Machine>,
    holder: Option<Holder>,
    folder: Option<Folder>,
    path: PathBuf,
}

impl Nodes {
    /// A lab with fresh certificates. `helper` is the program `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a test. Ends
    /// what earlier tests have left.
    ///
    /// # Errors
    ///
    /// With the reason why no node can be booted.
    pub fn open(helper: impl Into<PathBuf>) -> Result<Self, Missing> {
        let lab = Lab::open(helper)?;
        super::installed(&["systemd-nspawn", "nsenter", "setpriv", "timeout"])?;
        let root = base::root()?;
        base::tried(&root)?;
        base::enough_to_watch_with()?;
        folder::clean().map_err(|error| Missing::Nspawn(error.to_string()))?;
        Ok(Self { lab, root })
    }

    /// The certificates that files may name; see [`Pki::fill`].
    pub fn pki(&self) -> &Pki {
        self.lab.pki()
    }

    /// The archive of the image that every node has, on the machine.
    pub fn image(&self) -> PathBuf {
        self.root.join(workload::ARCHIVE.trim_start_matches('/'))
    }

    /// The newest containerd of a release line that a node can have.
    ///
    /// # Errors
    ///
    /// When there is none, or when its shim or ctr is not there.
    pub fn containerd(line: &str) -> Result<Containerd, Missing> {
        base::containerd(line)
    }

    /// Ends the nodes of tests that are no more; how many there were.
    ///
    /// # Errors
    ///
    /// When something of them stays.
    pub fn clean() -> io::Result<usize> {
        folder::clean()
    }

    /// Boots a new node, to the point where systemd has nothing left to start. What containerd made of its files is for the
    /// test to ask.
    ///
    /// # Errors
    ///
    /// When the node does not boot; its console is in the message.
    pub fn boot(&self, containerd: &Containerd, options: &NodeOptions) -> io::Result<Node> {
        let folder = Folder::make("node")?;
        let path = folder.path.clone();
        for name in ["programs", "upper", "work", "root", "folders"] {
            fs::create_dir(path.join(name))?;
        }
        base::layer(containerd, &options.programs, &path.join("programs"))?;
        let hosts = super::inside::hosts_file(&super::inside::addresses(&options.scene));
        files::write(&path.join("upper"), &folder.name, &hosts, options, self.lab.pki())?;
        let ground = Ground {
            folder: path.clone(),
            base: self.root.clone(),
            folders: [SNAPSHOTS.to_owned()]
                .into_iter()
                .chain(options.folders.iter().cloned())
                .collect(),
            disks: options.disks.clone().into_iter().collect(),
            pki: self.lab.pki().clone(),
            scene: options.scene.clone(),
            link: options.link.clone(),
        };
        let holder = Holder::start(&self.lab.helper, "hold", &ground)?;
        let mut node = Node {
            machine: None,
            holder: Some(holder),
            folder: Some(folder),
            path,
        };
        node.start()?;
        Ok(node)
    }
}

impl Node {
    /// Ends all processes of the node at once, then boots it again from the same files.
    ///
    /// # Errors
    ///
    /// When it does not boot.
    pub fn reset(&mut self) -> io::Result<()> {
        self.crash()?;
        self.start()
    }

    /// Ends all processes of the node at once and leaves it down: its files may be looked at and changed.
    ///
    /// # Errors
    ///
    /// When they do not end.
    pub fn crash(&mut self) -> io::Result<()> {
        match self.machine.take() {
            Some(machine) => machine.kill(),
            None => Ok(()),
        }
    }

    /// Boots a node that is down.
    ///
    /// # Errors
    ///
    /// When it does not boot.
    pub fn start(&mut self) -> io::Result<()> {
        let (Some(folder), Some(holder)) = (&self.folder, &self.holder) else {
            return Err(io::Error::other("the node is gone"));
        };
        self.machine = Some(Machine::start(folder, holder.pid())?);
        self.booted()
    }

    /// Reboots in good order, as `systemctl reboot` does.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub fn reboot(&mut self) -> io::Result<()> {
        // The call is cut off by what it asks for.
        drop(self.run(&["systemctl", "reboot"])?);
        self.machine.take().ok_or_else(down)?.went_down(BOOT)?;
        self.start()
    }

    /// What the node wrote to its console in all of its boots.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.path.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Leaves the node running as a test does that is killed: with what cleans up after it, or without, when that is killed
    /// too. For the lab's own tests.
    ///
    /// # Errors
    ///
    /// When the holder cannot be ended.
    pub fn abandon(mut self, holder_too: bool) -> io::Result<PathBuf> {
        if let Some(machine) = self.machine.take() {
            machine.leave();
        }
        if let Some(folder) = self.folder.take() {
            folder.leave();
        }
        match self.holder.take() {
            Some(holder) if holder_too => holder.kill()?,
            Some(holder) => holder.leave(),
            None => {}
        }
        Ok(self.path.clone())
    }

    /// The node's folder in the cache.
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// The node's control groups, one in each hierarchy.
    pub fn cgroups(&self) -> &[PathBuf] {
        self.folder.as_ref().map_or(&[], |folder| &folder.cgroups)
    }

    /// The number of the node's init in the machine.
    ///
    /// # Errors
    ///
    /// While the node is down.
    pub fn init(&self) -> io::Result<i32> {
        let machine = self.machine.as_ref().ok_or_else(down)?;
        Ok(machine.init().as_raw_nonzero().get())
    }

    fn booted(&self) -> io::Result<()> {
        let look = || {
            let state = self.run(&["systemctl", "is-system-running"])?.stdout;
            // Degraded is a failed unit, which may be what the test is about.
            Ok(["running", "degraded"].contains(&state.trim()).then_some(()))
        };
        self.until("the node does not boot", BOOT, look)
            .map_err(|error| io::Error::new(error.kind(), format!("{error}\n{}", self.console())))
    }

    fn order(&mut self, order: &Order) -> io::Result<Vec<Request>> {
        self.holder.as_mut().ok_or_else(down)?.tell(order)
    }
}

fn down() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the node is down")
}
