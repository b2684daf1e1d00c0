//! Finds the containerd daemons and their shims among the processes of the machine.

use crate::facts::fact::Fact;
use crate::facts::launch::Launch;
use crate::facts::process::{self, Process};
use serde::Serialize;
use std::io;
use std::path::Path;

/// A containerd daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Daemon {
    /// The id of the process.
    pub pid: u32,
    /// The id of the parent process.
    pub parent: u32,
    /// The path of the program.
    pub program: Fact<String>,
    /// True if that file was replaced or removed since the start. A restart would then run another program.
    pub program_replaced: Fact<bool>,
    /// The arguments of the process.
    pub launch: Launch,
    /// The paths of the sockets at which the daemon listens.
    pub listens: Fact<Vec<String>>,
    /// True if the daemon is a process of the node itself, and not of a container on it.
    pub of_the_node: Fact<bool>,
}

/// A containerd shim: the process that keeps one sandbox or container alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shim {
    /// The id of the process.
    pub pid: u32,
    /// The containerd namespace, such as `k8s.io` or `moby`.
    pub namespace: Option<String>,
    /// The id of the sandbox or container.
    pub id: Option<String>,
    /// The socket of the containerd that started the shim.
    pub address: Option<String>,
    /// The shim's control groups in the hierarchies that systemd may track it by.
    pub control_groups: Fact<Vec<String>>,
}

