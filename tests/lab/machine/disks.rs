//! The disks of a machine: overlays that contain the writes, over images that stay unchanged.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk whose writes are kept over a power cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Disk {
    /// `/`, ext4.
    Root,
    /// `/var`, XFS.
    Var,
}

/// In the order in which the machine detects them.
pub(super) const DISKS: [Disk; 2] = [Disk::Root, Disk::Var];

/// The file name of an overlay in a machine's folder.
pub(super) fn file(disk: Disk) -> &'static str {
    match disk {
        Disk::Root => "root.qcow2",
        Disk::Var => "var.qcow2",
    }
}

/// Returns QEMU's option for the disk.
///
/// A QCOW2 disk behaves like one with a volatile cache: QEMU keeps the position of each block that is written for the
/// first time in its own memory until the guest flushes. If QEMU is killed before, the disk never had the block. The
/// clusters are as large as a block of the guest's file systems, so that this is true for each block separately.
/// `cache=unsafe` does the same, except that it does not wait until the data are on the disk of the test's machine,
/// which keeps running.
pub(super) fn drive(folder: &Path, disk: Disk) -> String {
    let name = file(disk);
    let path = folder.join(name);
    format!("file={},format=qcow2,if=none,id={name},cache=unsafe", path.display())
}

/// Creates the overlays of a machine in its folder, over the files and formats that `below` returns.
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
