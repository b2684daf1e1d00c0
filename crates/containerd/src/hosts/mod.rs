//! Who is asked for an image under `config_path`: the folders of registries and their hosts.toml, as each release reads
//! them.

pub(crate) mod ask;
pub(crate) mod duration;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod file;
pub(crate) mod lint;
pub(crate) mod lookup;
#[cfg(test)]
mod tests;
pub(crate) mod tls_files;
pub(crate) mod url;

use crate::hosts::error::HostsFault;

use crate::hosts::ask::HostBuilder;
use crate::hosts::file::Hosts;
use crate::hosts::lookup::{TrackedTree, failure};
use crate::route::{Failure, Origin, RegistryHost, Route, SourceLocation};
use crate::tree::{Entry, Tree};
use crate::version::Version;

/// What a route under `config_path` depends on beside the registry.
pub(crate) struct LookupContext<'a> {
    /// The containerd that pulls.
    pub(crate) version: &'a Version,
    /// What was read of the node.
    pub(crate) tree: &'a Tree,
    /// As it stands in the configuration, a list too.
    pub(crate) config_path: &'a str,
    /// Whether a list is taken apart. The transfer service takes the whole text for one folder.
    pub(crate) splits_list: bool,
    /// The key below `registry.configs` whose `auth` a host gets.
    pub(crate) credentials: &'a dyn Fn(&str) -> Option<String>,
    /// Where `config_path` stands.
    pub(crate) config_place: Option<SourceLocation>,
}

/// Who is asked for images of `registry`, the host of a normalised reference such as `docker.io` or `port.test:5000`.
///
/// An empty `config_path` names no folder; whether mirrors answer instead is for the caller to know.
pub(crate) fn route(setting: &LookupContext<'_>, registry: &str) -> Route {
    let look = TrackedTree::new(setting.tree);
    hosts(setting, &look, registry).map_or_else(Route::Fails, Route::Hosts)
}

/// The paths that `route` wants to look at for `registry` and that nobody has read. Reading them may bring up others:
/// ask again until there is none.
pub(crate) fn unread_paths(setting: &LookupContext<'_>, registry: &str) -> Vec<String> {
    let look = TrackedTree::new(setting.tree);
    drop(hosts(setting, &look, registry));
    look.unread()
}

/// [`Route`] of `registry` where `config_path` is all there is: no credentials in the configuration, lists taken apart.
pub fn hosts_route(version: &Version, tree: &Tree, config_path: &str, registry: &str) -> Route {
    route(&alone(version, tree, config_path), registry)
}

/// The paths that [`hosts_route`] wants to look at and that `tree` lacks; ask again once they were read.
pub fn unread_hosts_paths(version: &Version, tree: &Tree, config_path: &str, registry: &str) -> Vec<String> {
    unread_paths(&alone(version, tree, config_path), registry)
}

fn alone<'a>(version: &'a Version, tree: &'a Tree, config_path: &'a str) -> LookupContext<'a> {
    LookupContext {
        version,
        tree,
        config_path,
        splits_list: true,
        credentials: &|_| None,
        config_place: None,
    }
}

/// Who a hosts.toml of these bytes makes `version` ask for images of `registry`, whatever the files are that it names.
/// `folder` is where it would stand.
///
/// # Errors
///
/// Why that release would not use the file.
pub fn hosts_asks(
    version: &Version,
    folder: &str,
    bytes: &[u8],
    registry: &str,
) -> Result<Vec<RegistryHost>, HostsFault> {
    let path = url::join(folder, FILE);
    let hosts = file::read(version, folder, bytes).map_err(|unread| unread.at(&path))?;
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

fn hosts(setting: &LookupContext<'_>, look: &TrackedTree<'_>, registry: &str) -> Result<Vec<RegistryHost>, Failure> {
    let roots = lookup::roots(setting.config_path, setting.splits_list);
    let found = lookup::folder(look, setting.version, &roots, registry).map_err(|failure| Failure {
        place: setting.config_place.clone().or(failure.place),
        ..failure
    })?;
    let mut asking = HostBuilder {
        version: setting.version,
        registry,
        path: None,
        origin: Origin::Upstream,
        credentials: setting.credentials,
    };
    let Some(found) = found else {
        return Ok(asking.all(Hosts::default()));
    };
    let path = url::join(&found.path, FILE);
    asking.path = Some(&path);
    asking.origin = if found.is_default {
        Origin::DefaultDirectory
    } else {
        Origin::HostsToml
    };
    let hosts = folder_hosts(setting.version, look, &found.path)?;
    for host in hosts.tables.iter().chain([&hosts.root]) {
        let place = SourceLocation {
            path: path.clone(),
            line: host.line,
        };
        tls_files::check(look, host).map_err(|reason| Failure {
            reason,
            place: Some(place),
        })?;
    }
    Ok(asking.all(hosts))
}

/// What a folder says: its hosts.toml, or its certificate files where that is missing, empty or bad.
fn folder_hosts(version: &Version, look: &TrackedTree<'_>, folder: &str) -> Result<Hosts, Failure> {
    let path = url::join(folder, FILE);
    match look.at(&path) {
        Entry::Folder(_) => return Err(failure(&path, "hosts.toml is a folder")),
        Entry::Unusable(what) => return Err(failure(&path, &format!("hosts.toml {what}"))),
        Entry::File(bytes) if !bytes.is_empty() => match file::read(version, folder, bytes) {
            Ok(hosts) => return Ok(hosts),
            Err(unread) if unread.kind.discards_file() => {}
            Err(unread) => {
                let place = SourceLocation {
                    path,
                    line: unread.line,
                };
                return Err(Failure {
                    reason: unread.found,
                    place: Some(place),
                });
            }
        },
        Entry::File(_) | Entry::Absent => {}
    }
    let names = match look.at(folder) {
        Entry::Folder(names) => names.as_slice(),
        _ => &[],
    };
    let root = tls_files::of_folder(look, folder, names).map_err(|reason| failure(folder, &reason))?;
    Ok(Hosts {
        tables: Vec::new(),
        root,
    })
}
