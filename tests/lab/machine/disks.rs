//! A machine's disks: overlays that take what is written and leave what lies below as it is.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk that keeps what was written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Disk {
    /// `/`, ext4.
    Root,
    /// `/var`, XFS.
    Var,
}

/// In the order in which the machine sees them.
pub(super) const DISKS: [Disk; 2] = [Disk::Root, Disk::Var];

/// The name of an overlay in a machine's folder.
pub(super) fn file(disk: Disk) -> &'static str {
    match disk {
        Disk::Root => "root.qcow2",
        Disk::Var => "var.qcow2",
    }
}

/// How QEMU is told of it.
///
/// A QCOW2 disk is one with a volatile cache. Where a block lies in the file, for each that is written for the first time, QEMU
/// keeps in its own memory until the guest flushes: killed before, the disk never had it. Clusters of a block of the guest's file
/// systems, so that this holds for each of them by itself. `cache=unsafe` does all that but for waiting until this machine's own
/// disk has it too, as this machine goes on.
pub(super) fn drive(folder: &Path, disk: Disk) -> String {
    let name = file(disk);
    let path = folder.join(name);
    format!("file={},format=qcow2,if=none,id={name},cache=unsafe", path.display())
}

/// Makes the overlays of a machine in its folder, over what `below` says, in its format.
pub(super) fn over(folder: &Path, below: impl Fn(Disk) -> (PathBuf, &'static str)) -> io::Result<()> {
    for disk in DISKS {
        let (backing, format) = below(disk);
        let output = Command::new("qemu-img")
            .args([
                "create",
                "-q",
                "-f",
                "qcow2",
                "-o",
                "cluster_size=4k",
                "-F",
                format,
                "-b",
            ])
            .arg(backing)
            .arg(folder.join(file(disk)))
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
    }
    Ok(())
}
