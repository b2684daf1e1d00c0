//! The result of `status`.

use crate::results::source_files::SourceFiles;
use mirrorshift_node::{Drift, Status};

/// The state of a node: its configuration, its changes, and the files that were modified since.
#[derive(Debug)]
pub(crate) struct StatusResult {
    pub(crate) mirrors: MirrorConfiguration,
    /// The directories that `config_path` names.
    pub(crate) config_path: Option<String>,
    pub(crate) author: Option<Author>,
    pub(crate) journal: Status,
    /// True if a unit of Mirrorshift changes the node at this moment.
    pub(crate) under_way: bool,
    /// Files that Mirrorshift wrote and that another program has modified since.
    pub(crate) drifted: Vec<Drift>,
    pub(crate) sources: SourceFiles,
}

/// The place of a node's registry settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MirrorConfiguration {
    /// `registry.mirrors`.
    Legacy,
    /// `config_path` and hosts.toml files.
    Migrated,
    /// `registry.mirrors` and `config_path`, which containerd rejects.
    Both,
    Neither,
    /// The configuration was not read, for this reason.
    Unknown(String),
}

impl MirrorConfiguration {
    /// Returns the name in text and JSON.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Migrated => "migrated",
            Self::Both => "both",
            Self::Neither => "neither",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The program that wrote the hosts.toml files of a migrated node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// A change of Mirrorshift in the journal, or the first line of a hosts.toml.
    Mirrorshift,
    /// No journal and no line of Mirrorshift: another tool, or an operator.
    Other,
}
