//! What was heard of a containerd that was started with one set of files. It travels as JSON from the sandbox, and holds no
//! secret: values of the configuration are digests, and of requests only what names the one who is asked.

use crate::rehearsal::effective::Effective;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A set of files that containerd may be started with during a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The node's files as they are.
    Before,
    /// As a crash in the middle leaves them: every hosts.toml and CA, and this many of the configuration files.
    Prefix(usize),
    /// All of the change.
    After,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.write_str("the files as they are"),
            Self::Prefix(1) => f.write_str("the first of the new configuration files"),
            Self::Prefix(files) => write!(f, "the first {files} of the new configuration files"),
            Self::After => f.write_str("the new files"),
        }
    }
}

/// What one set of files came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxReport {
    /// The files.
    pub variant: Variant,
    /// Every plugin by `type.id`. Empty when containerd did not start.
    pub plugins: BTreeMap<String, PluginState>,
    /// Whether CRI answered.
    pub cri: bool,
    /// Why containerd did not start or CRI did not answer, in containerd's words, without the user-info of URLs.
    pub silent: Option<String>,
    /// What `containerd config dump` printed, or why that is not known.
    pub effective: Result<Effective, String>,
    /// Who was asked for each image, in the order of the probes. Empty without CRI, and for what a crash leaves.
    pub pulls: Vec<Pull>,
    /// How long it all took: milliseconds.
    pub took_ms: u64,
}

/// Whether a plugin loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// It did.
    Ok,
    /// It asked to be left out.
    Skipped(String),
    /// It failed, for this reason.
    Failed(String),
}

/// Who was asked for one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// As CRI was asked for it.
    pub image: String,
    /// Who was asked, in order, each once.
    pub asked: Vec<ObservedRequest>,
    /// Why containerd gave up, in its words and without the user-info of URLs.
    pub said: String,
}

/// How somebody was spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Plain HTTP.
    Http,
    /// TLS; what was asked for stays unseen.
    Tls,
}

/// Somebody who was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedRequest {
    /// How.
    pub wire: Transport,
    /// The name or address, in lower case, an IPv6 address without its brackets.
    pub host: String,
    /// The port, which a URL may leave out.
    pub port: u16,
    /// Plain requests alone: what precedes the repository, such as `/v2`.
    pub path: Option<String>,
    /// Plain requests alone: the query `ns`, the registry that is meant.
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
