//! containerd as a child process: started like the running one, in the network of the sandbox.

use crate::containerd::services::{Plugin, PluginStatus};
use crate::containerd::socket::{CallError, Socket};
use crate::error_text::redact_message;
use crate::files::root::split;
use crate::rehearsal::daemon_config::DaemonConfig;
use mirrorshift_plan::rehearsal::PluginState;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The file for the output of containerd, in the sandbox's own /tmp. It is removed together with the sandbox, because
/// it may contain the whole configuration.
const LOG: &str = "/tmp/mirrorshift-containerd.log";
/// The pause between two attempts.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The deadline of one call while containerd is starting.
const CALL: Duration = Duration::from_secs(5);
/// The number of bytes of the output that are read from its end.
const LOG_TAIL: u64 = 64 << 10;
/// The number of characters of the error line that are reported.
const MAX_ERROR: usize = 400;

/// Runs `containerd config dump`. Returns its output, or the reason why the command failed.
pub(super) fn dump(config: &DaemonConfig) -> io::Result<Result<Vec<u8>, String>> {
    let output = command(config).args(["config", "dump"]).output()?;
    if output.status.success() {
        return Ok(Ok(output.stdout));
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Err(error_line(&text).unwrap_or_else(|| output.status.to_string())))
}

/// A running containerd. It is killed when the value is dropped.
pub(super) struct SandboxDaemon {
    child: Child,
    address: String,
}

/// The result of starting containerd.
#[derive(Default)]
pub(super) struct StartupReport {
    pub(super) plugins: BTreeMap<String, PluginState>,
    pub(super) cri: bool,
    /// The reason why CRI does not answer.
    pub(super) silent: Option<String>,
}

impl SandboxDaemon {
    pub(super) fn start(config: &DaemonConfig) -> io::Result<Self> {
        let log = File::create(LOG)?;
        for folder in [config.root.as_str(), &config.state, split(&config.address).0] {
            fs::create_dir_all(folder)?;
        }
        let child = command(config)
            .args([
                "--root",
                &config.root,
                "--state",
                &config.state,
                "--address",
                &config.address,
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self {
            child,
            address: config.address.clone(),
        })
    }

    /// Waits until CRI answers, or until it is certain that it will not.
    pub(super) fn wait(&mut self, within: Duration) -> StartupReport {
        let deadline = Instant::now() + within;
        let mut report = StartupReport::default();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let words = logged_error().unwrap_or_else(|| status.to_string());
                return StartupReport {
                    silent: Some(words),
                    ..StartupReport::default()
                };
            }
            let why = match self.query(&mut report) {
                Ok(()) => {
                    report.cri = true;
                    report.silent = None;
                    return report;
                }
                Err(error @ CallError::NotServed { .. }) if !report.plugins.is_empty() => {
                    report.silent = Some(error.to_string());
                    return report;
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                report.silent = Some(format!("no answer within {} s: {why}", within.as_secs()));
                return report;
            }
            sleep(POLL_INTERVAL);
        }
    }

    /// Reads the plugins, whose states are final once containerd answers at all, and queries CRI, which may still be
    /// starting then.
    fn query(&self, report: &mut StartupReport) -> Result<(), CallError> {
        let mut socket = Socket::connect(&self.address, CALL)?;
        let plugins = socket.plugins()?;
        report.plugins = plugins.into_iter().map(plugin_state).collect();
        socket.cri_status().map(drop)
    }

    /// Kills containerd. Nothing that it has done outlives the sandbox.
    pub(super) fn end(&mut self) {
        // Errors are ignored, because containerd may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for SandboxDaemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn command(config: &DaemonConfig) -> Command {
    let mut command = Command::new(&config.program);
    command
        .args(["--config", &config.config])
        .env_clear()
        .envs(config.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&config.directory)
        .stdin(Stdio::null());
    command
}

fn plugin_state(plugin: Plugin) -> (String, PluginState) {
    let state = match plugin.status {
        PluginStatus::Ok => PluginState::Ok,
        PluginStatus::Skipped(why) => PluginState::Skipped(why),
        PluginStatus::Failed(why) => PluginState::Failed(why),
    };
    (format!("{}.{}", plugin.kind, plugin.id), state)
}

/// Returns the line with the error from the end of the output.
fn logged_error() -> Option<String> {
    let mut file = File::open(LOG).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes).ok()?;
    error_line(&String::from_utf8_lossy(&bytes))
}

/// Returns the last line in which containerd reports why it ended. Other lines are not returned, because they may
/// repeat its configuration.
fn error_line(text: &str) -> Option<String> {
    let line = text
        .lines()
        .rev()
        .find(|line| line.starts_with("containerd: ") || line.contains("level=fatal"))?;
    Some(redact_message(line).chars().take(MAX_ERROR).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_line_is_the_reason_without_passwords() {
        let text = "level=info msg=\"Start cri plugin with config {Auth:secret}\"\n\
            containerd: failed to load TOML from /etc/x: http://u:hunter2@h/v2 is wrong\n\nother\n";
        let line = error_line(text).unwrap();
        assert!(line.starts_with("containerd: failed to load TOML"), "{line}");
        assert!(!line.contains("hunter2") && !line.contains("secret"), "{line}");
        assert_eq!(error_line("level=info msg=x\n"), None);
        assert_eq!(
            error_line(&format!("containerd: {}", "x".repeat(900))).unwrap().len(),
            MAX_ERROR
        );
    }
}
