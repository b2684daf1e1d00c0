//! One process, as the kernel describes it in `/proc`.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The parts of `/proc/PID/stat` that are used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    /// The time of the start, in ticks since boot.
    pub(crate) started: u64,
}

/// The folder of a process in `/proc`.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    folder: PathBuf,
}

/// Lists all processes that are visible in `proc`.
pub(crate) fn all(proc: &Path) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push(Process {
                pid,
                folder: entry.path(),
            });
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

impl Process {
    /// Refers to the process `pid`, which may not exist.
    pub(crate) fn new(proc: &Path, pid: u32) -> Self {
        Self {
            pid,
            folder: proc.join(pid.to_string()),
        }
    }

    /// Returns the name that the kernel keeps: the first 15 bytes of the program's name.
    pub(crate) fn name(&self) -> io::Result<String> {
        Ok(self.text("comm")?.trim_end().to_owned())
    }

    /// Returns the path of the program, and whether the file there was replaced or removed since.
    pub(crate) fn program(&self) -> io::Result<(String, bool)> {
        let link = fs::read_link(self.folder.join("exe"))?.to_string_lossy().into_owned();
        Ok(match link.strip_suffix(" (deleted)") {
            Some(path) => (path.to_owned(), true),
            None => (link, false),
        })
    }

    /// Returns the arguments; none for a kernel thread and for a process that has ended.
    pub(crate) fn arguments(&self) -> io::Result<Vec<String>> {
        let bytes = fs::read(self.folder.join("cmdline"))?;
        let arguments = bytes.split_inclusive(|byte| *byte == 0);
        Ok(arguments
            .map(|argument| String::from_utf8_lossy(argument.strip_suffix(&[0]).unwrap_or(argument)).into_owned())
            .collect())
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        parse_stat(&self.text("stat")?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "`stat` does not have the form of proc(5)"))
    }

    /// Returns the name of one of the process's namespaces, such as `pid:[4026531836]`.
    pub(crate) fn namespace(&self, kind: &str) -> io::Result<String> {
        let link = fs::read_link(self.folder.join("ns").join(kind))?;
        Ok(link.to_string_lossy().into_owned())
    }

    /// Returns the control groups in the hierarchies that systemd may track the process by.
    pub(crate) fn control_groups(&self) -> io::Result<Vec<String>> {
        Ok(parse_control_groups(&self.text("cgroup")?))
    }

    /// Returns the paths of the Unix sockets at which the process listens.
    pub(crate) fn listens(&self) -> io::Result<Vec<String>> {
        let mut open = Vec::new();
        for entry in fs::read_dir(self.folder.join("fd"))? {
            // The process may have closed it after it was listed.
            if let Ok(link) = fs::read_link(entry?.path())
                && let Some(inode) = socket_inode(&link.to_string_lossy())
            {
                open.push(inode);
            }
        }
        let mut paths: Vec<String> = parse_listening(&self.text("net/unix")?)
            .into_iter()
            .filter(|(inode, _)| open.contains(inode))
            .map(|(_, path)| path)
            .collect();
        paths.sort();
        Ok(paths)
    }

    fn text(&self, name: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.folder.join(name))?).into_owned())
    }
}

/// Parses `PID (name) state parent … start`. The name may contain blanks and parentheses, so it ends at the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Fields 4 and 22 of the line; two are before the parenthesis.
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// Parses lines such as `0::/a` (cgroup version 2) and `1:name=systemd:/a` (version 1). A hybrid machine has both.
fn parse_control_groups(text: &str) -> Vec<String> {
    let path = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_tracked = number == "0" && controllers.is_empty() || controllers == "name=systemd";
        is_tracked.then(|| path.to_owned())
    };
    text.lines().filter_map(path).collect()
}

/// Returns the number in `socket:[123]`.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Parses `/proc/net/unix`, and returns inode and path of every listening socket that has a path.
fn parse_listening(text: &str) -> Vec<(u64, String)> {
    /// `__SO_ACCEPTCON`.
    const LISTENS: u32 = 0x1_0000;
    let row = |line: &str| {
        let mut rest = line.trim_start();
        let mut fields = Vec::new();
        for _ in 0..7 {
            let end = rest.find(' ')?;
            fields.push(&rest[..end]);
            // The path is the rest of the line, including blanks.
            rest = rest[end..].trim_start_matches(' ');
        }
        let flags = u32::from_str_radix(fields[3], 16).ok()?;
        let inode = fields[6].parse().ok()?;
        (flags & LISTENS != 0 && rest.starts_with('/')).then(|| (inode, rest.to_owned()))
    };
    text.lines().skip(1).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_stat_accepts_any_name() {
        let line = "77 (a) S 3 (b)) S 12 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 4321 99 1";
        assert_eq!(
            parse_stat(line),
            Some(Stat {
                parent: 12,
                started: 4321
            })
        );
        assert_eq!(parse_stat("77 (a) S"), None);
    }

    #[test]
    fn parse_control_groups_reads_both_versions() {
        let hybrid = "3:cpu,cpuacct:/x\n1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n";
        assert_eq!(parse_control_groups(hybrid), ["/system.slice/a.service"; 2]);
        assert_eq!(
            parse_control_groups("0::/kubepods.slice/a:b.scope\n"),
            ["/kubepods.slice/a:b.scope"]
        );
        assert!(parse_control_groups("3:cpu,cpuacct:/x\n").is_empty());
    }

    #[test]
    fn parse_listening_skips_other_sockets() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 31337 /run/containerd/containerd.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01   123 /run/with blank\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 31338 /run/containerd/containerd.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 31339 @abstract\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 31340\n";
        assert_eq!(
            parse_listening(text),
            [
                (31337, "/run/containerd/containerd.sock".to_owned()),
                (123, "/run/with blank".to_owned())
            ]
        );
    }

    #[test]
    fn process_reads_this_process() {
        let me = Process::new(Path::new("/proc"), std::process::id());
        assert_eq!(
            me.program().unwrap().0,
            std::env::current_exe().unwrap().to_str().unwrap()
        );
        assert_eq!(me.arguments().unwrap(), std::env::args().collect::<Vec<_>>());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("here");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(me.listens().unwrap().contains(&path.to_str().unwrap().to_owned()));
        assert!(
            all(Path::new("/proc"))
                .unwrap()
                .iter()
                .any(|process| process.pid == me.pid)
        );
        assert_eq!(me.stat().unwrap().parent, std::os::unix::process::parent_id());
    }
}
