//! Which registries a configuration has anything to say of.

use crate::config::{CERTS_D, Config};
use crate::image::is_registry;
use crate::tree::Tree;
use std::collections::BTreeSet;

/// Registries that the files name: keys of `mirrors` and `configs`, hosts of endpoints, directories below `config_path`
/// and in `/etc/containerd/certs.d`. Sorted, each once.
pub fn named_registries(config: &Config, tree: &Tree) -> Vec<String> {
    let registry = &config.registry;
    let mirrors = registry
        .mirrors
        .iter()
        .flat_map(|mirror| mirror.hosts().chain([mirror.registry.clone()]));
    let configs = registry.configs.keys().cloned();
    let mut roots = config.hosts_roots();
    roots.push(CERTS_D.to_owned());
    let directories = roots.iter().flat_map(|root| config.directories(tree, root));
    let names: BTreeSet<String> = mirrors.chain(configs).chain(directories).collect();
    names
        .into_iter()
        .filter(|name| is_registry(name) && name != "_default")
        .collect()
}
