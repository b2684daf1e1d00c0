//! The tables that the registry settings in effect come from. An edit must change these.

use crate::config::Config;
use crate::document::{CRI_IMAGES, CRI_ONE, CRI_TWO};
use crate::rules::Rule;
use crate::toml::value::{Table, Value, ValueKind};
use std::collections::BTreeSet;
use std::ops::Range;

/// A registry table in one file, with the parts of it that take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Index into [`crate::document::Document::files`].
    pub file: usize,
    /// The path of the registry table, such as `plugins`, `io.containerd.grpc.v1.cri`, `registry`.
    pub table: Vec<String>,
    /// True if any of its `mirrors` takes effect.
    pub mirrors: bool,
    /// True if any of its `configs.<host>.tls` takes effect.
    pub tls: bool,
    /// True if its `config_path` takes effect, even an empty one.
    pub config_path: bool,
}

type Leaves = BTreeSet<(usize, usize, usize)>;

impl Config {
    /// Returns the tables of the `mirrors`, `configs.<host>.tls` and `config_path` in effect, in the order of the files.
    pub fn sources(&self) -> Vec<Source> {
        let document = &self.document;
        let Some(live) = document
            .live()
            .and_then(|live| live.get("registry"))
            .and_then(Value::as_table)
        else {
            return Vec::new();
        };
        let reads_tls = document.version.has(Rule::TlsInConfigs);
        let (mirrors, tls, path) = (parts(live, "mirrors"), tls_parts(live), parts(live, "config_path"));
        let mut sources = Vec::new();
        for (index, file) in document.files.iter().enumerate() {
            let Some(plugins) = document.field(&file.parsed.root, "plugins").and_then(Value::as_table) else {
                continue;
            };
            for id in [CRI_ONE, CRI_TWO, CRI_IMAGES] {
                let Some(own) = plugins
                    .get(id)
                    .and_then(Value::as_table)
                    .and_then(|cri| cri.get("registry"))
                else {
                    continue;
                };
                let Some(own) = own.as_table() else { continue };
                let shares = |own: Leaves, live: &Leaves| {
                    own.iter().any(|(_, start, end)| live.contains(&(index, *start, *end)))
                };
                let source = Source {
                    file: index,
                    table: ["plugins", id, "registry"].map(str::to_owned).to_vec(),
                    mirrors: shares(parts(own, "mirrors"), &mirrors),
                    tls: reads_tls && shares(tls_parts(own), &tls),
                    config_path: shares(parts(own, "config_path"), &path),
                };
                if source.mirrors || source.tls || source.config_path {
                    sources.push(source);
                }
            }
        }
        sources
    }

    /// Returns the file's index and the table's path where a registry table is added if no file has one in effect.
    pub fn place_for_registry(&self) -> (usize, Vec<String>) {
        let document = &self.document;
        let two = document.version.has(Rule::SchemaThree);
        let root_schema = document.files.first().and_then(|file| file.schema).unwrap_or(0);
        let id = match (two, root_schema) {
            (true, 2) => CRI_TWO,
            (true, _) => CRI_IMAGES,
            (false, _) => document.active_plugin_table(),
        };
        // Up to 1.7 only the last file with the plugin's table takes effect.
        let has_table = |file: &crate::document::ConfigFile| {
            document
                .field(&file.parsed.root, "plugins")
                .and_then(Value::as_table)
                .is_some_and(|all| all.contains_key(id))
        };
        let last = document.files.iter().rposition(has_table).filter(|_| !two);
        (
            last.unwrap_or(0),
            ["plugins", id, "registry"].map(str::to_owned).to_vec(),
        )
    }

    /// Returns the path of the first value that differs in `other`, except `mirrors`, `config_path` and TLS settings.
    pub fn differs_beyond_registry(&self, other: &Self) -> Option<String> {
        // Without a file there is no schema to keep, because the defaults are the same in every schema.
        if !self.document.files.is_empty() && self.document.schema != other.document.schema {
            return Some("version".to_owned());
        }
        if self.registry.headers != other.registry.headers {
            return Some("registry.headers".to_owned());
        }
        let auth = |config: &Self| -> Vec<String> {
            let with_auth = config.registry.configs.iter().filter(|(_, host)| host.auth.is_some());
            with_auth.map(|(host, _)| host.clone()).collect()
        };
        if auth(self) != auth(other) {
            return Some("registry.configs".to_owned());
        }
        let (mine, theirs) = (
            without_registry(&self.document.plugins),
            without_registry(&other.document.plugins),
        );
        first_difference(&mine, &theirs, "plugins")
            .or_else(|| first_difference(&self.document.top, &other.document.top, ""))
    }
}

/// Returns the locations of `key` and of every value in it.
fn parts(table: &Table, key: &str) -> Leaves {
    let mut leaves = Leaves::new();
    if let Some(value) = table.get(key) {
        walk(value, &mut leaves);
    }
    leaves
}

fn tls_parts(registry: &Table) -> Leaves {
    let mut leaves = Leaves::new();
    let configs = registry.get("configs").and_then(Value::as_table);
    let hosts = configs
        .iter()
        .flat_map(|configs| configs.values())
        .filter_map(Value::as_table);
    hosts
        .filter_map(|host| host.get("tls"))
        .for_each(|tls| walk(tls, &mut leaves));
    leaves
}

fn walk(value: &Value, leaves: &mut Leaves) {
    let Range { start, end } = value.span;
    leaves.insert((value.file, start, end));
    match &value.kind {
        ValueKind::Table(table) => table.values().for_each(|value| walk(value, leaves)),
        ValueKind::Array(values) => values.iter().for_each(|value| walk(value, leaves)),
        _ => {}
    }
}

fn without_registry(plugins: &Table) -> Table {
    let mut plugins = plugins.clone();
    for id in [CRI_ONE, CRI_TWO, CRI_IMAGES] {
        if let Some(ValueKind::Table(cri)) = plugins.get_mut(id).map(|value| &mut value.kind) {
            cri.shift_remove("registry");
            if cri.is_empty() {
                plugins.shift_remove(id);
            }
        }
    }
    plugins
}

fn first_difference(left: &Table, right: &Table, at: &str) -> Option<String> {
    let join = |key: &str| {
        if at.is_empty() {
            key.to_owned()
        } else {
            format!("{at}.{key}")
        }
    };
    let key = left
        .keys()
        .chain(right.keys())
        .find(|key| left.get(*key) != right.get(*key))?;
    match (
        left.get(key).and_then(Value::as_table),
        right.get(key).and_then(Value::as_table),
    ) {
        (Some(inner), Some(other)) => first_difference(inner, other, &join(key)),
        _ => Some(join(key)),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, DEFAULT_CONFIG, read};
    use crate::tree::{Entry, Tree};

    fn config(text: Option<&str>) -> Config {
        let mut tree = Tree::new();
        let entry = text.map_or(Entry::Absent, |text| Entry::File(text.as_bytes().to_vec()));
        tree.insert(DEFAULT_CONFIG, entry);
        let version = "1.7.24".parse().unwrap();
        read(&version, DEFAULT_CONFIG, &tree).outcome.unwrap()
    }

    #[test]
    fn differs_beyond_registry_compares_schema_and_other_keys() {
        let two = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
        let one = "[plugins.cri.registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
        for (before, after, expected) in [
            (None, two, None),
            (Some(""), one, None),
            (Some(""), two, Some("version")),
            (None, "version = 2\nroot = \"/data\"\n", Some("root")),
        ] {
            let differs = config(before).differs_beyond_registry(&config(Some(after)));
            assert_eq!(differs.as_deref(), expected, "{before:?} {after}");
        }
    }
}
