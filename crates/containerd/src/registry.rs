//! The registry settings of a loaded configuration, with the place of each.

use crate::document::Document;
use crate::document::load::{LoadError, LoadFault, fault_in};
use crate::hosts::url;
use crate::route::{Headers, SourceLocation};
use crate::rules::Rule;
use crate::toml::value::{Table, Value, ValueKind};
use std::collections::BTreeMap;

/// The two folders that 2.2 and newer look in by default (`internal/cri/config/config_unix.go`).
pub const DEFAULT_CONFIG_PATH: &str = "/etc/containerd/certs.d:/etc/docker/certs.d";

/// What the CRI plugin was told about registries.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// `config_path`, as written or as this version fills it in.
    pub config_path: Option<ConfigPath>,
    /// `mirrors` by registry, `*` included, in the order of the files.
    pub mirrors: Vec<Mirror>,
    /// `configs` by host, with `auths` folded in.
    pub configs: BTreeMap<String, HostConfig>,
    /// Keys of `auths` as written, with their places.
    pub auths: Vec<(String, SourceLocation)>,
    /// `headers`, sent to every registry.
    pub headers: Headers,
    /// Keys that containerd does not know, in tables that it reads.
    pub unknown: Vec<UnknownKey>,
    /// Whether pulls are made by the CRI plugin itself rather than by the transfer service.
    pub local_pull: bool,
}

/// A key that containerd ignores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The whole path below `registry`.
    pub key: Vec<String>,
    /// Where.
    pub place: SourceLocation,
}

/// The folder, or list of folders, that hold a folder for each registry.
#[derive(Clone, Debug)]
pub struct ConfigPath {
    /// As written: one folder, or several joined by `:`.
    pub value: String,
    /// Where it stands; nothing when containerd fills it in.
    pub place: Option<SourceLocation>,
}

/// One entry of `mirrors`.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The registry, or `*`.
    pub registry: String,
    /// Endpoints as written, in order.
    pub endpoints: Vec<(String, SourceLocation)>,
    /// Where the entry stands.
    pub place: SourceLocation,
}

/// One entry of `configs`.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// Where its `auth` stands. Its content is never read.
    pub auth: Option<SourceLocation>,
    /// Its `tls`, in releases that read it.
    pub tls: Option<TlsConfig>,
    /// Where a `tls` stands that this version ignores.
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
    /// Where the table stands.
    pub place: Option<SourceLocation>,
}

impl Registry {
    /// The `mirrors` entry of exactly this key.
    pub fn mirror(&self, registry: &str) -> Option<&Mirror> {
        self.mirrors.iter().find(|mirror| mirror.registry == registry)
    }

    /// Reads the live registry settings of `document`.
    ///
    /// # Errors
    ///
    /// A value of a type that stops the daemon.
    pub fn read(document: &Document) -> Result<Self, Box<LoadError>> {
        let mut registry = Self::default();
        let reader = RegistryReader { document };
        let Some(live) = document.live() else {
            registry.fill_in_config_path(document, None);
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
        registry.fill_in_config_path(document, path);
        registry.local_pull =
            !document.version.has(Rule::TransferService) || reader.prefers_local_pull(live, &registry)?;
        Ok(registry)
    }

    fn fill_in_config_path(&mut self, document: &Document, written: Option<(String, SourceLocation)>) {
        let always = document.version.has(Rule::DefaultConfigPathAlways);
        let without_mirrors = document.version.has(Rule::DefaultConfigPathWithoutMirrors) && self.mirrors.is_empty();
        let filled = || ConfigPath {
            value: DEFAULT_CONFIG_PATH.to_owned(),
            place: None,
        };
        self.config_path = match written {
            Some((value, place)) if !value.is_empty() => Some(ConfigPath {
                value,
                // What a move between schemas filled in stands in no file.
                place: Some(place).filter(|place| place.line.is_some()),
            }),
            Some(_) if without_mirrors => Some(filled()),
            None if always || without_mirrors => Some(filled()),
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

    /// The tables below `key`, each a struct of its own.
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

    /// `auths` overwrite the `auth` of the host that their key names (`ValidateImageConfig`).
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

    fn unknown(&self, table: &Table, known: &[&str], below: &[&str], unknown: &mut Vec<UnknownKey>) {
        let fold = self.document.version.has(Rule::KeysFoldCase);
        let is_known = |key: &str| {
            known
                .iter()
                .any(|name| key == *name || fold && key.eq_ignore_ascii_case(name))
        };
        for (key, value) in table.iter().filter(|(key, _)| !is_known(key)) {
            let path = below
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

    /// What keeps pulls in the CRI plugin (`CheckLocalImagePullConfigs`).
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

/// The host that a key of `auths` stands for: with a scheme only the URL's host counts. A key that is no URL keeps CRI
/// from loading, so what it stands for does not matter.
fn host_of_auth(key: &str) -> String {
    match url::parse(key) {
        Ok(read) if !read.scheme.is_empty() => read.host,
        _ => key.to_owned(),
    }
}
