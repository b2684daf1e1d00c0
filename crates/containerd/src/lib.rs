//! What containerd means by its files.
//!
//! For a containerd version and the files of a node: which registry table is live, who is asked for an image in which
//! order, and what that version would refuse, ignore or stop supporting.
//!
//! This crate never opens a file, reads a clock or an environment, and never changes anything: a caller hands it a
//! [`Tree`] of what was read.

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
mod legacy;
mod pem;
mod registries;
mod route;
mod rules;
mod sources;
mod tree;
mod version;

pub use config::{CERTS_D, Config, Cri, CriUnavailable, DEFAULT_CONFIG, ReadResult, read};
pub use document::{CRI_IMAGES, CRI_ONE, CRI_TWO, ConfigFile, Document, LoadError, LoadFault};
pub use findings::{Finding, FindingId, Severity, findings, upgrade};
pub use hosts::{HostsFault, HostsFaultKind, hosts_asks, hosts_faults, hosts_route, is_localhost, unread_hosts_paths};
pub use image::{Image, ImageError, is_registry};
pub use legacy::ignored_url_parts;
pub use registries::named_registries;
pub use route::{Failure, Headers, Origin, Provenance, RegistryHost, Route, Scheme, SourceLocation, Tls};
pub use rules::Rule;
pub use sources::Source;
pub use tree::{Entry, Tree};
pub use version::{Version, VersionError};
