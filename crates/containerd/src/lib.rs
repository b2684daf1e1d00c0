//! A model of containerd's registry configuration.
//!
//! For a containerd version and the files of a node it answers which registry settings take effect, which hosts containerd
//! tries for an image, and what that version rejects, ignores or will stop supporting.
//!
//! The front doors are [`read`], which returns a [`Config`], and [`Config::route`]. [`findings()`] reports faults.
//!
//! This crate never opens a file, reads a clock or the environment, or changes anything. The caller passes the files as a
//! [`Tree`].

/// Reports of settings that a release rejects, ignores or will stop supporting.
pub mod findings;
/// Removal of secrets from text before it is shown. The only redactor of the workspace.
pub mod redact;
/// The registry settings of a configuration.
pub mod registry;
/// TOML as containerd's releases parse it.
pub mod toml;

/// Checks of certificates and keys.
mod certs;
/// A node's configuration, with the state of CRI and the routes.
mod config;
/// The configuration files, loaded and merged.
mod document;
/// Routes by `config_path` and hosts.toml.
mod hosts;
/// Image references.
mod image;
/// Routes by `registry.mirrors` and `registry.configs`.
mod mirrors;
/// The PEM format.
mod pem;
/// The registries that the files name.
mod registries;
/// The hosts that containerd tries for an image.
mod route;
/// The behaviour that differs between releases.
mod rules;
/// The tables that an edit must change.
mod sources;
/// The files of a node as a value.
mod tree;
/// Versions of containerd.
mod version;

pub use crate::config::{CERTS_D, Config, Cri, CriUnavailable, DEFAULT_CONFIG, ReadResult, read};
pub use crate::document::load::{LoadError, LoadFault};
pub use crate::document::{CRI_IMAGES, CRI_ONE, CRI_TWO, ConfigFile, Document};
pub use crate::findings::catalogue::{FindingId, Severity};
pub use crate::findings::{Finding, findings, upgrade};
pub use crate::hosts::error::{HostsFault, HostsFaultKind};
pub use crate::hosts::lint::hosts_faults;
pub use crate::hosts::url::is_localhost;
pub use crate::hosts::{hosts_in_file, hosts_route, unread_hosts_paths};
pub use crate::image::{Image, ImageError, UNNAMED_REGISTRY, is_registry};
pub use crate::mirrors::ignored_url_parts;
pub use crate::registries::named_registries;
pub use crate::route::{Failure, Headers, Origin, Provenance, RegistryHost, Route, Scheme, SourceLocation, Tls};
pub use crate::rules::Rule;
pub use crate::sources::Source;
pub use crate::tree::{Entry, Tree};
pub use crate::version::{Version, VersionError};
