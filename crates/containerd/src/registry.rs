//! The registry settings of a loaded configuration, each with its location.

use crate::document::load::{LoadError, LoadFault, fault_in};
use crate::document::{DEFAULT_CONFIG_PATH, Document};
use crate::hosts::url;
use crate::route::{Headers, SourceLocation};
use crate::rules::Rule;
use crate::toml::value::{Table, Value, ValueKind};
use std::collections::BTreeMap;

/// The registry settings of the CRI plugin.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// `config_path`, as written, or the default of this version.
    pub config_path: Option<ConfigPath>,
    /// `mirrors` by registry, `*` included, in the order of the files.
    pub mirrors: Vec<Mirror>,
    /// `configs` by host, with `auths` folded in.
    pub configs: BTreeMap<String, HostConfig>,
    /// Keys of `auths` as written, with their locations.
    pub auths: Vec<(String, SourceLocation)>,
    /// `headers`, sent to every registry.
    pub headers: Headers,
    /// Unknown keys in tables that containerd reads.
    pub unknown: Vec<UnknownKey>,
    /// True if the CRI plugin itself makes the pulls, not the transfer service.
    pub local_pull: bool,
}

/// A key that containerd ignores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The path in `registry`.
    pub key: Vec<String>,
    /// The location.
    pub place: SourceLocation,
}

/// The folder, or list of folders, that contain the hosts directories.
#[derive(Clone, Debug)]
pub struct ConfigPath {
    /// The value as written: one folder, or several joined with `:`.
    pub value: String,
    /// The location, or `None` if containerd sets it by default.
    pub place: Option<SourceLocation>,
}

/// One entry of `mirrors`.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The registry, or `*`.
    pub registry: String,
    /// Endpoints as written, in order.
    pub endpoints: Vec<(String, SourceLocation)>,
    /// The location.
    pub place: SourceLocation,
}

/// One entry of `configs`.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// The location of its `auth`, whose contents are never read.
    pub auth: Option<SourceLocation>,
    /// Its `tls`, in releases that read it.
    pub tls: Option<TlsConfig>,
    /// The location of a `tls` that this version ignores.
    pub ignored_tls: Option<SourceLocation>,
}

/// `configs.<host>.tls`.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// `ca_file`.
    pub ca_file: String,
    /// `cert_file`.
    pub cert_file: String,
    /// `key_file`.
    pub key_file: String,
    /// `insecure_skip_verify`.
    pub insecure_skip_verify: bool,
    /// The location of the table.
    pub place: Option<SourceLocation>,
}

impl Registry {
    /// Returns the entry of `mirrors` with exactly this key.
    pub fn mirror(&self, registry: &str) -> Option<&Mirror> {
        self.mirrors.iter().find(|mirror| mirror.registry == registry)
    }

    /// Reads the registry settings of `document` that take effect.
    ///
    /// # Errors
    ///
    /// Fails if the type of a value stops the daemon.
    pub fn read(document: &Document) -> Result<Self, Box<LoadError>> {
        let mut registry = Self::default();
        let reader = RegistryReader { document };
        let Some(live) = document.live() else {
            registry.set_config_path(document, None);
            return Ok(registry);
        };
        let written = reader.table(live, "registry")?;
        if let Some(table) = written {
            registry.mirrors = reader.mirrors(table, &mut registry.unknown)?;
            registry.configs = reader.configs(table, &mut registry.unknown)?;
            registry.auths = reader.auths(table, &mut registry.configs)?;
            registry.headers = reader.headers(table)?;
            let known = ["mirrors", "configs", "auths", "headers", "config_path"];
            reader.unknown(table, &known, &[], &mut registry.unknown);
        }
        let path = match written {
            Some(table) => reader.string(table, "config_path")?,
            None => None,
        };
        registry.set_config_path(document, path);
        registry.local_pull =
            !document.version.has(Rule::TransferService) || reader.prefers_local_pull(live, &registry)?;
        Ok(registry)
    }

