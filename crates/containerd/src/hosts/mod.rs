//! Routes by `config_path`: the hosts directory of a registry and its hosts.toml, as each release reads them.
//!
//! The rules of `mirrors` are not here but in `mirrors.rs`. `lookup` finds the directory, `file` and `fields` read the
//! hosts.toml, `builder` makes hosts of a route from it, and `lint` reports faults.

/// The step from the settings of a hosts.toml to the hosts of a route.
pub(crate) mod builder;
/// Durations in Go's notation.
pub(crate) mod duration;
/// Faults of a hosts.toml, with effect and remedy.
pub(crate) mod error;
/// The settings of one host.
pub(crate) mod fields;
/// A whole hosts.toml.
pub(crate) mod file;
/// The search for faults in a hosts directory.
pub(crate) mod lint;
/// The search for a registry's hosts directory.
pub(crate) mod lookup;
/// Certificate and key files of a host.
pub(crate) mod tls_files;
/// URLs and paths as Go reads them.
pub(crate) mod url;

#[cfg(test)]
mod tests;

use crate::hosts::builder::HostBuilder;
use crate::hosts::error::HostsFault;
use crate::hosts::file::Hosts;
use crate::hosts::lookup::{TrackedTree, failure};
use crate::route::{Failure, Origin, RegistryHost, Route, SourceLocation};
use crate::tree::{Entry, Tree};
use crate::version::Version;

/// The input of a route by `config_path`, except the registry.
pub(crate) struct LookupContext<'a> {
    pub(crate) version: &'a Version,
    pub(crate) tree: &'a Tree,
    /// The value in the configuration; may be a list.
    pub(crate) config_path: &'a str,
    /// True if a list is split. The transfer service takes the whole text for the name of one folder.
    pub(crate) splits_list: bool,
    /// Returns the key in `registry.configs` whose `auth` containerd sends to a host.
    pub(crate) credentials: &'a dyn Fn(&str) -> Option<String>,
    /// The location of `config_path`.
    pub(crate) config_place: Option<SourceLocation>,
}

/// Returns the route for `registry`, the host of a normalised reference such as `docker.io` or `port.test:5000`.
///
/// An empty `config_path` names no folder. The caller decides whether `mirrors` apply instead.
pub(crate) fn route(context: &LookupContext<'_>, registry: &str) -> Route {
    let tree = TrackedTree::new(context.tree);
    hosts(context, &tree, registry).map_or_else(Route::Fails, Route::Hosts)
}

/// Returns the paths that [`route`] needs for `registry` and that were not read. To read them may reveal more, so call this
/// again until it returns none.
pub(crate) fn unread_paths(context: &LookupContext<'_>, registry: &str) -> Vec<String> {
    let tree = TrackedTree::new(context.tree);
    drop(hosts(context, &tree, registry));
    tree.unread()
}

/// Returns the [`Route`] of `registry` for a configuration with only `config_path`: without credentials, and lists split.
pub fn hosts_route(version: &Version, tree: &Tree, config_path: &str, registry: &str) -> Route {
    route(&minimal_context(version, tree, config_path), registry)
}

/// Returns the paths that [`hosts_route`] needs and `tree` does not have. Call this again when they were read.
pub fn unread_hosts_paths(version: &Version, tree: &Tree, config_path: &str, registry: &str) -> Vec<String> {
    unread_paths(&minimal_context(version, tree, config_path), registry)
}

fn minimal_context<'a>(version: &'a Version, tree: &'a Tree, config_path: &'a str) -> LookupContext<'a> {
    LookupContext {
        version,
        tree,
        config_path,
        splits_list: true,
        credentials: &|_| None,
        config_place: None,
    }
}

/// Returns the hosts that `version` would try for `registry` with a hosts.toml of these contents in `folder`. The files that
/// it names are not read.
///
/// # Errors
///
/// Fails if that release would not use the file.
pub fn hosts_in_file(
    version: &Version,
    folder: &str,
    bytes: &[u8],
    registry: &str,
) -> Result<Vec<RegistryHost>, HostsFault> {
    let path = url::join(folder, FILE);
    let hosts = file::read(version, folder, bytes).map_err(|error| error.at(&path))?;
    let origin = Origin::HostsToml;
    Ok(HostBuilder {
        version,
        registry,
        path: Some(&path),
        origin,
        credentials: &|_| None,
    }
    .all(hosts))
}

const FILE: &str = "hosts.toml";

fn hosts(context: &LookupContext<'_>, tree: &TrackedTree<'_>, registry: &str) -> Result<Vec<RegistryHost>, Failure> {
    let roots = lookup::roots(context.config_path, context.splits_list);
    let found = lookup::folder(tree, context.version, &roots, registry).map_err(|failure| Failure {
        place: context.config_place.clone().or(failure.place),
        ..failure
    })?;
    let mut builder = HostBuilder {
        version: context.version,
        registry,
        path: None,
        origin: Origin::Upstream,
        credentials: context.credentials,
    };
    let Some(found) = found else {
        return Ok(builder.all(Hosts::default()));
    };
    let path = url::join(&found.path, FILE);
    builder.path = Some(&path);
    builder.origin = if found.is_default {
        Origin::DefaultDirectory
    } else {
        Origin::HostsToml
    };
    let hosts = folder_hosts(context.version, tree, &found.path)?;
    for host in hosts.tables.iter().chain([&hosts.root]) {
        let place = SourceLocation {
            path: path.clone(),
            line: host.line,
        };
        tls_files::check(tree, host).map_err(|reason| Failure {
            reason,
            place: Some(place),
        })?;
    }
    Ok(builder.all(hosts))
}

/// Returns the hosts of a folder: from its hosts.toml, or from its certificate files if that is missing, empty or invalid.
fn folder_hosts(version: &Version, tree: &TrackedTree<'_>, folder: &str) -> Result<Hosts, Failure> {
    let path = url::join(folder, FILE);
    match tree.at(&path) {
        Entry::Folder(_) => return Err(failure(&path, "hosts.toml is a folder")),
        Entry::Unusable(what) => return Err(failure(&path, &format!("hosts.toml {what}"))),
        Entry::File(bytes) if !bytes.is_empty() => match file::read(version, folder, bytes) {
            Ok(hosts) => return Ok(hosts),
            Err(error) if error.kind.discards_file() => {}
            Err(error) => {
                let place = SourceLocation { path, line: error.line };
                return Err(Failure {
                    reason: error.found,
                    place: Some(place),
                });
            }
        },
        Entry::File(_) | Entry::Absent => {}
    }
    let names = match tree.at(folder) {
        Entry::Folder(names) => names.as_slice(),
        _ => &[],
    };
    let root = tls_files::of_folder(tree, folder, names).map_err(|reason| failure(folder, &reason))?;
    Ok(Hosts {
        tables: Vec::new(),
        root,
    })
}
