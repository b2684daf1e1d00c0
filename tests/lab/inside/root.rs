//! A root of its own for one containerd: everything but `/usr` and the kernel's file systems is a fresh tmpfs, so that a
//! case's files may lie anywhere and nothing of the machine's `/etc`, `/run` or `/var` is seen or touched.

use std::fs::{
    File, {self},
};
use std::io::{
    Read, {self},
};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, unmount};
use serde::{Deserialize, Serialize};

use crate::lab::scene::Files;

/// Where the lab's own things lie in the private root. No case uses it.
const OWN: &str = "/run/lab";
/// The socket that containerd is told to serve, whatever its files say.
pub(super) const SOCKET: &str = "/run/lab/containerd.sock";

/// What a containerd's root is made of.
#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    /// The machine's path of the program.
    pub(super) program: String,
    /// The node's files.
    pub(super) files: Files,
    /// `/etc/hosts`.
    pub(super) hosts: String,
    /// The authorities of the node's system pool.
    pub(super) system_pool: String,
}

/// Reads a plan from standard input, makes the root and becomes containerd. Called in a mount namespace of its own, in a
/// process without other threads. Returns only what went wrong.
pub(super) fn enter() -> io::Error {
    match prepare() {
        Ok(mut containerd) => containerd.exec(),
        Err(error) => error,
    }
}

fn prepare() -> io::Result<Command> {
    let mut json = Vec::new();
    io::stdin().read_to_end(&mut json)?;
    let plan: Plan = serde_json::from_slice(&json)?;

    // The cache folder may lie below a folder that is about to be hidden; an open file stays reachable.
    let program = File::open(&plan.program)?;
    let root = Path::new("/tmp");
    mount("lab", root, "tmpfs", MountFlags::empty(), c"mode=0755")?;
    for kernel in ["proc", "sys", "dev", "usr"] {
        fs::create_dir(root.join(kernel))?;
        mount_bind_recursive(Path::new("/").join(kernel), root.join(kernel))?;
    }
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        match fs::read_link(Path::new("/").join(name)) {
            Ok(target) => symlink(target, root.join(name))?,
            // A system without merged /usr has a folder here.
            Err(_) if Path::new("/").join(name).is_dir() => {
                fs::create_dir(root.join(name))?;
                mount_bind(Path::new("/").join(name), root.join(name))?;
            }
            Err(_) => {}
        }
    }
    for folder in [
        "etc/containerd",
        "run/lab/none",
        "var/lib",
        "tmp",
        "root",
        "opt",
        ".machine",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    symlink("/run", root.join("var/run"))?;
    fs::write(root.join("etc/hosts"), &plan.hosts)?;
    // No name service but the hosts file, so an unknown name fails at once.
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files\n")?;
    fs::write(root.join("etc/resolv.conf"), "")?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    fs::write(root.join("run/lab/system.pem"), &plan.system_pool)?;
    fs::write(root.join("run/lab/containerd"), "")?;
    mount_bind(
        format!("/proc/self/fd/{}", program.as_raw_fd()),
        root.join("run/lab/containerd"),
    )?;
    place(root, &plan.files)?;

    rustix::process::pivot_root(root, root.join(".machine"))?;
    std::env::set_current_dir("/")?;
    unmount("/.machine", UnmountFlags::DETACH)?;
    fs::remove_dir("/.machine")?;

    let mut containerd = Command::new(format!("{OWN}/containerd"));
    // The flags win over what the files say of root, state and address: files of k3s or of a node with another disk are
    // run all the same.
    containerd.args([
        "--root",
        "/var/lib/containerd",
        "--state",
        "/run/containerd",
        "--address",
        SOCKET,
    ]);
    containerd
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root");
    containerd
        .env("SSL_CERT_FILE", format!("{OWN}/system.pem"))
        .env("SSL_CERT_DIR", format!("{OWN}/none"));
    Ok(containerd)
}

fn place(root: &Path, files: &Files) -> io::Result<()> {
    for (path, bytes) in files {
        let inside = path
            .strip_prefix('/')
            .filter(|path| !path.split('/').any(|part| part == ".."));
        let Some(inside) = inside else {
            return Err(io::Error::other(format!("`{path}` is not an absolute path")));
        };
        // These are the machine's own, bound in.
        if ["usr", "proc", "sys", "dev", "bin", "sbin", "lib", "lib64"]
            .contains(&inside.split('/').next().unwrap_or(""))
        {
            return Err(io::Error::other(format!("`{path}` cannot be private to a case")));
        }
        let target = root.join(inside);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        // A name that ends in a slash is an empty folder.
        if path.ends_with('/') {
            fs::create_dir_all(&target)?;
        } else {
            fs::write(&target, bytes)?;
        }
    }
    Ok(())
}
