//! The files of a machine that `tests/lab/prepare` builds: a kernel, an initramfs and two disks.

use std::path::PathBuf;

use super::disks::Disk;
use crate::lab::{Missing, cache};

/// The folder in the cache. It has a new name when the recipe changes, so that an old image is not used. `prepare`
/// and `tests/run` read the name from here.
pub(super) const IMAGE: &str = "bookworm-3";

/// The files, which are never written to.
#[derive(Clone, Debug)]
pub(super) struct MachineImage {
    folder: PathBuf,
}

impl MachineImage {
    pub(super) fn open() -> Result<Self, Missing> {
        let folder = cache().join("machine").join(IMAGE);
        if folder.is_dir() {
            Ok(Self { folder })
        } else {
            Err(Missing::MachineImage(folder))
        }
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.folder.join("kernel")
    }

    pub(super) fn initramfs(&self) -> PathBuf {
        self.folder.join("initrd.cpio.gz")
    }

    /// The disk before the first boot.
    pub(super) fn disk(&self, disk: Disk) -> PathBuf {
        self.folder.join(match disk {
            Disk::Root => "root.img",
            Disk::Var => "var.img",
        })
    }
}
