//! The request to the program in the sandbox, and its response. Both are files in a folder that is shared with the
//! sandbox. Only root can read it, because the request contains the daemon's environment, which may be secret.

use crate::rehearsal::daemon_config::DaemonConfig;
use mirrorshift_plan::rehearsal::{SandboxReport, Variant};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The name of the request's file.
pub(super) const REQUEST_FILE: &str = "request.json";
/// The name of the response's file.
pub(super) const RESPONSE_FILE: &str = "response.json";

/// The request to the program in the sandbox.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SandboxRequest {
    pub(super) variant: Variant,
    pub(super) daemon: DaemonConfig,
    /// The images to pull, in order.
    pub(super) images: Vec<String>,
    /// The ports at which containerd may contact a host.
    pub(super) ports: Vec<u16>,
    pub(super) times: SandboxTimeouts,
}

/// Time limits of a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxTimeouts {
    /// The limit for one set of files, at which systemd ends the sandbox.
    pub whole: Duration,
    /// The limit from the start of containerd until CRI answers.
    pub start: Duration,
    /// The limit for one image.
    pub pull: Duration,
}

impl Default for SandboxTimeouts {
    fn default() -> Self {
        Self {
            whole: Duration::from_mins(1),
            start: Duration::from_secs(20),
            pull: Duration::from_secs(10),
        }
    }
}

/// The response of the program in the sandbox.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SandboxResponse {
    /// The observed behaviour of containerd.
    Report(Box<SandboxReport>),
    /// The reason why containerd could not be started or queried.
    Failed(String),
}
