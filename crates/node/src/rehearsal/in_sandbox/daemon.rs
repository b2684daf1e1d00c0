//! containerd as a child: started as the running one was, with another network around it, until it has answered.

use crate::containerd::services::{Plugin, PluginStatus};
use crate::containerd::socket::{CallError, Socket};
use crate::facts::fact::describe;
use crate::rehearsal::request::SandboxRequest;
use mirrorshift_plan::rehearsal::PluginState;
use std::collections::BTreeMap;
use std::fs::{
    File, {self},
};
use std::io::{
    Read, Seek, SeekFrom, {self},
};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What it prints, in the sandbox's own /tmp: it goes with the sandbox, as it may hold the whole configuration.
const LOG: &str = "/tmp/mirrorshift-containerd.log";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// For one call while it comes up.
const CALL: Duration = Duration::from_secs(5);
/// Of its last words: bytes that are read, and characters that are told.
const LAST: u64 = 64 << 10;
const TOLD: usize = 400;

/// What `containerd config dump` prints, or why it does not.
pub(super) fn dump(order: &SandboxRequest) -> io::Result<Result<Vec<u8>, String>> {
    let output = command(order).args(["config", "dump"]).output()?;
    if output.status.success() {
        return Ok(Ok(output.stdout));
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Err(last_words(&text).unwrap_or_else(|| output.status.to_string())))
}

/// A running containerd. Dropped, it is ended.
pub(super) struct SandboxDaemon {
    child: Child,
    address: String,
}

/// How it came up.
#[derive(Default)]
pub(super) struct StartupReport {
    pub(super) plugins: BTreeMap<String, PluginState>,
    pub(super) cri: bool,
    pub(super) silent: Option<String>,
}

impl SandboxDaemon {
    pub(super) fn start(order: &SandboxRequest) -> io::Result<Self> {
        let log = File::create(LOG)?;
        for folder in [order.root.as_str(), &order.state, folder_of(&order.address)] {
            fs::create_dir_all(folder)?;
        }
        let child = command(order)
            .args([
                "--root",
                &order.root,
                "--state",
                &order.state,
                "--address",
                &order.address,
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self {
            child,
            address: order.address.clone(),
        })
    }

    /// Waits until CRI answers, or says that it never will.
    pub(super) fn wait(&mut self, within: Duration) -> StartupReport {
        let deadline = Instant::now() + within;
        let mut up = StartupReport::default();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let words = logged().unwrap_or_else(|| status.to_string());
                return StartupReport {
                    silent: Some(words),
                    ..StartupReport::default()
                };
            }
            let why = match self.ask(&mut up) {
                Ok(()) => {
                    up.cri = true;
                    up.silent = None;
                    return up;
                }
                Err(error @ CallError::NotServed { .. }) if !up.plugins.is_empty() => {
                    up.silent = Some(error.to_string());
                    return up;
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                up.silent = Some(format!("no answer within {} s: {why}", within.as_secs()));
                return up;
            }
            sleep(PAUSE);
        }
    }

    /// Its plugins, which are settled once it answers at all, and CRI, which may still be starting then.
    fn ask(&self, up: &mut StartupReport) -> Result<(), CallError> {
        let mut socket = Socket::connect(&self.address, CALL)?;
        let plugins = socket.plugins()?;
        up.plugins = plugins.into_iter().map(state).collect();
        socket.cri_status().map(drop)
    }

    /// Ends it at once. Nothing that it has done outlives the sandbox.
    pub(super) fn end(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for SandboxDaemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn command(order: &SandboxRequest) -> Command {
    let mut command = Command::new(&order.program);
    command
        .args(["--config", &order.config])
        .env_clear()
        .envs(order.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&order.directory)
        .stdin(Stdio::null());
    command
}

fn folder_of(path: &str) -> &str {
    crate::files::root::split(path).0
}

fn state(plugin: Plugin) -> (String, PluginState) {
    let state = match plugin.status {
        PluginStatus::Ok => PluginState::Ok,
        PluginStatus::Skipped(why) => PluginState::Skipped(why),
        PluginStatus::Failed(why) => PluginState::Failed(why),
    };
    (format!("{}.{}", plugin.kind, plugin.id), state)
}

/// The last of what it printed.
fn logged() -> Option<String> {
    let mut file = File::open(LOG).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST))).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST).read_to_end(&mut bytes).ok()?;
    last_words(&String::from_utf8_lossy(&bytes))
}

/// The line in which it says why it ended: all others may repeat its configuration.
fn last_words(text: &str) -> Option<String> {
    let line = text
        .lines()
        .rev()
        .find(|line| line.starts_with("containerd: ") || line.contains("level=fatal"))?;
    Some(describe(line).chars().take(TOLD).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_reason_alone_and_hold_no_password() {
        let text = "level=info msg=\"Start cri plugin with config {Auth:secret}\"\n\
            containerd: failed to load TOML from /etc/x: http://u:hunter2@h/v2 is wrong\n\nother\n";
        let words = last_words(text).unwrap();
        assert!(words.starts_with("containerd: failed to load TOML"), "{words}");
        assert!(!words.contains("hunter2") && !words.contains("secret"), "{words}");
        assert_eq!(last_words("level=info msg=x\n"), None);
        assert_eq!(
            last_words(&format!("containerd: {}", "x".repeat(900))).unwrap().len(),
            TOLD
        );
    }
}
