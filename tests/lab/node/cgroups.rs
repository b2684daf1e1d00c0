//! The control groups of a node: one in every hierarchy, so that its init is at their roots, no node shares the
//! limits of another, and every process of a node can be found and killed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};

/// The prefix of the names of all groups. With one parent group, one node would remove it while another node creates
/// a group in it.
const PREFIX: &str = "mirrorshift-lab-";
const HIERARCHIES: &str = "/sys/fs/cgroup";

/// Joins the groups before `--`, then executes the rest.
const JOIN: &str = "while [ \"$1\" != -- ]; do echo $$ > \"$1/cgroup.procs\" || exit; shift; done; shift; exec \"$@\"";

/// Returns the groups of a node with this name, under those of this process.
pub(super) fn of(name: &str) -> io::Result<Vec<PathBuf>> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let unified = Path::new(HIERARCHIES).join("cgroup.controllers").exists();
    let hierarchies = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let mount = match controllers.strip_prefix("name=").unwrap_or(controllers) {
            "" if unified => Path::new(HIERARCHIES).to_owned(),
            "" => Path::new(HIERARCHIES).join("unified"),
            mount => Path::new(HIERARCHIES).join(mount),
        };
        // If the path is outside this namespace, the root of the mount is used.
        let group = mount.join(path.trim_start_matches('/'));
        let group = if group.is_dir() { group } else { mount };
        group.is_dir().then(|| group.join(format!("{PREFIX}{name}")))
    });
    Ok(hierarchies.collect())
}

/// Creates the groups.
pub(super) fn make(groups: &[PathBuf]) -> io::Result<()> {
    for group in groups {
        match fs::create_dir(group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", group.display())));
            }
            _ => {}
        }
        // Version 1 accepts no process before these are set.
        for setting in ["cpuset.cpus", "cpuset.mems"] {
            if let (true, Some(above)) = (group.join(setting).exists(), group.parent())
                && let Ok(value) = fs::read_to_string(above.join(setting))
            {
                // On version 2 they are inherited, and an empty one cannot be written.
                drop(fs::write(group.join(setting), value));
            }
        }
    }
    Ok(())
}

/// A command that joins the groups, then executes its arguments.
pub(super) fn joined(groups: &[PathBuf]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", JOIN, "sh"]).args(groups).arg("--");
    command
}

/// Kills every process in the groups and under them.
pub(super) fn kill(groups: &[PathBuf]) -> io::Result<()> {
    for _ in 0..1000 {
        let processes: Vec<Pid> = groups.iter().flat_map(|group| processes(group)).collect();
        if processes.is_empty() {
            return Ok(());
        }
        for process in processes {
            // The process may have ended in the meantime.
            let _ = kill_process(process, Signal::KILL);
        }
        sleep(Duration::from_millis(10));
    }
    Err(io::Error::other("processes of a node do not end"))
}

/// Removes the groups and all groups under them. No process may be in them.
pub(super) fn remove(groups: &[PathBuf]) -> io::Result<()> {
    for group in groups {
        let mut tries = 0;
        while let Err(error) = remove_below(group) {
            // A group is busy for a moment after its last process has ended.
            tries += 1;
            if tries == 200 {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", group.display())));
            }
            sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn remove_below(group: &Path) -> io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for child in children(group) {
        remove_below(&child)?;
    }
    fs::remove_dir(group)
}

fn processes(group: &Path) -> Vec<Pid> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process of another namespace.
    let own = own.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
    let below = children(group);
    own.chain(below.iter().flat_map(|child| processes(child))).collect()
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
