//! What containerd means by its files.
//!
//! For a containerd version and the files of a node: which registry table is live, who is asked for an image in which
//! order, and what that version would refuse, ignore or stop supporting.
//!
//! This crate never opens a file, reads a clock or an environment, and never changes anything: a caller hands it a
//! [`Tree`] of what was read.

/// Removes secrets from text before it is shown. The only redactor of the workspace.
pub mod redact;

/// TOML as containerd's releases take it.
pub mod toml;

/// What a release refuses, ignores or will stop supporting.
pub mod findings;

/// The registry settings of a configuration.
pub mod registry;

mod certs;
mod config;
mod document;
mod hosts;
mod image;
mod mirrors;
mod pem;
mod registries;
mod route;
mod rules;
mod sources;
mod tree;
mod version;

pub use crate::config::{CERTS_D, Config, Cri, CriUnavailable, DEFAULT_CONFIG, ReadResult, read};
pub use crate::document::load::{LoadError, LoadFault};
pub use crate::document::{CRI_IMAGES, CRI_ONE, CRI_TWO, ConfigFile, Document};
pub use crate::findings::catalogue::{FindingId, Severity};
pub use crate::findings::{Finding, findings, upgrade};
pub use crate::hosts::error::{HostsFault, HostsFaultKind};
pub use crate::hosts::lint::hosts_faults;
pub use crate::hosts::url::is_localhost;
pub use crate::hosts::{hosts_asks, hosts_route, unread_hosts_paths};
pub use crate::image::{Image, ImageError, is_registry};
pub use crate::mirrors::ignored_url_parts;
pub use crate::registries::named_registries;
pub use crate::route::{Failure, Headers, Origin, Provenance, RegistryHost, Route, Scheme, SourceLocation, Tls};
pub use crate::rules::Rule;
pub use crate::sources::Source;
pub use crate::tree::{Entry, Tree};
pub use crate::version::{Version, VersionError};
