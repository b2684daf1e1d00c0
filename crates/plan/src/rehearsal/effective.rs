//! The output of `containerd config dump`, as the digest of each value by its path. It shows the differences between two
//! configurations and contains no secret.

use crate::step::Digest;
use mirrorshift_containerd::toml::{Table, Value, ValueKind, parse};
use mirrorshift_containerd::{CRI_IMAGES, CRI_ONE, CRI_TWO};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A merged configuration: the digest of every value, by its path in TOML's notation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Effective(BTreeMap<String, Digest>);

/// An output of containerd that is not TOML. The output may contain passwords and is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the output of `containerd config dump` is not TOML")]
pub struct Unreadable;

/// The difference of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The value is missing.
    Missing,
    /// The value is new.
    New,
    /// The value is another.
    Changed,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::New => "is new",
            Self::Changed => "has another value",
        })
    }
}

impl Effective {
    /// Reads the output of `containerd config dump`.
    ///
    /// # Errors
    ///
    /// Returns an error when the output is not TOML.
    pub fn read(dump: &[u8]) -> Result<Self, Unreadable> {
        // Both releases write TOML 1.0, whatever they read.
        let parsed = parse(dump, false).map_err(|_| Unreadable)?;
        let mut all = BTreeMap::new();
        flatten(&parsed.root, "", &mut all);
        Ok(Self(all))
    }

    /// Returns every value, except for registry settings, that is not the same in `after`.
    pub fn differs<'a>(&'a self, after: &'a Self) -> Vec<(&'a str, Difference)> {
        let other = |(path, digest): (&String, &Digest)| match after.0.get(path) {
            None => Some(Difference::Missing),
            Some(then) if then != digest => Some(Difference::Changed),
            Some(_) => None,
        };
        let mut all: Vec<_> = self
            .0
            .iter()
            .filter_map(|entry| Some((entry.0.as_str(), other(entry)?)))
            .collect();
        let new = after.0.keys().filter(|path| !self.0.contains_key(*path));
        all.extend(new.map(|path| (path.as_str(), Difference::New)));
        all.retain(|(path, _)| !is_registry_setting(path));
        all.sort_by_key(|(path, _)| *path);
        all
    }
}

fn flatten(table: &Table, above: &str, all: &mut BTreeMap<String, Digest>) {
    for (key, value) in table {
        let path = match above {
            "" => path_part(key),
            above => format!("{above}.{}", path_part(key)),
        };
        match &value.kind {
            ValueKind::Table(inner) if !inner.is_empty() => flatten(inner, &path, all),
            // 1.x prints every file that it has loaded in the order of a map, which differs from run to run.
            ValueKind::Array(files) if path == "imports" => {
                let mut files: Vec<String> = files.iter().map(plain).collect();
                files.sort();
                all.insert(path, Digest::of(files.join("\n").as_bytes()));
            }
            _ => {
                all.insert(path, Digest::of(plain(value).as_bytes()));
            }
        }
    }
}

/// Returns a value as text, including its type. Keys of tables in lists are sorted.
fn plain(value: &Value) -> String {
    let text = match &value.kind {
        ValueKind::String(text) | ValueKind::Datetime(text) => format!("{text:?}"),
        ValueKind::Integer(number) => number.to_string(),
        ValueKind::Float(number) => number.to_bits().to_string(),
        ValueKind::Boolean(flag) => flag.to_string(),
        ValueKind::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        ValueKind::Table(table) => {
            let mut entries: Vec<String> = table
                .iter()
                .map(|(key, value)| format!("{key:?}={}", plain(value)))
                .collect();
            entries.sort();
            entries.join(",")
        }
    };
    format!("{}({text})", value.kind.name())
}

/// Returns a key as it is written in a path.
fn path_part(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_debug())
    }
}

/// Returns true for the settings that a migration may change.
fn is_registry_setting(path: &str) -> bool {
    [CRI_ONE, CRI_TWO, CRI_IMAGES].iter().any(|plugin| {
        let table = format!("plugins.{}.registry", path_part(plugin));
        path.strip_prefix(table.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
