//! The log FIFOs of containers that containerd reads.
//!
//! A container writes to a FIFO that its shim created. containerd reads the FIFO and writes the log. Between two
//! containerd processes no process reads it, so it fills, and the container blocks at its next line. Logs flow again
//! when the new containerd has the FIFOs open. This check covers every container at once, including those that print
//! nothing; whether a log file grows would cover only the containers that print at that moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

/// `O_PATH` on every architecture that containerd supports: a descriptor that names a file and cannot read it.
/// containerd holds such a descriptor for each FIFO in addition to the readable descriptor.
const PATH_ONLY: u32 = 0o10_000_000;

/// Returns the names of the containers' log FIFOs that a process has open for reading: `ID-stdout` and `ID-stderr`.
pub(crate) fn read_by(proc: &Path, pid: u32) -> io::Result<BTreeSet<String>> {
    let folder = proc.join(pid.to_string());
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder.join("fd"))? {
        let entry = entry?;
        // The process may have closed it after it was listed.
        let Ok(link) = fs::read_link(entry.path()) else {
            continue;
        };
        let Some(name) = fifo_name(&link) else { continue };
        let info = fs::read_to_string(folder.join("fdinfo").join(entry.file_name())).unwrap_or_default();
        if flags(&info).is_some_and(|flags| flags & PATH_ONLY == 0) {
            found.insert(name);
        }
    }
    Ok(found)
}

/// Returns the container's id in the name of a FIFO.
pub(crate) fn container_id(name: &str) -> Option<&str> {
    let (id, stream) = name.rsplit_once('-')?;
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && matches!(stream, "stdout" | "stderr")).then_some(id)
}

/// Returns the name of a log FIFO from a path such as
/// `/run/containerd/io.containerd.grpc.v1.cri/containers/ID/io/123/ID-stdout`.
fn fifo_name(link: &Path) -> Option<String> {
    let name = link.file_name()?.to_str()?;
    let id = container_id(name)?;
    let is_in_container_folder = link.parent()?.components().any(|part| part.as_os_str() == id);
    is_in_container_folder.then(|| name.to_owned())
}

/// Returns the `flags:` of `fdinfo` in `proc(5)`, which are octal.
fn flags(info: &str) -> Option<u32> {
    let line = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifo_name_is_none_for_other_files() {
        let id = "0123456789abcdef".repeat(4);
        let path = |name: &str| format!("/run/containerd/io.containerd.grpc.v1.cri/containers/{id}/io/99/{name}");
        let stdout = format!("{id}-stdout");
        assert_eq!(fifo_name(Path::new(&path(&stdout))), Some(stdout.clone()));
        assert_eq!(container_id(&stdout), Some(id.as_str()));
        for other in [
            path(&format!("{id}-stdin")),
            path("short-stdout"),
            format!("/tmp/{stdout}"),
            "socket:[12]".to_owned(),
        ] {
            assert_eq!(fifo_name(Path::new(&other)), None, "{other}");
        }
    }

    #[test]
    fn flags_distinguish_a_path_from_an_open_file() {
        assert_eq!(flags("pos:\t0\nflags:\t012100000\nmnt_id:\t7\n"), Some(0o12_100_000));
        assert!(flags("flags:\t012100000\n").is_some_and(|flags| flags & PATH_ONLY != 0));
        assert!(flags("flags:\t0104000\n").is_some_and(|flags| flags & PATH_ONLY == 0));
        assert_eq!(flags("pos:\t0\n"), None);
    }
}
