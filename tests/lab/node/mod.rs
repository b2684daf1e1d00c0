//! Nodes: containers with a real systemd, D-Bus and containerd, which are booted, used like a machine, reset and
//! removed.
//!
//! A [`Node`] is a Debian root in layers: the layer that all nodes share, the programs of one containerd, and the
//! node's own writes. `systemd-nspawn` boots it in separate mount and network namespaces, so that no mount, no
//! address and no file of `/run` is visible on the machine. Its control groups are, and are removed with it.
//! Recording registries run in its network. A reset kills all of its processes and keeps every file; since the page
//! cache survives, it is a crash and not a power cut.

mod base; // the root that all share, and containerds
mod cgroups; // a node's control groups
mod files; // a node's files before it boots
mod folder; // folders in the cache, and their removal
mod ground; // the namespaces of a node
mod machine; // the processes of a booted node
mod options; // a test's options
mod reach; // a test's actions in a node
mod workload; // sandboxes, containers, logs

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

pub(in crate::lab) use self::folder::{LabFolder, clean, end_if_left};
pub(in crate::lab) use self::ground::Holder;
use self::machine::NodeProcesses;
pub(in crate::lab) use self::options::Link;
pub use self::options::{BASE, NodeOptions};
pub(in crate::lab) use self::reach::until;
pub(in crate::lab) use self::workload::COUNT;
pub use self::workload::{ContainerProcess, Counted, IMAGE, NodeCri, Workload};
use super::inside::hold::{Ground, Order};
use super::{Containerd, Lab, Missing, Pki, Request};

/// The release lines that nodes are tested with.
pub const NODE_LINES: [&str; 4] = ["1.6", "1.7", "2.1", "2.4"];
/// Time limit for a boot. It takes 1 to 2 s.
const BOOT: Duration = Duration::from_mins(1);
/// containerd's folder of snapshots, which cannot be on layers.
const SNAPSHOTS: &str = "/var/lib/containerd";

/// The ability to boot nodes on this machine.
#[derive(Debug)]
pub struct Nodes {
    lab: Lab,
    root: PathBuf,
}

/// A node that was booted. When it is dropped, it ends and its files are removed.
#[derive(Debug)]
pub struct Node {
    // In the order in which they must end.
    machine: Option<NodeProcesses>,
    holder: Option<Holder>,
    folder: Option<LabFolder>,
    path: PathBuf,
}

impl Nodes {
    /// Creates a lab with new certificates, and ends the nodes that earlier tests left behind. `helper` is the
    /// program `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a test.
    pub fn open(helper: impl Into<PathBuf>) -> Result<Self, Missing> {
        let lab = Lab::open(helper)?;
        super::installed(&["systemd-nspawn", "nsenter", "setpriv", "timeout"])?;
        let root = base::root()?;
        base::tried(&root)?;
        base::enough_to_watch_with()?;
        folder::clean().map_err(|error| Missing::Nspawn(error.to_string()))?;
        Ok(Self { lab, root })
    }

    /// The certificates that files may refer to; see [`Pki::fill`].
    pub fn pki(&self) -> &Pki {
        self.lab.pki()
    }

    /// The archive of the image that every node has, on the test's machine.
    pub fn image(&self) -> PathBuf {
        self.root.join(workload::ARCHIVE.trim_start_matches('/'))
    }

    /// Returns the newest containerd of a release line that has its shim and `ctr`.
    pub fn containerd(line: &str) -> Result<Containerd, Missing> {
        base::containerd(line)
    }

    /// Ends the nodes of killed tests, and returns their number.
    pub fn clean() -> io::Result<usize> {
        folder::clean()
    }

    /// Boots a new node, and returns when systemd has finished starting units. containerd may have failed. An error
    /// contains the console.
    pub fn boot(&self, containerd: &Containerd, options: &NodeOptions) -> io::Result<Node> {
        let folder = LabFolder::make("node")?;
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
    /// Kills all processes of the node, then boots it from the same files.
    pub fn reset(&mut self) -> io::Result<()> {
        self.crash()?;
        self.start()
    }

    /// Kills all processes of the node and leaves it down, so that its files can be read and changed.
    pub fn crash(&mut self) -> io::Result<()> {
        match self.machine.take() {
            Some(machine) => machine.kill(),
            None => Ok(()),
        }
    }

    pub fn start(&mut self) -> io::Result<()> {
        let (Some(folder), Some(holder)) = (&self.folder, &self.holder) else {
            return Err(io::Error::other("the node was removed"));
        };
        self.machine = Some(NodeProcesses::start(folder, holder.pid())?);
        self.booted()
    }

    /// Reboots the node in an orderly way, like `systemctl reboot`.
    pub fn reboot(&mut self) -> io::Result<()> {
        // The reboot ends this call.
        drop(self.run(&["systemctl", "reboot"])?);
        self.machine.take().ok_or_else(down)?.went_down(BOOT)?;
        self.start()
    }

    /// The console output of all of its boots.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.path.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Leaves the node running, as a killed test does. With `holder_too` the holder is killed too, so that nothing
    /// cleans up. Only for the lab's own tests.
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

    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// The node's control groups, one per hierarchy.
    pub fn cgroups(&self) -> &[PathBuf] {
        self.folder.as_ref().map_or(&[], |folder| &folder.cgroups)
    }

    /// The process id of the node's init, as the test's machine sees it.
    pub fn init(&self) -> io::Result<i32> {
        let machine = self.machine.as_ref().ok_or_else(down)?;
        Ok(machine.init().as_raw_nonzero().get())
    }

    fn booted(&self) -> io::Result<()> {
        let look = || {
            let state = self.run(&["systemctl", "is-system-running"])?.stdout;
            // `degraded` means that a unit failed, which may be what the test is about.
            Ok(["running", "degraded"].contains(&state.trim()).then_some(()))
        };
        self.until("the node does not boot", BOOT, look)
            .map_err(|error| io::Error::new(error.kind(), format!("{error}\n{}", self.console())))
    }

    fn order(&mut self, order: &Order) -> io::Result<Vec<Request>> {
        self.holder.as_mut().ok_or_else(down)?.send_order(order)
    }
}

fn down() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the node is down")
}
