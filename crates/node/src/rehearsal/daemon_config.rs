//! The properties of the running daemon that its copy in the sandbox must share: program, root file, folders, socket
//! and environment.

use crate::facts::fact::Fact;
use crate::facts::node_facts::Facts;
use crate::rehearsal::error::RehearsalError;
use crate::rehearsal::private_paths::ConfiguredPaths;
use serde::{Deserialize, Serialize};
use std::fs;

/// The folder of containerd's state if neither a flag nor the configuration names one.
const DEFAULT_STATE: &str = "/run/containerd";

/// The properties of the running daemon.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DaemonConfig {
    /// The path of the program.
    pub(super) program: String,
    /// The path of the configuration's root file.
    pub(super) config: String,
    /// The folder for persistent data.
    pub(super) root: String,
    /// The folder for data that need not survive a reboot.
    pub(super) state: String,
    /// The path of the socket.
    pub(super) address: String,
    /// The working directory, to which relative paths in the configuration refer.
    pub(super) directory: String,
    /// The environment, without the variables that are meaningless in the sandbox. Values may be secret.
    pub(super) environment: Vec<(String, String)>,
}

impl DaemonConfig {
    /// Reads the properties of the running daemon.
    ///
    /// # Errors
    /// [`RehearsalError::Unknown`] with the first property that is unavailable.
    pub(super) fn from_facts(facts: &Facts, settings: &ConfiguredPaths) -> Result<Self, RehearsalError> {
        fn required<T: Clone>(what: &'static str, fact: &Fact<T>) -> Result<T, RehearsalError> {
            match fact {
                Fact::Value(value) => Ok(value.clone()),
                Fact::Unavailable(why) => Err(RehearsalError::Unknown { what, why: why.clone() }),
            }
        }
        let address = required("the socket of CRI", &facts.serving)?.address;
        let daemon = facts.serving_daemon().ok_or_else(|| RehearsalError::Unknown {
            what: "the process of the running containerd",
            why: format!("no visible process listens at `{address}`"),
        })?;
        let state = daemon.launch.state.as_deref().or(settings.state.as_deref());
        Ok(Self {
            program: required("the program of the running containerd", &daemon.program)?,
            config: daemon.launch.config_path().to_owned(),
            root: required("the data folder of the running containerd", &facts.containerd.root)?,
            state: state.unwrap_or(DEFAULT_STATE).to_owned(),
            address,
            directory: directory(daemon.pid),
            environment: environment(daemon.pid)?,
        })
    }
}

/// Returns the working directory of a process, or `/` if it is deleted or hidden. A systemd service starts in `/` too.
fn directory(pid: u32) -> String {
    let link = fs::read_link(format!("/proc/{pid}/cwd")).ok();
    let path = link.and_then(|path| path.to_str().map(str::to_owned));
    path.filter(|path| path.starts_with('/') && !path.ends_with(" (deleted)"))
        .unwrap_or_else(|| "/".to_owned())
}

fn environment(pid: u32) -> Result<Vec<(String, String)>, RehearsalError> {
    let path = format!("/proc/{pid}/environ");
    let bytes = fs::read(&path).map_err(RehearsalError::io("read", path))?;
    Ok(sandbox_environment(&bytes))
}

/// Returns the variables that mean the same in the sandbox. Proxies are removed, because containerd would send its
/// requests to them instead of to the registries; so are the variables that systemd sets for one process, and addresses
/// of trace collectors.
fn sandbox_environment(bytes: &[u8]) -> Vec<(String, String)> {
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
        let is_kept = !upper.ends_with("_PROXY") && !upper.starts_with("OTEL_") && !OF_SYSTEMD.contains(&name);
        is_kept.then(|| (name.to_owned(), value.to_owned()))
    };
    bytes.split(|byte| *byte == 0).filter_map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_environment_has_no_proxies_and_no_variables_of_systemd() {
        let environ = b"PATH=/bin\0HTTPS_PROXY=http://u:p@proxy\0no_proxy=x\0NOTIFY_SOCKET=/run/s\0OTEL_EXPORTER=x\0\
            SSL_CERT_FILE=/etc/ca.pem\0EMPTY=\0broken\0BAD=\xff\0";
        let names: Vec<String> = sandbox_environment(environ).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["PATH", "SSL_CERT_FILE", "EMPTY"]);
    }
}