    fn set_config_path(&mut self, document: &Document, written: Option<(String, SourceLocation)>) {
        let always = document.version.has(Rule::DefaultConfigPathAlways);
        let without_mirrors = document.version.has(Rule::DefaultConfigPathWithoutMirrors) && self.mirrors.is_empty();
        let default = || ConfigPath {
            value: DEFAULT_CONFIG_PATH.to_owned(),
            place: None,
        };
        self.config_path = match written {
            Some((value, place)) if !value.is_empty() => Some(ConfigPath {
                value,
                // A value that a move between schemas added is not in any file.
                place: Some(place).filter(|place| place.line.is_some()),
            }),
            Some(_) if without_mirrors => Some(default()),
            None if always || without_mirrors => Some(default()),
            _ => None,
        };
        if !document.version.has(Rule::TransferService) {
            self.local_pull = true;
        }
    }
}

struct RegistryReader<'d> {
    document: &'d Document,
}

type RegistryResult<T> = Result<T, Box<LoadError>>;

impl<'d> RegistryReader<'d> {
    fn wrong(&self, key: &str, expected: &'static str, value: &Value) -> Box<LoadError> {
        let fault = LoadFault::WrongType {
            key: key.to_owned(),
            expected,
            found: value.kind.name(),
        };
        match self.document.files.get(value.file) {
            Some(file) => fault_in(file, fault, Some(value)),
            None => Box::new(LoadError {
                fault,
                place: self.document.place(value),
                shown: None,
                span: None,
            }),
        }
    }

