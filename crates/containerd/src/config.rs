//! A node's containerd configuration as one value: what it loads, whether CRI lives, and who is asked for an image.

use crate::document::load::LoadError;
use crate::document::{
    Document, {self},
};
use crate::image::is_registry;
use crate::registry::Registry;
use crate::route::{Failure, Origin, Provenance, RegistryHost, Route};
use crate::rules::Rule;
use crate::toml::value::{Value, ValueKind};
use crate::tree::{Entry, Tree};
use crate::version::Version;
use crate::{hosts, mirrors};

/// Where containerd looks for its configuration unless its unit says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/containerd/config.toml";
/// Where hosts directories stand by custom.
pub const CERTS_D: &str = "/etc/containerd/certs.d";

/// What a node's containerd makes of its files.
#[derive(Clone, Debug)]
pub struct Config {
    /// The merged configuration.
    pub document: Document,
    /// Its live registry settings.
    pub registry: Registry,
    /// Whether the CRI plugin loads with them.
    pub cri: Cri,
}

/// Whether the CRI plugin loads.
#[derive(Clone, Debug)]
pub enum Cri {
    /// As far as the registry settings go, it does.
    Loads,
    /// It does not: the daemon runs, and every CRI call is answered `Unimplemented`.
    Dead {
        /// Why.
        reason: CriUnavailable,
        /// What is to blame.
        failure: Failure,
        /// Whether `required_plugins` takes the daemon down with it.
        daemon_too: bool,
    },
}

/// Why the CRI plugin does not load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CriUnavailable {
    /// `mirrors` beside a `config_path` that somebody wrote.
    Both,
    /// `mirrors` beside the `config_path` that this version fills in.
    BothByDefault,
    /// `configs.<host>.tls` beside `config_path`, on 1.x.
    TlsBesideConfigPath,
    /// A key of `auths` that Go cannot read as a URL, such as an address with a port and no scheme.
    AuthsKey,
}

/// What reading came to.
#[derive(Debug)]
pub struct ReadResult {
    /// The configuration, or why the daemon would not start with it. Final only when nothing is missing.
    pub outcome: Result<Config, Box<LoadError>>,
    /// Paths that must be read into the tree first.
    pub missing: Vec<String>,
}

/// Reads the configuration that starts at `root` as `version` does.
///
/// Asks for every file that a route may depend on: imports, hosts directories (those in `/etc/containerd/certs.d` too,
/// even when it is not in force), certificates and keys.
pub fn read(version: &Version, root: &str, tree: &Tree) -> ReadResult {
    let loaded = document::load(version, root, tree);
    let outcome = loaded.outcome.and_then(Config::of);
    let mut missing = loaded.missing;
    if let Ok(config) = &outcome {
        missing.extend(config.wanted(tree));
    }
    missing.retain(|path| tree.get(path).is_none());
    missing.sort();
    missing.dedup();
    ReadResult { outcome, missing }
}

impl Config {
    fn of(document: Document) -> Result<Self, Box<LoadError>> {
        let registry = Registry::read(&document)?;
        let cri = cri(&document, &registry);
        Ok(Self {
            document,
            registry,
            cri,
        })
    }

    /// Who is asked for the images of `registry` (host and port; `docker.io` for Docker Hub).
    pub fn route(&self, tree: &Tree, registry: &str) -> Route {
        match &self.cri {
            Cri::Dead { failure, .. } => Route::Fails(failure.clone()),
            Cri::Loads => self.route_if_cri_loaded(tree, registry),
        }
    }

    /// [`Config::route`] as it would be if the CRI plugin loaded: by hosts directories where `config_path` is set.
    pub fn route_if_cri_loaded(&self, tree: &Tree, registry: &str) -> Route {
        if !is_registry(registry) {
            return mirrors::failure("not the name of a registry", None);
        }
        match &self.registry.config_path {
            Some(path) => {
                let credentials = |host: &str| self.credentials(host);
                hosts::route(&self.setting(tree, &path.value, &credentials), registry)
            }
            None => self.route_by_mirrors(tree, registry),
        }
    }

    /// The route that `mirrors` and `configs` spell out, whatever `config_path` says.
    pub fn route_by_mirrors(&self, tree: &Tree, registry: &str) -> Route {
        mirrors::route(&self.registry, tree, registry)
    }

    /// The hosts that `mirrors` and `configs` spell out, whether or not the certificates they name can be read.
    ///
    /// # Errors
    ///
    /// An endpoint that is no URL spells out nothing.
    pub fn hosts_listed_in_mirrors(&self, registry: &str) -> Result<Vec<RegistryHost>, Failure> {
        mirrors::literal_endpoints(&self.registry, registry)
    }

    /// A mirror of `registry` at `url`, asked as an endpoint of `mirrors` is: with the TLS settings and credentials that
    /// `configs` has for its host.
    ///
    /// # Errors
    ///
    /// The URL cannot be asked, or a certificate cannot be read.
    pub fn mirror(&self, tree: &Tree, registry: &str, url: &str) -> Result<RegistryHost, Failure> {
        mirrors::mirror(
            &self.registry,
            tree,
            registry,
            url,
            Provenance {
                rule: Origin::Mirror,
                place: None,
            },
        )
    }

