//! The test's files for a machine: a tar archive on its own disk, which the initramfs unpacks into the root at the
//! first boot.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use super::MachineOptions;
use crate::lab::Containerd;

/// The file's name in the machine's folder.
pub(super) const NAME: &str = "seed.tar";

/// The programs of a containerd release.
const PROGRAMS: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];

/// Writes the archive.
pub(super) fn write(folder: &Path, containerd: &Containerd, options: &MachineOptions) -> io::Result<()> {
    let root = folder.join("seed");
    let put = |path: &str| -> io::Result<_> {
        let inside = path
            .strip_prefix('/')
            .filter(|path| !path.split('/').any(|part| part == ".."));
        let inside = inside.ok_or_else(|| io::Error::other(format!("`{path}` is not an absolute path")))?;
        let target = root.join(inside);
        fs::create_dir_all(target.parent().unwrap_or(&root))?;
        Ok(target)
    };
    for (path, bytes) in &options.files {
        let target = put(path)?;
        fs::write(&target, bytes)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644))?;
    }
    let programs = PROGRAMS.map(|name| (format!("/usr/bin/{name}"), containerd.program.with_file_name(name)));
    let programs = programs.iter().map(|(path, program)| (path, program));
    for (path, program) in programs.chain(&options.programs) {
        // tar follows the link, so that no program is copied twice.
        symlink(program.canonicalize()?, put(path)?)?;
    }
    let tar = Command::new("tar")
        .args(["--dereference", "--owner=0", "--group=0", "-C"])
        .arg(&root)
        .arg("-cf")
        .arg(folder.join(NAME))
        .arg(".")
        .output()?;
    if !tar.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&tar.stderr).into_owned()));
    }
    fs::remove_dir_all(root)
}
