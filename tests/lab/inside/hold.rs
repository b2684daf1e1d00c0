//! The namespaces of a node: a network with recording registries, and the node's root, mounted where no other process
//! sees it. The process runs as long as its test keeps its standard input open, and cleans up when the test ended
//! without the order to end.

use std::ffi::CString;
use std::io::{
    Write, {self},
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, future, thread};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_move, unmount};
use serde::{Deserialize, Serialize};

use super::server::Desk;
use crate::lab::content::repository;
use crate::lab::node::{Link, end_if_left};
use crate::lab::pki::Pki;
use crate::lab::scene::Scene;

/// The files and mounts that a node needs before its first boot.
#[derive(Serialize, Deserialize)]
pub(in crate::lab) struct Ground {
    /// The node's folder. `programs`, `upper`, `work`, `root` and `folders` are folders in it.
    pub(in crate::lab) folder: PathBuf,
    /// The root that all nodes share.
    pub(in crate::lab) base: PathBuf,
    /// Folders of the node that are on a real file system.
    pub(in crate::lab) folders: Vec<String>,
    /// Folders that are file systems, and their mount options.
    pub(in crate::lab) disks: Vec<(String, String)>,
    pub(in crate::lab) pki: Pki,
    pub(in crate::lab) scene: Scene,
    pub(in crate::lab) link: Option<Link>,
}

/// An order of the test, one per line. The answer is one line too: the requests that arrived since the last order.
#[derive(Serialize, Deserialize)]
pub(in crate::lab) enum Order {
    /// From now on the registries serve the image of this reference, and record requests for it.
    Serve(String),
    /// Only the requests are returned.
    Tell,
    /// The test ends normally, and cleans up itself.
    End,
}

/// Reads the ground, creates it, answers once with an empty list, then executes orders.
pub(super) fn main() -> io::Result<()> {
    let mut lines = io::stdin().lines();
    let first = lines.next().ok_or_else(|| io::Error::other("no ground"))??;
    let ground: Ground = serde_json::from_str(&first)?;
    lay(&ground)?;
    let desk = Arc::new(Desk::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let addresses = super::addresses(&ground.scene);
    super::network(&addresses)?;
    if let Some(link) = &ground.link {
        wire(link)?;
    }
    runtime.block_on(async {
        for host in &ground.scene.hosts {
            super::listen(&ground.pki, host, addresses[host.address()], &desk).await?;
        }
        io::Result::Ok(())
    })?;
    thread::spawn(move || runtime.block_on(future::pending::<()>()));
    answer(&())?;
    for line in lines {
        match serde_json::from_str(&line?)? {
            Order::Serve(reference) => desk.turn_to(&reference, &repository(&reference)),
            Order::Tell => {}
            Order::End => return Ok(()),
        }
        answer(&desk.take())?;
    }
    // The test ended without the order to end.
    unmount(ground.folder.join("root"), UnmountFlags::DETACH)?;
    clean_up(&ground.folder)
}

/// Ends the processes of a test that was killed, and removes its folder.
pub(super) fn clean_up(folder: &Path) -> io::Result<()> {
    // A child process that the test was starting may hold the lock a moment longer.
    for _ in 0..100 {
        if end_if_left(folder)? {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub(super) fn answer<T: Serialize + ?Sized>(what: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    io::stdout().write_all(&line)
}

/// Connects this network to the bridge by a veth pair, and adds routes to the networks behind its ends.
fn wire(link: &Link) -> io::Result<()> {
    let Link {
        to,
        bridge,
        name,
        address: (address, length),
        gateway,
        pods,
    } = link;
    super::ip(&format!(
        "link add host0 type veth peer name {name} netns {to}\naddress add {address}/{length} dev host0\n\
         link set host0 up\nroute add default via {gateway}\n"
    ))?;
    let far = format!("link set {name} master {bridge}\nlink set {name} up\nroute add {pods} via {address}\n");
    let net = format!("--net=/proc/{to}/ns/net");
    super::batch(Command::new("nsenter").args([&net, "--", "ip"]), &far)
}

/// Mounts, only in this mount namespace: the root of the node from its layers, real file systems for folders that
/// cannot be on layers, and the disks.
fn lay(ground: &Ground) -> io::Result<()> {
    // nspawn keeps its state under /run. The machine must not see these nodes there.
    mount("lab", "/run", "tmpfs", MountFlags::empty(), c"mode=0755")?;
    let at = |name: &str| ground.folder.join(name);
    let layers = format!(
        "lowerdir={}:{},upperdir={},workdir={}",
        at("programs").display(),
        ground.base.display(),
        at("upper").display(),
        at("work").display()
    );
    let root = at("root");
    named(
        "the layers",
        mount(
            "lab",
            &root,
            "overlay",
            MountFlags::empty(),
            Some(CString::new(layers)?.as_c_str()),
        )
        .map_err(Into::into),
    )?;
    for folder in &ground.folders {
        let (inside, real) = (folder.trim_start_matches('/'), folder.replace('/', "_"));
        let (target, real) = (root.join(inside), at("folders").join(real));
        fs::create_dir_all(&target)?;
        fs::create_dir(&real)?;
        named(folder, mount_bind(real, target).map_err(Into::into))?;
    }
    for (folder, options) in &ground.disks {
        let target = root.join(folder.trim_start_matches('/'));
        fs::create_dir_all(&target)?;
        named(folder, disk(&target, options))?;
    }
    Ok(())
}

/// Mounts a tmpfs with the contents of the folder.
fn disk(target: &Path, options: &str) -> io::Result<()> {
    let (mut flags, mut data) = (MountFlags::empty(), vec!["mode=0755"]);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "noexec" => flags |= MountFlags::NOEXEC,
            other => data.push(other),
        }
    }
    let data = CString::new(data.join(","))?;
    let aside = Path::new("/run/disk");
    fs::create_dir_all(aside)?;
    mount("lab", aside, "tmpfs", flags, Some(data.as_c_str()))?;
    let copied = Command::new("cp").arg("-a").arg(target.join(".")).arg(aside).status()?;
    if !copied.success() {
        return Err(io::Error::other(format!("cp: {copied}")));
    }
    Ok(mount_move(aside, target)?)
}

fn named(what: &str, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| io::Error::other(format!("cannot mount {what}: {error}")))
}
