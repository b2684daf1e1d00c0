//! The report of containerd's behaviour with one set of files.
//!
//! The sandbox prints it as JSON. It contains no secret: values of the configuration are digests, and a request is only
//! recorded by its host, port, path and registry.

use crate::rehearsal::effective::Effective;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A set of files that containerd may be started with during a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The current files.
    Before,
    /// The files after a crash in the middle: every new `hosts.toml` and CA, and this number of new configuration files.
    Prefix(usize),
    /// All new files.
    After,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.write_str("the current files"),
            Self::Prefix(1) => f.write_str("the first of the new configuration files"),
            Self::Prefix(files) => write!(f, "the first {files} of the new configuration files"),
            Self::After => f.write_str("the new files"),
        }
    }
}

/// The behaviour of containerd with one set of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxReport {
    /// The set of files.
    pub variant: Variant,
    /// The state of every plugin, by `type.id`. Empty when containerd did not start.
    pub plugins: BTreeMap<String, PluginState>,
    /// True when CRI answered.
    pub cri: bool,
    /// The reason why containerd did not start or CRI did not answer: containerd's message without secrets.
    pub silent: Option<String>,
    /// The merged configuration that `containerd config dump` printed, or the reason why it is unknown.
    pub effective: Result<Effective, String>,
    /// The pulls, in the order of the probes. Empty without CRI, and for [`Variant::Prefix`].
    pub pulls: Vec<Pull>,
    /// The duration in milliseconds.
    pub took_ms: u64,
}

/// The state of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// The plugin loaded.
    Ok,
    /// The plugin skipped itself, for this reason.
    Skipped(String),
    /// The plugin failed, for this reason.
    Failed(String),
}

/// The pull of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// The image reference in the request to CRI.
    pub image: String,
    /// The requests that registries received, in order, each once.
    pub asked: Vec<ObservedRequest>,
    /// The error of the pull: containerd's message without secrets.
    pub said: String,
}

/// The transport of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Plain HTTP.
    Http,
    /// TLS. The request itself is not visible.
    Tls,
}

/// One request that a registry received.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedRequest {
    /// The transport.
    pub wire: Transport,
    /// The name or address of the host, in lower case, an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path before the repository, such as `/v2`. Only known of a plain HTTP request.
    pub path: Option<String>,
    /// The query `ns`, which names the registry of the image. Only known of a plain HTTP request.
    pub namespace: Option<String>,
}

impl fmt::Display for ObservedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.wire {
            Transport::Http => "http",
            Transport::Tls => "https",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)?;
        if let Some(path) = &self.path {
            f.write_str(path)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " for {namespace}"),
            None => Ok(()),
        }
    }
}
