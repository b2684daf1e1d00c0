//! The running daemon as its double in the sandbox must be: the same program, root file, data folder, socket, environment.

use crate::facts::fact::Fact;
use crate::facts::node_facts::Facts;
use crate::rehearsal::error::RehearsalError;
use crate::rehearsal::private_paths::ConfiguredPaths;
use std::fs;

/// Where containerd keeps its state unless something else is said.
const STATE: &str = "/run/containerd";

/// What the running daemon was started with, and runs with.
#[derive(Clone)]
pub(super) struct DaemonConfig {
    /// The program.
    pub(super) program: String,
    /// The root file of its configuration.
    pub(super) config: String,
    /// Where it keeps its data.
    pub(super) root: String,
    /// Where it keeps its state.
    pub(super) state: String,
    /// Its socket.
    pub(super) address: String,
    /// Its working directory, which relative paths in its configuration start at.
    pub(super) directory: String,
    /// Its environment, without what is for it alone. Values may be secret.
    pub(super) environment: Vec<(String, String)>,
}

impl DaemonConfig {
    pub(super) fn of(facts: &Facts, settings: &ConfiguredPaths) -> Result<Self, RehearsalError> {
        fn known<T: Clone>(what: &'static str, fact: &Fact<T>) -> Result<T, RehearsalError> {
            match fact {
                Fact::Value(value) => Ok(value.clone()),
                Fact::Unavailable(why) => Err(RehearsalError::Unknown { what, why: why.clone() }),
            }
        }
        let address = known("who serves CRI", &facts.serving)?.address;
        let daemon = facts.serving_daemon().ok_or_else(|| RehearsalError::Unknown {
            what: "the process of the running containerd",
            why: format!("nobody seen here listens at `{address}`"),
        })?;
        let state = daemon.launch.state.as_deref().or(settings.state.as_deref());
        Ok(Self {
            program: known("the program of the running containerd", &daemon.program)?,
            config: daemon.launch.config_path().to_owned(),
            root: known("the data folder of the running containerd", &facts.containerd.root)?,
            state: state.unwrap_or(STATE).to_owned(),
            address,
            directory: directory(daemon.pid),
            environment: environment(daemon.pid)?,
        })
    }
}

/// A daemon whose folder is gone or hidden works in the root, as systemd's services do.
fn directory(pid: u32) -> String {
    let link = fs::read_link(format!("/proc/{pid}/cwd")).ok();
    let path = link.and_then(|path| path.to_str().map(str::to_owned));
    path.filter(|path| path.starts_with('/') && !path.ends_with(" (deleted)"))
        .unwrap_or_else(|| "/".to_owned())
}

fn environment(pid: u32) -> Result<Vec<(String, String)>, RehearsalError> {
    let path = format!("/proc/{pid}/environ");
    let bytes = fs::read(&path).map_err(RehearsalError::io("read", path))?;
    Ok(kept(&bytes))
}

/// Variables that mean the same in the sandbox: no proxies, which would be asked instead of the registries, nothing that
/// systemd said to the daemon alone, and no address of a collector of traces.
fn kept(bytes: &[u8]) -> Vec<(String, String)> {
    const OF_SYSTEMD: [&str; 10] = [
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "MAINPID",
        "SYSTEMD_EXEC_PID",
    ];
    let variable = |line: &[u8]| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
        let upper = name.to_ascii_uppercase();
        let is_ours = !upper.ends_with("_PROXY") && !upper.starts_with("OTEL_") && !OF_SYSTEMD.contains(&name);
        is_ours.then(|| (name.to_owned(), value.to_owned()))
    };
    bytes.split(|byte| *byte == 0).filter_map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_and_what_systemd_said_stay_outside() {
        let environ = b"PATH=/bin\0HTTPS_PROXY=http://u:p@proxy\0no_proxy=x\0NOTIFY_SOCKET=/run/s\0OTEL_EXPORTER=x\0\
            SSL_CERT_FILE=/etc/ca.pem\0EMPTY=\0broken\0BAD=\xff\0";
        let names: Vec<String> = kept(environ).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["PATH", "SSL_CERT_FILE", "EMPTY"]);
    }
}
