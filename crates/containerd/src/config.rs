//! A node's containerd configuration: the merged files, the state of the CRI plugin, and the route of each registry.

use crate::document::load::LoadError;
use crate::document::{self, Document};
use crate::image::{UNNAMED_REGISTRY, is_registry};
use crate::registry::Registry;
use crate::route::{Failure, Origin, Provenance, RegistryHost, Route};
use crate::rules::Rule;
use crate::toml::value::{Value, ValueKind};
use crate::tree::{Entry, Tree};
use crate::version::Version;
use crate::{hosts, mirrors};

/// The path of containerd's configuration, unless its unit names a different path.
pub const DEFAULT_CONFIG: &str = "/etc/containerd/config.toml";
/// The customary folder of hosts directories.
pub const CERTS_D: &str = "/etc/containerd/certs.d";

/// A node's configuration as one containerd release reads it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The merged configuration.
    pub document: Document,
    /// The registry settings in effect.
    pub registry: Registry,
    /// The state of the CRI plugin with these settings.
    pub cri: Cri,
}

/// The state of the CRI plugin.
#[derive(Clone, Debug)]
pub enum Cri {
    /// The registry settings do not keep it from loading.
    Loads,
    /// It does not load: the daemon runs, and every CRI call fails with `Unimplemented`.
    Unavailable {
        /// The reason.
        reason: CriUnavailable,
        /// The setting that causes it.
        failure: Failure,
        /// True if the daemon exits, because `required_plugins` names the plugin.
        stops_daemon: bool,
    },
}

/// The reason why the CRI plugin does not load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CriUnavailable {
    /// `mirrors` together with a `config_path` that is written in a file.
    Both,
    /// `mirrors` together with the `config_path` that this version sets by default.
    BothByDefault,
    /// `configs.<host>.tls` together with `config_path`, on 1.x.
    TlsWithConfigPath,
    /// A key of `auths` that Go cannot read as a URL, such as an address with a port and no scheme.
    AuthsKey,
}

/// The result of [`read`].
#[derive(Debug)]
pub struct ReadResult {
    /// The configuration, or the reason why the daemon would not start with it. Final only if `missing` is empty.
    pub outcome: Result<Config, Box<LoadError>>,
    /// Paths that the caller must read into the tree before it calls [`read`] again.
    pub missing: Vec<String>,
}

/// Reads the configuration that starts at `root` as `version` does.
///
/// [`ReadResult::missing`] names every file that a route may depend on: imports, hosts directories (also those in
/// `/etc/containerd/certs.d` if `config_path` does not name it), certificates and keys.
///
/// ```
/// use mirrorshift_containerd::{DEFAULT_CONFIG, Entry, Tree, read};
///
/// let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"ghcr.io\"]\n\
///             endpoint = [\"http://cache:5010\"]\n";
/// let mut tree = Tree::new();
/// tree.insert(DEFAULT_CONFIG, Entry::File(text.into()));
/// let version = "1.7.24".parse()?;
/// let result = loop {
///     let result = read(&version, DEFAULT_CONFIG, &tree);
///     if result.missing.is_empty() {
///         break result;
///     }
///     for path in result.missing {
///         // A real caller reads the path. Here no other file exists.
///         tree.insert(path, Entry::Absent);
///     }
/// };
/// let config = result.outcome?;
/// assert_eq!(config.registry.mirrors[0].registry, "ghcr.io");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read(version: &Version, root: &str, tree: &Tree) -> ReadResult {
    let loaded = document::load(version, root, tree);
    let outcome = loaded.outcome.and_then(Config::from_document);
    let mut missing = loaded.missing;
    if let Ok(config) = &outcome {
        missing.extend(config.required_paths(tree));
    }
    missing.retain(|path| tree.get(path).is_none());
    missing.sort();
    missing.dedup();
    ReadResult { outcome, missing }
}

impl Config {
    fn from_document(document: Document) -> Result<Self, Box<LoadError>> {
        let registry = Registry::read(&document)?;
        let cri = cri_state(&document, &registry);
        Ok(Self {
            document,
            registry,
            cri,
        })
    }