    /// The route that hosts directories below `config_path` would give, whatever is in force.
    pub fn route_by_hosts(&self, tree: &Tree, config_path: &str, registry: &str) -> Route {
        let credentials = |host: &str| self.credentials(host);
        hosts::route(&self.setting(tree, config_path, &credentials), registry)
    }

    /// The key of `configs` whose `auth` a host is shown.
    fn credentials(&self, host: &str) -> Option<String> {
        self.registry
            .configs
            .get(host)
            .and_then(|config| config.auth.as_ref())
            .map(|_| host.to_owned())
    }

    fn setting<'s>(
        &'s self,
        tree: &'s Tree,
        config_path: &'s str,
        credentials: &'s dyn Fn(&str) -> Option<String>,
    ) -> hosts::LookupContext<'s> {
        hosts::LookupContext {
            version: &self.document.version,
            tree,
            config_path,
            splits_list: self.registry.local_pull,
            credentials,
            config_place: self.registry.config_path.as_ref().and_then(|path| path.place.clone()),
        }
    }

    /// The folders that `config_path` names as this version splits it.
    pub fn hosts_roots(&self) -> Vec<String> {
        match &self.registry.config_path {
            None => Vec::new(),
            Some(path) if self.registry.local_pull => path.value.split(':').map(str::to_owned).collect(),
            Some(path) => vec![path.value.clone()],
        }
    }

    /// Registries that have a directory below `root`, by their plain names.
    pub fn directories(&self, tree: &Tree, root: &str) -> Vec<String> {
        let Some(Entry::Folder(names)) = tree.get(root) else {
            return Vec::new();
        };
        let mut registries: Vec<String> = names
            .iter()
            .filter(|name| matches!(tree.get(&format!("{root}/{name}")), Some(Entry::Folder(_))))
            .map(|name| registry_of_directory(name))
            .filter(|name| is_registry(name))
            .collect();
        registries.sort();
        registries.dedup();
        registries
    }

    fn wanted(&self, tree: &Tree) -> Vec<String> {
        let mut wanted = mirrors::wanted(&self.registry);
        let mut roots = self.hosts_roots();
        if !roots.iter().any(|root| root == CERTS_D) {
            roots.push(CERTS_D.to_owned());
        }
        for root in roots.iter().filter(|root| root.starts_with('/')) {
            wanted.push(root.clone());
            if let Some(Entry::Folder(names)) = tree.get(root) {
                wanted.extend(names.iter().map(|name| format!("{root}/{name}")));
            }
            let credentials = |host: &str| self.credentials(host);
            let setting = self.setting(tree, root, &credentials);
            for registry in self
                .directories(tree, root)
                .iter()
                .map(String::as_str)
                .chain(["unnamed.invalid"])
            {
                wanted.extend(hosts::unread_paths(&setting, registry));
            }
        }
        wanted
    }
}

/// `port.test_5000_` is the directory of `port.test:5000`.
pub(crate) fn registry_of_directory(name: &str) -> String {
    let with_port = name.strip_suffix('_').and_then(|rest| rest.rsplit_once('_'));
    match with_port {
        Some((host, port)) if !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{host}:{port}")
        }
        _ => name.to_owned(),
    }
}

fn cri(document: &Document, registry: &Registry) -> Cri {
    let dead = |reason, text: &str, place| Cri::Dead {
        reason,
        failure: Failure {
            reason: format!("{text}, so the CRI plugin does not load"),
            place,
        },
        daemon_too: requires_cri(document),
    };
    if let Some(path) = &registry.config_path {
        let tls = registry.configs.values().find_map(|config| config.tls.as_ref());
        if let Some(mirror) = registry.mirrors.first() {
            let place = Some(mirror.place.clone());
            return if path.place.is_some() {
                dead(CriUnavailable::Both, "`mirrors` and `config_path` are both set", place)
            } else {
                let text = "`mirrors` is set beside the `config_path` that this version fills in";
                dead(CriUnavailable::BothByDefault, text, place)
            };
        }
        if let Some(tls) = tls {
            let text = "`configs.<host>.tls` and `config_path` are both set";
            return dead(CriUnavailable::TlsBesideConfigPath, text, tls.place.clone());
        }
    }
    match registry.auths.iter().find(|(key, _)| hosts::url::parse(key).is_err()) {
        Some((_, place)) => dead(
            CriUnavailable::AuthsKey,
            "a key of `auths` is no URL",
            Some(place.clone()),
        ),
        None => Cri::Loads,
    }
}

fn requires_cri(document: &Document) -> bool {
    let required = document.top.get("required_plugins").map(|value| &value.kind);
    let Some(ValueKind::Array(plugins)) = required else {
        return false;
    };
    let names = [document::CRI_ONE, document::CRI_TWO, document::CRI_IMAGES];
    let images_counts = document.version.has(Rule::SchemaThree);
    let counts = |name: &str| names.contains(&name) && (images_counts || name != document::CRI_IMAGES);
    plugins.iter().filter_map(Value::as_str).any(counts)
}
