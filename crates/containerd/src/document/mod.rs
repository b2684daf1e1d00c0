//! The configuration that containerd ends up with: the root file and its `imports`, merged as the version merges them.

pub(crate) mod imports;
pub(crate) mod load;
pub(crate) mod moves;

pub(crate) use crate::document::load::load;

use crate::route::SourceLocation;
use crate::toml::value::{Table, Value, ValueKind};
use crate::toml::{Parsed, line_at};
use crate::version::Version;

/// Plugin table of a version 1 file.
pub const CRI_ONE: &str = "cri";
/// Plugin table of a version 2 file.
pub const CRI_TWO: &str = "io.containerd.grpc.v1.cri";
/// Plugin table of a file of version 3 or newer.
pub const CRI_IMAGES: &str = "io.containerd.cri.v1.images";

/// A loaded configuration.
#[derive(Clone, Debug)]
pub struct Document {
    /// The containerd that was asked.
    pub version: Version,
    /// The files in the order in which they were merged, the root file first. Empty when there is no root file, which
    /// containerd takes as its defaults.
    pub files: Vec<ConfigFile>,
    /// The `version` key after merging; what containerd falls back to when no file has one.
    pub schema: i64,
    /// `[plugins]` after merging and moving.
    pub(crate) plugins: Table,
    /// Other keys at the top, merged.
    pub(crate) top: Table,
    /// Oddities met while loading that are no failure.
    pub(crate) remarks: Vec<LoadWarning>,
}

/// One configuration file.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Absolute path as the node sees it.
    pub path: String,
    /// Its text, layout and values.
    pub parsed: Parsed,
    /// Its own `version` key.
    pub schema: Option<i64>,
}

/// Something met while loading that the daemon shrugs at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoadWarning {
    /// An import leads back to a file that was loaded before.
    ImportedAgain { place: SourceLocation, path: String },
    /// A relative glob that this version looks up below its working directory.
    GlobBelowWorkingDirectory { place: SourceLocation, pattern: String },
}

impl Document {
    /// Where a value stands.
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

    /// The name of the plugin table whose registry settings count in this version and schema.
    pub fn active_plugin_table(&self) -> &'static str {
        use crate::rules::Rule;
        if self.version.has(Rule::SchemaThree) {
            CRI_IMAGES
        } else if self.schema < 2 {
            CRI_ONE
        } else {
            CRI_TWO
        }
    }

    /// The CRI image settings in force.
    pub(crate) fn live(&self) -> Option<&Table> {
        self.plugins.get(self.active_plugin_table()).and_then(Value::as_table)
    }

    /// `key` of a struct's table, as this version matches names.
    pub(crate) fn field<'t>(&self, table: &'t Table, key: &str) -> Option<&'t Value> {
        field(table, key, self.version.has(crate::rules::Rule::KeysFoldCase))
    }
}

/// `key` in a table that containerd reads into a struct.
pub(crate) fn field<'t>(table: &'t Table, key: &str, fold: bool) -> Option<&'t Value> {
    let folded = || {
        table
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    };
    table.get(key).or_else(|| fold.then(folded).flatten())
}

/// Merges `from` over `into` as releases with [`crate::rules::Rule::PluginTablesMerged`] do: tables key by key, all else replaced.
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
