//! The private root of one containerd. Everything except `/usr` and the kernel's file systems is a new tmpfs, so that
//! a case may have files anywhere, and the machine's `/etc`, `/run` and `/var` are neither visible nor changed.

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

/// The folder of the lab's own files in the private root. No case uses it.
const OWN: &str = "/run/lab";
/// The socket that containerd serves, whatever its files specify.
pub(super) const SOCKET: &str = "/run/lab/containerd.sock";

/// The contents of a containerd's root.
#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    /// The program's path on the machine.
    pub(super) program: String,
    pub(super) files: Files,
    /// The contents of `/etc/hosts`.
    pub(super) hosts: String,
    /// The certificate authorities of the node's system pool.
    pub(super) system_pool: String,
}

/// Reads a plan from standard input, creates the root and executes containerd. It is called in its own mount
/// namespace, in a process without other threads. Returns only if something failed.
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

    // The cache folder may be in a folder that is about to be hidden. An open file stays reachable.
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
    // Names are only resolved with the hosts file, so that an unknown name fails at once.
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
    // The flags override root, state and address of the files, so that files of k3s or of a node with another disk
    // can be run.
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
        // These folders are bind mounts of the machine's.
        if ["usr", "proc", "sys", "dev", "bin", "sbin", "lib", "lib64"]
            .contains(&inside.split('/').next().unwrap_or(""))
        {
            return Err(io::Error::other(format!("`{path}` cannot be private to a case")));
        }
        let target = root.join(inside);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        // A path that ends in a slash is an empty folder.
        if path.ends_with('/') {
            fs::create_dir_all(&target)?;
        } else {
            fs::write(&target, bytes)?;
        }
    }
    Ok(())
}
