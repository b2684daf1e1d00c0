//! The registries that a node's files name. Their routes must be known before anything is changed.

use crate::config::{CERTS_D, Config};
use crate::image::is_registry;
use crate::registry::Mirror;
use crate::tree::Tree;

/// Returns every registry that `config` or a hosts directory names, sorted, without duplicates: keys of `mirrors` except `*`, the host of
/// every endpoint, hosts of `configs`, and directories in `config_path` and in `/etc/containerd/certs.d`.
///
/// It omits names that no image can have as its registry, such as a key with a scheme or a path.
pub fn named_registries(config: &Config, tree: &Tree) -> Vec<String> {
    let registry = &config.registry;
    let mut named: Vec<String> = registry.mirrors.iter().map(|mirror| mirror.registry.clone()).collect();
    named.extend(registry.mirrors.iter().flat_map(Mirror::hosts));
    named.extend(registry.configs.keys().cloned());
    let mut roots = config.hosts_roots();
    roots.push(CERTS_D.to_owned());
    named.extend(roots.iter().flat_map(|root| config.directories(tree, root)));
    named.retain(|name| is_registry(name));
    named.sort();
    named.dedup();
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULT_CONFIG, read};
    use crate::tree::Entry;

    #[test]
    fn named_registries_include_mirrors_endpoints_configs_and_directories() {
        let text = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors]
"ghcr.io" = { endpoint = ["http://cache:5010/v2/x", "ghcr.example.net", "no url at all"] }
"*" = { endpoint = ["https://user:secret@any.example.net"] }
"https://wrong.example.net" = { endpoint = [] }
[plugins."io.containerd.grpc.v1.cri".registry.configs]
"registry.example.net:5000" = {}
"*" = {}
"#;
        let folder = |names: &[&str]| Entry::Folder(names.iter().map(|name| (*name).to_owned()).collect());
        let mut tree = Tree::new();
        tree.insert(DEFAULT_CONFIG, Entry::File(text.into()));
        let names = ["_default", "dir.example.net_5000_", "ghcr.io", "note.txt"];
        tree.insert(CERTS_D, folder(&names));
        for name in &names[..3] {
            tree.insert(format!("{CERTS_D}/{name}"), folder(&[]));
        }
        tree.insert(format!("{CERTS_D}/note.txt"), Entry::File(Vec::new()));
        let config = read(&"1.7.24".parse().unwrap(), DEFAULT_CONFIG, &tree).outcome.unwrap();
        assert_eq!(
            named_registries(&config, &tree),
            [
                "any.example.net",
                "cache:5010",
                "dir.example.net:5000",
                "ghcr.example.net",
                "ghcr.io",
                "registry.example.net:5000"
            ]
        );
    }
}