    /// Returns the route for images of `registry` (host and port; `docker.io` for Docker Hub).
    ///
    /// ```
    /// use mirrorshift_containerd::{DEFAULT_CONFIG, Entry, Tree, read};
    ///
    /// let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"ghcr.io\"]\n\
    ///             endpoint = [\"http://cache:5010\"]\n";
    /// let mut tree = Tree::new();
    /// tree.insert(DEFAULT_CONFIG, Entry::File(text.into()));
    /// let config = read(&"1.7.24".parse()?, DEFAULT_CONFIG, &tree).outcome?;
    /// let route = config.route(&tree, "ghcr.io");
    /// let urls: Vec<String> = route.hosts().iter().map(|host| host.url()).collect();
    /// assert_eq!(urls, ["http://cache:5010/v2", "https://ghcr.io/v2"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn route(&self, tree: &Tree, registry: &str) -> Route {
        match &self.cri {
            Cri::Unavailable { failure, .. } => Route::Fails(failure.clone()),
            Cri::Loads => self.route_if_cri_loaded(tree, registry),
        }
    }

    /// Returns [`Config::route`] as it would be if the CRI plugin loaded: by hosts directories if `config_path` is set.
    pub fn route_if_cri_loaded(&self, tree: &Tree, registry: &str) -> Route {
        if !is_registry(registry) {
            return mirrors::failure("not the name of a registry", None);
        }
        match &self.registry.config_path {
            Some(path) => {
                let credentials = |host: &str| self.credentials(host);
                hosts::route(&self.lookup_context(tree, &path.value, &credentials), registry)
            }
            None => self.route_by_mirrors(tree, registry),
        }
    }

    /// Returns the route by `mirrors` and `configs`, whatever the value of `config_path`.
    pub fn route_by_mirrors(&self, tree: &Tree, registry: &str) -> Route {
        mirrors::route(&self.registry, tree, registry)
    }

    /// Returns the hosts that `mirrors` and `configs` list. Certificates that they name need not be readable.
    ///
    /// # Errors
    ///
    /// Fails if an endpoint is not a URL.
    pub fn hosts_listed_in_mirrors(&self, registry: &str) -> Result<Vec<RegistryHost>, Failure> {
        mirrors::literal_endpoints(&self.registry, registry)
    }

    /// Returns the host for a mirror of `registry` at `url`, with the TLS settings and credentials that `configs` has for it,
    /// as if `url` were an endpoint in `mirrors`.
    ///
    /// # Errors
    ///
    /// Fails if the URL is not an http or https URL, or a certificate cannot be read.
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

    /// Returns the route by the hosts directories in `config_path`, whatever the configuration has.
    pub fn route_by_hosts(&self, tree: &Tree, config_path: &str, registry: &str) -> Route {
        let credentials = |host: &str| self.credentials(host);
        hosts::route(&self.lookup_context(tree, config_path, &credentials), registry)
    }

    /// Returns the key of `configs` whose `auth` containerd sends to `host`.
    fn credentials(&self, host: &str) -> Option<String> {
        self.registry
            .configs
            .get(host)
            .and_then(|config| config.auth.as_ref())
            .map(|_| host.to_owned())
    }

    fn lookup_context<'s>(
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

    /// Returns the folders that `config_path` names, as this version splits it.
    pub fn hosts_roots(&self) -> Vec<String> {
        match &self.registry.config_path {
            None => Vec::new(),
            Some(path) if self.registry.local_pull => path.value.split(':').map(str::to_owned).collect(),
            Some(path) => vec![path.value.clone()],
        }
    }

    /// Returns the registries that have a directory in `root`.
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

    /// Returns the paths that any route may depend on.
    fn required_paths(&self, tree: &Tree) -> Vec<String> {
        let mut paths = mirrors::required_paths(&self.registry);
        let mut roots = self.hosts_roots();
        if !roots.iter().any(|root| root == CERTS_D) {
            roots.push(CERTS_D.to_owned());
        }
        for root in roots.iter().filter(|root| root.starts_with('/')) {
            paths.push(root.clone());
            if let Some(Entry::Folder(names)) = tree.get(root) {
                paths.extend(names.iter().map(|name| format!("{root}/{name}")));
            }
            let credentials = |host: &str| self.credentials(host);
            let context = self.lookup_context(tree, root, &credentials);
            for registry in self
                .directories(tree, root)
                .iter()
                .map(String::as_str)
                .chain([UNNAMED_REGISTRY])
            {
                paths.extend(hosts::unread_paths(&context, registry));
            }
        }
        paths
    }
}

/// Returns the registry of a hosts directory: `port.test:5000` for `port.test_5000_`.
pub(crate) fn registry_of_directory(name: &str) -> String {
    let with_port = name.strip_suffix('_').and_then(|rest| rest.rsplit_once('_'));
    match with_port {
        Some((host, port)) if !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{host}:{port}")
        }
        _ => name.to_owned(),
    }
}

fn cri_state(document: &Document, registry: &Registry) -> Cri {
    let unavailable = |reason, text: &str, place| Cri::Unavailable {
        reason,
        failure: Failure {
            reason: format!("{text}, so the CRI plugin does not load"),
            place,
        },
        stops_daemon: requires_cri(document),
    };
    if let Some(path) = &registry.config_path {
        let tls = registry.configs.values().find_map(|config| config.tls.as_ref());
        if let Some(mirror) = registry.mirrors.first() {
            let place = Some(mirror.place.clone());
            return if path.place.is_some() {
                unavailable(CriUnavailable::Both, "`mirrors` and `config_path` are both set", place)
            } else {
                let text = "`mirrors` is set together with the `config_path` that this version sets by default";
                unavailable(CriUnavailable::BothByDefault, text, place)
            };
        }
        if let Some(tls) = tls {
            let text = "`configs.<host>.tls` and `config_path` are both set";
            return unavailable(CriUnavailable::TlsWithConfigPath, text, tls.place.clone());
        }
    }
    match registry.auths.iter().find(|(key, _)| hosts::url::parse(key).is_err()) {
        Some((_, place)) => unavailable(
            CriUnavailable::AuthsKey,
            "a key of `auths` is not a URL",
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
    let knows_images = document.version.has(Rule::SchemaThree);
    let is_cri = |name: &str| names.contains(&name) && (knows_images || name != document::CRI_IMAGES);
    plugins.iter().filter_map(Value::as_str).any(is_cri)
}
