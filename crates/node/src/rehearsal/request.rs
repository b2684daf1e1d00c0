//! What the program in the sandbox is told, and where it answers. Both are files in a folder that the two share; the order
//! holds the daemon's environment, which may be secret, so only root can read it.

use mirrorshift_plan::rehearsal::{SandboxReport, Variant};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The order's name in that folder.
pub(super) const ORDER: &str = "order.json";
/// The answer's.
pub(super) const ANSWER: &str = "answer.json";

/// What to do in the sandbox.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SandboxRequest {
    pub(super) variant: Variant,
    pub(super) program: String,
    pub(super) config: String,
    pub(super) root: String,
    pub(super) state: String,
    pub(super) address: String,
    pub(super) directory: String,
    pub(super) environment: Vec<(String, String)>,
    /// The images to ask for, in order.
    pub(super) images: Vec<String>,
    /// Where somebody may be asked.
    pub(super) ports: Vec<u16>,
    pub(super) times: SandboxTimeouts,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxTimeouts {
    /// A whole set of files: systemd ends the sandbox then.
    pub whole: Duration,
    /// From the start of containerd until CRI answers.
    pub start: Duration,
    /// One image.
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

/// What came of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SandboxResponse {
    /// What containerd did.
    Heard(Box<SandboxReport>),
    /// Why it was not tried.
    Failed(String),
}
