//! Which containers' output the daemon reads.
//!
//! A container writes to a FIFO of its shim's making, and containerd reads it and writes the log. Between two daemons nobody
//! reads, the FIFO fills, and the container stops at its next line: so whether logs flow is whether the new daemon has the
//! FIFOs open again. That says it for every container at once, a silent one too; whether a log file grows says it for those
//! alone that have something to say just then.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

/// `O_PATH` on every architecture that containerd runs on: a descriptor that names a file and cannot read it. containerd
/// holds one of each FIFO beside the one that it reads from.
const NAMES_ALONE: u32 = 0o10_000_000;

/// The FIFOs of containers that a process has open for reading, by name: `ID-stdout` and `ID-stderr`.
pub(crate) fn of(proc: &Path, pid: u32) -> io::Result<BTreeSet<String>> {
    let folder = proc.join(pid.to_string());
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder.join("fd"))? {
        let entry = entry?;
        // It may close them meanwhile.
        let Ok(link) = fs::read_link(entry.path()) else {
            continue;
        };
        let Some(name) = output(&link) else { continue };
        let info = fs::read_to_string(folder.join("fdinfo").join(entry.file_name())).unwrap_or_default();
        if flags(&info).is_some_and(|flags| flags & NAMES_ALONE == 0) {
            found.insert(name);
        }
    }
    Ok(found)
}

/// The container of such a name.
pub(crate) fn container(name: &str) -> Option<&str> {
    let (id, stream) = name.rsplit_once('-')?;
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && matches!(stream, "stdout" | "stderr")).then_some(id)
}

/// From paths such as `/run/containerd/io.containerd.grpc.v1.cri/containers/ID/io/123/ID-stdout`.
fn output(link: &Path) -> Option<String> {
    let name = link.file_name()?.to_str()?;
    let id = container(name)?;
    let below = link.parent()?.components().any(|part| part.as_os_str() == id);
    below.then(|| name.to_owned())
}

/// `flags:` of `proc(5)`'s `fdinfo`, which is octal.
fn flags(info: &str) -> Option<u32> {
    let line = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_of_containers_are_told_from_other_files() {
        let id = "0123456789abcdef".repeat(4);
        let path = |name: &str| format!("/run/containerd/io.containerd.grpc.v1.cri/containers/{id}/io/99/{name}");
        let stdout = format!("{id}-stdout");
        assert_eq!(output(Path::new(&path(&stdout))), Some(stdout.clone()));
        assert_eq!(container(&stdout), Some(id.as_str()));
        for other in [
            path(&format!("{id}-stdin")),
            path("short-stdout"),
            format!("/tmp/{stdout}"),
            "socket:[12]".to_owned(),
        ] {
            assert_eq!(output(Path::new(&other)), None, "{other}");
        }
    }

    #[test]
    fn what_is_only_named_is_not_read() {
        assert_eq!(flags("pos:\t0\nflags:\t012100000\nmnt_id:\t7\n"), Some(0o12_100_000));
        assert!(flags("flags:\t012100000\n").is_some_and(|flags| flags & NAMES_ALONE != 0));
        assert!(flags("flags:\t0104000\n").is_some_and(|flags| flags & NAMES_ALONE == 0));
        assert_eq!(flags("pos:\t0\n"), None);
    }
}