impl Shim {
    /// Returns true if the shim is in `group` or in a group under it. If so, it is killed together with a unit whose
    /// `KillMode` kills that group.
    pub fn is_inside(&self, group: &str) -> Fact<bool> {
        let group = group.trim_end_matches('/');
        if group.is_empty() {
            return Fact::unavailable("the unit has no control group");
        }
        let is_under_group = |path: &String| {
            path.strip_prefix(group)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.control_groups.as_ref().and_then(|paths| match paths[..] {
            [] => Fact::unavailable("it is in no hierarchy that systemd tracks"),
            _ => Fact::Value(paths.iter().any(is_under_group)),
        })
    }
}

/// Lists the containerd daemons and the shims in `proc`.
pub(crate) fn find(proc: &Path) -> io::Result<(Vec<Daemon>, Vec<Shim>)> {
    let own = std::fs::read_link(proc.join("self/ns/pid")).map(|link| link.to_string_lossy().into_owned());
    let (mut daemons, mut shims) = (Vec::new(), Vec::new());
    for process in process::all(proc)? {
        // The process may have ended after it was listed.
        let Ok(name) = process.name() else { continue };
        let program = process.program();
        let file = program.as_ref().ok().and_then(|(path, _)| path.rsplit('/').next());
        if name.starts_with("containerd-shim") {
            shims.extend(shim(&process));
        } else if name == "containerd" || file == Some("containerd") {
            let of_the_node = match (&own, process.namespace("pid")) {
                (Ok(own), Ok(its)) => Fact::Value(*own == its),
                (Err(error), _) => Fact::unavailable(error.to_string()),
                (_, Err(error)) => Fact::unavailable(error.to_string()),
            };
            daemons.extend(daemon(&process, program, of_the_node));
        }
    }
    Ok((daemons, shims))
}

/// Returns `None` for a process that has ended, and for a containerd command that is not a daemon.
fn daemon(process: &Process, program: io::Result<(String, bool)>, of_the_node: Fact<bool>) -> Option<Daemon> {
    let arguments = process.arguments().ok().filter(|arguments| !arguments.is_empty())?;
    let launch = Launch::parse(&arguments)?;
    let program: Fact<_> = program.into();
    Some(Daemon {
        pid: process.pid,
        parent: process.stat().ok()?.parent,
        program_replaced: program.as_ref().map(|(_, replaced)| *replaced),
        program: program.map(|(path, _)| path),
        launch,
        listens: process.listens().into(),
        of_the_node,
    })
}

fn shim(process: &Process) -> Option<Shim> {
    let arguments = process.arguments().ok().filter(|arguments| !arguments.is_empty())?;
    let value_of = |flag: &str| {
        let at = arguments
            .iter()
            .position(|argument| argument.trim_start_matches('-') == flag && argument.starts_with('-'))?;
        arguments.get(at + 1).cloned()
    };
    Some(Shim {
        pid: process.pid,
        namespace: value_of("namespace"),
        id: value_of("id"),
        address: value_of("address"),
        control_groups: process.control_groups().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const STAT: &str = ") S 1 0 0 0 -1 0 1 2 3 4 5 6 7 8 20 0 9 0 4321 99 1";

    struct Proc(tempfile::TempDir);

    impl Proc {
        fn new() -> Self {
            let proc = Self(tempfile::tempdir().unwrap());
            proc.process(1, "init", "/sbin/init", "init", "pid:[1]", "0::/init.scope\n");
            symlink("1", proc.0.path().join("self")).unwrap();
            proc
        }

        fn process(&self, pid: u32, name: &str, program: &str, words: &str, pids: &str, groups: &str) {
            let folder = self.0.path().join(pid.to_string());
            for below in ["ns", "fd", "net"] {
                fs::create_dir_all(folder.join(below)).unwrap();
            }
            fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
            fs::write(folder.join("cmdline"), format!("{}\0", words.replace(' ', "\0"))).unwrap();
            fs::write(folder.join("stat"), format!("{pid} ({name}{STAT}")).unwrap();
            fs::write(folder.join("cgroup"), groups).unwrap();
            fs::write(folder.join("net/unix"), "head\n0: 2 0 00010000 1 1 5 /run/a.sock\n").unwrap();
            symlink("socket:[5]", folder.join("fd/3")).unwrap();
            symlink(program, folder.join("exe")).unwrap();
            symlink(pids, folder.join("ns/pid")).unwrap();
        }
    }

    #[test]
    fn find_distinguishes_daemons_from_similar_processes() {
        let proc = Proc::new();
        let here = "pid:[1]";
        proc.process(
            10,
            "containerd",
            "/usr/bin/containerd",
            "containerd -c /x.toml",
            here,
            "",
        );
        proc.process(
            11,
            "containerd",
            "/usr/bin/containerd (deleted)",
            "/usr/bin/containerd",
            here,
            "",
        );
        proc.process(
            12,
            "containerd",
            "/data/bin/k3s",
            "containerd -c /k3s.toml",
            "pid:[2]",
            "",
        );
        proc.process(
            13,
            "containerd",
            "/usr/bin/containerd",
            "containerd config dump",
            here,
            "",
        );
        proc.process(14, "kubelet", "/usr/bin/kubelet", "kubelet --containerd=/x", here, "");
        let (daemons, shims) = find(proc.0.path()).unwrap();
        assert!(shims.is_empty());
        let found: Vec<_> = daemons
            .iter()
            .map(|daemon| {
                (
                    daemon.pid,
                    daemon.program.value().map(String::as_str),
                    daemon.program_replaced.value().copied(),
                    daemon.of_the_node.value(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                (10, Some("/usr/bin/containerd"), Some(false), Some(&true)),
                (11, Some("/usr/bin/containerd"), Some(true), Some(&true)),
                (12, Some("/data/bin/k3s"), Some(false), Some(&false)),
            ]
        );
        assert_eq!(daemons[0].launch.config_path(), "/x.toml");
        assert_eq!(daemons[0].listens.value().unwrap(), &["/run/a.sock"]);
    }

    #[test]
    fn find_includes_a_daemon_with_an_unreadable_program() {
        let proc = Proc::new();
        proc.process(10, "containerd", "/usr/bin/containerd", "containerd", "pid:[1]", "");
        // A process of root as another user sees it.
        for denied in ["exe", "ns/pid"] {
            let path = proc.0.path().join("10").join(denied);
            fs::remove_file(&path).unwrap();
            fs::write(&path, "").unwrap();
        }
        let (daemons, _) = find(proc.0.path()).unwrap();
        assert_eq!(daemons.len(), 1);
        assert!(daemons[0].program.value().is_none() && daemons[0].program_replaced.value().is_none());
        assert!(daemons[0].of_the_node.value().is_none());
    }

    #[test]
    fn is_inside_needs_the_group_or_one_under_it() {
        let proc = Proc::new();
        let words =
            "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id abc -address /run/containerd/containerd.sock";
        let group = "/system.slice/containerd.service";
        for (pid, groups) in [
            (20, "1:name=systemd:/system.slice/containerd.service\n0::/\n"),
            (21, "0::/system.slice/containerd.service/sub\n"),
            (22, "0::/system.slice/containerd.service-else\n"),
            (23, "4:cpu:/system.slice/containerd.service\n"),
        ] {
            proc.process(
                pid,
                "containerd-shim",
                "/usr/bin/containerd-shim-runc-v2",
                words,
                "pid:[1]",
                groups,
            );
        }
        let (_, shims) = find(proc.0.path()).unwrap();
        let inside: Vec<_> = shims
            .iter()
            .map(|shim| shim.is_inside(group).value().copied())
            .collect();
        assert_eq!(inside, [Some(true), Some(true), Some(false), None]);
        assert!(shims[0].is_inside("/").value().is_none());
        assert_eq!(
            (shims[0].namespace.as_deref(), shims[0].id.as_deref()),
            (Some("k8s.io"), Some("abc"))
        );
        assert_eq!(shims[0].address.as_deref(), Some("/run/containerd/containerd.sock"));
    }
}
