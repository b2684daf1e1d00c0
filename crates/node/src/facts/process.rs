//! One process, as the kernel describes it below `/proc`.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Part of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    /// Ticks between boot and its start.
    pub(crate) started: u64,
}

/// The folder of a process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    folder: PathBuf,
}

/// Every process that is seen below `proc`.
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
    /// The process `pid`, whether it is there or not.
    pub(crate) fn of(proc: &Path, pid: u32) -> Self {
        Self {
            pid,
            folder: proc.join(pid.to_string()),
        }
    }

    /// The name that the kernel keeps: the first 15 bytes of its program's.
    pub(crate) fn name(&self) -> io::Result<String> {
        Ok(self.text("comm")?.trim_end().to_owned())
    }

    /// The program's path, and whether another file or none stands there now.
    pub(crate) fn program(&self) -> io::Result<(String, bool)> {
        let link = fs::read_link(self.folder.join("exe"))?.to_string_lossy().into_owned();
        Ok(match link.strip_suffix(" (deleted)") {
            Some(path) => (path.to_owned(), true),
            None => (link, false),
        })
    }

    /// Its words; none for a kernel's thread and for a process that has ended.
    pub(crate) fn words(&self) -> io::Result<Vec<String>> {
        let bytes = fs::read(self.folder.join("cmdline"))?;
        let words = bytes.split_inclusive(|byte| *byte == 0);
        Ok(words
            .map(|word| String::from_utf8_lossy(word.strip_suffix(&[0]).unwrap_or(word)).into_owned())
            .collect())
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        stat(&self.text("stat")?).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not what proc(5) says"))
    }

    /// The name of one of its namespaces, such as `pid:[4026531836]`.
    pub(crate) fn namespace(&self, kind: &str) -> io::Result<String> {
        let link = fs::read_link(self.folder.join("ns").join(kind))?;
        Ok(link.to_string_lossy().into_owned())
    }

    /// Its control groups in the hierarchies that systemd may track it by.
    pub(crate) fn control_groups(&self) -> io::Result<Vec<String>> {
        Ok(control_groups(&self.text("cgroup")?))
    }

    /// The paths of the Unix sockets that it listens at.
    pub(crate) fn listens(&self) -> io::Result<Vec<String>> {
        let mut open = Vec::new();
        for entry in fs::read_dir(self.folder.join("fd"))? {
            // It may close them meanwhile.
            if let Ok(link) = fs::read_link(entry?.path())
                && let Some(inode) = socket(&link.to_string_lossy())
            {
                open.push(inode);
            }
        }
        let mut paths: Vec<String> = listening(&self.text("net/unix")?)
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

/// `PID (name) state parent … start`: the name may hold blanks and parentheses, so the last one counts.
fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Fields 4 and 22 of the line; two stand before the parenthesis.
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// From lines such as `0::/a` (version 2) and `1:name=systemd:/a` (version 1). Hybrid machines have both.
fn control_groups(text: &str) -> Vec<String> {
    let path = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let tracks = number == "0" && controllers.is_empty() || controllers == "name=systemd";
        tracks.then(|| path.to_owned())
    };
    text.lines().filter_map(path).collect()
}

/// The number in `socket:[123]`.
fn socket(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Inode and path of every listening socket with a path in `/proc/net/unix`.
fn listening(text: &str) -> Vec<(u64, String)> {
    /// `__SO_ACCEPTCON`.
    const LISTENS: u32 = 0x1_0000;
    let row = |line: &str| {
        let mut rest = line.trim_start();
        let mut fields = Vec::new();
        for _ in 0..7 {
            let end = rest.find(' ')?;
            fields.push(&rest[..end]);
            // The path is the rest of the line, blanks and all.
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
    fn a_name_may_look_like_the_rest_of_the_line() {
        let line = "77 (a) S 3 (b)) S 12 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 4321 99 1";
        assert_eq!(
            stat(line),
            Some(Stat {
                parent: 12,
                started: 4321
            })
        );
        assert_eq!(stat("77 (a) S"), None);
    }

    #[test]
    fn control_groups_of_both_versions() {
        let hybrid = "3:cpu,cpuacct:/x\n1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n";
        assert_eq!(control_groups(hybrid), ["/system.slice/a.service"; 2]);
        assert_eq!(
            control_groups("0::/kubepods.slice/a:b.scope\n"),
            ["/kubepods.slice/a:b.scope"]
        );
        assert!(control_groups("3:cpu,cpuacct:/x\n").is_empty());
    }

    #[test]
    fn sockets_that_listen() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 31337 /run/containerd/containerd.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01   123 /run/with blank\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 31338 /run/containerd/containerd.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 31339 @abstract\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 31340\n";
        assert_eq!(
            listening(text),
            [
                (31337, "/run/containerd/containerd.sock".to_owned()),
                (123, "/run/with blank".to_owned())
            ]
        );
    }

    #[test]
    fn this_very_process() {
        let me = Process::of(Path::new("/proc"), std::process::id());
        assert_eq!(
            me.program().unwrap().0,
            std::env::current_exe().unwrap().to_str().unwrap()
        );
        assert_eq!(me.words().unwrap(), std::env::args().collect::<Vec<_>>());
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
