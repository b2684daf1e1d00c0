//! The merged configuration: the root file and its `imports`, as a containerd release combines them.
//!
//! The modules here load and merge files. They do not interpret registry settings; `registry.rs` does.

/// The files that an entry of `imports` names.
pub(crate) mod imports;
/// Loading and merging.
pub(crate) mod load;
/// The moves of tables between schemas.
pub(crate) mod moves;

pub(crate) use crate::document::load::load;

use crate::route::SourceLocation;
use crate::rules::Rule;
use crate::toml::value::{Table, Value, ValueKind};
use crate::toml::{Parsed, line_at};
use crate::version::Version;

/// The CRI plugin's table in a version 1 file.
pub const CRI_ONE: &str = "cri";
/// The CRI plugin's table in a version 2 file.
pub const CRI_TWO: &str = "io.containerd.grpc.v1.cri";
/// The table of the CRI image settings in a file of version 3 or newer.
pub const CRI_IMAGES: &str = "io.containerd.cri.v1.images";

/// The default of `config_path` in 2.2 and newer (`internal/cri/config/config_unix.go`).
pub(crate) const DEFAULT_CONFIG_PATH: &str = "/etc/containerd/certs.d:/etc/docker/certs.d";

/// A loaded configuration.
#[derive(Clone, Debug)]
pub struct Document {
    /// The release that reads the files.
    pub version: Version,
    /// The files in the order in which they were merged, the root file first. Empty if there is no root file; containerd then
    /// uses its defaults.
    pub files: Vec<ConfigFile>,
    /// The `version` key after merging, or containerd's default if no file has one.
    pub schema: i64,
    /// `[plugins]` after merging and moving tables.
    pub(crate) plugins: Table,
    /// The other top-level keys, merged.
    pub(crate) top: Table,
    /// Problems that containerd tolerates.
    pub(crate) warnings: Vec<LoadWarning>,
}

/// One configuration file.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// The absolute path on the node.
    pub path: String,
    /// Its text, layout and values.
    pub parsed: Parsed,
    /// Its own `version` key.
    pub schema: Option<i64>,
}

/// A problem found while loading that containerd tolerates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoadWarning {
    /// An import names a file that is already loaded.
    ImportedAgain { place: SourceLocation, path: String },
    /// A relative glob that this version resolves in its working directory.
    GlobBelowWorkingDirectory { place: SourceLocation, pattern: String },
}

impl Document {
    /// Returns the location of a value.
    pub fn place(&self, value: &Value) -> SourceLocation {
        self.place_of(value.file, value.span.start)
    }

    pub(crate) fn place_of(&self, file: usize, offset: usize) -> SourceLocation {
        match self.files.get(file) {
            Some(file) => SourceLocation {
                path: file.path.clone(),
                line: Some(line_at(&file.parsed.text, offset)),
            },
            None => SourceLocation {
                path: String::new(),
                line: None,
            },
        }
    }

    /// Returns the name of the plugin table whose registry settings take effect in this version and schema.
    pub fn active_plugin_table(&self) -> &'static str {
        if self.version.has(Rule::SchemaThree) {
            CRI_IMAGES
        } else if self.schema < 2 {
            CRI_ONE
        } else {
            CRI_TWO
        }
    }

    /// Returns the CRI image settings in effect.
    pub(crate) fn live(&self) -> Option<&Table> {
        self.plugins.get(self.active_plugin_table()).and_then(Value::as_table)
    }

    /// Returns `key` of a table that containerd reads into a struct, as this version matches names.
    pub(crate) fn field<'t>(&self, table: &'t Table, key: &str) -> Option<&'t Value> {
        field(table, key, self.version.has(Rule::KeysFoldCase))
    }
}

/// Returns `key` of a table that containerd reads into a struct; in any case if `fold` is true.
pub(crate) fn field<'t>(table: &'t Table, key: &str, fold: bool) -> Option<&'t Value> {
    let folded = || {
        table
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    };
    table.get(key).or_else(|| fold.then(folded).flatten())
}

/// Merges `from` into `into` as releases with [`crate::rules::Rule::PluginTablesMerged`] do: tables key by key; other
/// values are replaced.
pub(crate) fn merge_tables(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key).map(|old| &mut old.kind), &value.kind) {
            (Some(ValueKind::Table(old)), ValueKind::Table(new)) => merge_tables(old, new),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}