    fn table(&self, table: &'d Table, key: &str) -> RegistryResult<Option<&'d Table>> {
        match self.document.field(table, key) {
            None => Ok(None),
            Some(Value {
                kind: ValueKind::Table(inner),
                ..
            }) => Ok(Some(inner)),
            Some(value) => Err(self.wrong(key, "a table", value)),
        }
    }

    fn string(&self, table: &Table, key: &str) -> RegistryResult<Option<(String, SourceLocation)>> {
        match self.document.field(table, key) {
            None => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some((text.to_owned(), self.document.place(value)))),
                None => Err(self.wrong(key, "a string", value)),
            },
        }
    }

    fn text(&self, table: &Table, key: &str) -> RegistryResult<String> {
        Ok(self.string(table, key)?.map(|(text, _)| text).unwrap_or_default())
    }

    fn flag(&self, table: &Table, key: &str, default: bool) -> RegistryResult<bool> {
        match self.document.field(table, key) {
            None => Ok(default),
            Some(Value {
                kind: ValueKind::Boolean(flag),
                ..
            }) => Ok(*flag),
            Some(value) => Err(self.wrong(key, "a boolean", value)),
        }
    }

    /// Returns the tables in `key`, each of which containerd reads into a struct.
    fn entries(&self, table: &'d Table, key: &str) -> RegistryResult<Vec<(&'d String, &'d Table, &'d Value)>> {
        let Some(entries) = self.table(table, key)? else {
            return Ok(Vec::new());
        };
        let entry = |(name, value): (&'d String, &'d Value)| match value.as_table() {
            Some(inner) => Ok((name, inner, value)),
            None => Err(self.wrong(&format!("{key}.{name}"), "a table", value)),
        };
        entries.iter().map(entry).collect()
    }

    fn mirrors(&self, table: &'d Table, unknown: &mut Vec<UnknownKey>) -> RegistryResult<Vec<Mirror>> {
        let mut mirrors = Vec::new();
        for (registry, inner, value) in self.entries(table, "mirrors")? {
            let mut endpoints = Vec::new();
            match self.document.field(inner, "endpoint") {
                None => {}
                Some(Value {
                    kind: ValueKind::Array(values),
                    ..
                }) => {
                    for endpoint in values {
                        let Some(text) = endpoint.as_str() else {
                            return Err(self.wrong("endpoint", "an array of strings", endpoint));
                        };
                        endpoints.push((text.to_owned(), self.document.place(endpoint)));
                    }
                }
                Some(value) => return Err(self.wrong("endpoint", "an array of strings", value)),
            }
            self.unknown(inner, &["endpoint"], &["mirrors", registry], unknown);
            mirrors.push(Mirror {
                registry: registry.clone(),
                endpoints,
                place: self.document.place(value),
            });
        }
        Ok(mirrors)
    }

    fn configs(&self, table: &'d Table, unknown: &mut Vec<UnknownKey>) -> RegistryResult<BTreeMap<String, HostConfig>> {
        let mut configs = BTreeMap::new();
        let reads_tls = self.document.version.has(Rule::TlsInConfigs);
        for (host, inner, _) in self.entries(table, "configs")? {
            let mut config = HostConfig::default();
            if let Some(auth) = self.table(inner, "auth")? {
                self.check_auth(auth)?;
                config.auth = self
                    .document
                    .field(inner, "auth")
                    .map(|value| self.document.place(value));
            }
            if let Some(value) = self.document.field(inner, "tls") {
                if !reads_tls {
                    config.ignored_tls = Some(self.document.place(value));
                } else if let Some(tls) = self.table(inner, "tls")? {
                    config.tls = Some(self.tls(tls, self.document.place(value))?);
                }
            }
            self.unknown(inner, &["auth", "tls"], &["configs", host], unknown);
            configs.insert(host.clone(), config);
        }
        Ok(configs)
    }

    fn tls(&self, table: &Table, place: SourceLocation) -> RegistryResult<TlsConfig> {
        Ok(TlsConfig {
            ca_file: self.text(table, "ca_file")?,
            cert_file: self.text(table, "cert_file")?,
            key_file: self.text(table, "key_file")?,
            insecure_skip_verify: self.flag(table, "insecure_skip_verify", false)?,
            place: Some(place),
        })
    }

    fn check_auth(&self, auth: &Table) -> RegistryResult<()> {
        ["username", "password", "auth", "identitytoken"]
            .into_iter()
            .try_for_each(|key| self.text(auth, key).map(drop))
    }

    /// Reads `auths`, which override the `auth` of the host in their key (`ValidateImageConfig`).
    fn auths(
        &self,
        table: &'d Table,
        configs: &mut BTreeMap<String, HostConfig>,
    ) -> RegistryResult<Vec<(String, SourceLocation)>> {
        let mut auths = Vec::new();
        for (key, inner, value) in self.entries(table, "auths")? {
            self.check_auth(inner)?;
            let place = self.document.place(value);
            configs.entry(host_of_auth(key)).or_default().auth = Some(place.clone());
            auths.push((key.clone(), place));
        }
        Ok(auths)
    }

    fn headers(&self, table: &'d Table) -> RegistryResult<Headers> {
        let Some(headers) = self.table(table, "headers")? else {
            return Ok(Headers::default());
        };
        let mut read = BTreeMap::new();
        for (name, value) in headers {
            let ValueKind::Array(values) = &value.kind else {
                return Err(self.wrong("headers", "tables of arrays of strings", value));
            };
            let texts = values.iter().map(|value| match value.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(self.wrong("headers", "tables of arrays of strings", value)),
            });
            read.insert(name.clone(), texts.collect::<RegistryResult<Vec<_>>>()?);
        }
        Ok(Headers::new(read))
    }

    fn unknown(&self, table: &Table, known: &[&str], parents: &[&str], unknown: &mut Vec<UnknownKey>) {
        let fold = self.document.version.has(Rule::KeysFoldCase);
        let is_known = |key: &str| {
            known
                .iter()
                .any(|name| key == *name || fold && key.eq_ignore_ascii_case(name))
        };
        for (key, value) in table.iter().filter(|(key, _)| !is_known(key)) {
            let path = parents
                .iter()
                .map(|part| (*part).to_owned())
                .chain([key.clone()])
                .collect();
            unknown.push(UnknownKey {
                key: path,
                place: self.document.place(value),
            });
        }
    }

    /// Returns true if a setting keeps pulls in the CRI plugin (`CheckLocalImagePullConfigs`).
    fn prefers_local_pull(&self, live: &'d Table, registry: &Registry) -> RegistryResult<bool> {
        let downloads = match self.document.field(live, "max_concurrent_downloads") {
            None => 3,
            Some(Value {
                kind: ValueKind::Integer(number),
                ..
            }) => *number,
            Some(value) => return Err(self.wrong("max_concurrent_downloads", "an integer", value)),
        };
        Ok(self.flag(live, "use_local_image_pull", false)?
            || !self.flag(live, "disable_snapshot_annotations", true)?
            || self.flag(live, "discard_unpacked_layers", false)?
            || !registry.mirrors.is_empty()
            || !registry.configs.is_empty()
            || downloads != 3
            || self.flag(live, "image_pull_with_sync_fs", false)?)
    }
}

/// Returns the host of a key of `auths`. For a URL with a scheme that is only its host. A key that is not a URL keeps CRI
/// from loading, so its host does not matter.
fn host_of_auth(key: &str) -> String {
    match url::parse(key) {
        Ok(url) if !url.scheme.is_empty() => url.host,
        _ => key.to_owned(),
    }
}
