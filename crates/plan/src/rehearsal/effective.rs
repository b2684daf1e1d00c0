//! What `containerd config dump` prints, as the digest of each value under its path: enough to tell what differs, and
//! nothing to keep secret.

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

/// A text that is not what containerd prints. The text itself may hold passwords and is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what `containerd config dump` printed is no TOML")]
pub struct Unreadable;

/// How one value differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is there no more.
    Gone,
    /// It was not there.
    New,
    /// It is another.
    Other,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "is gone",
            Self::New => "is new",
            Self::Other => "has another value",
        })
    }
}

impl Effective {
    /// Reads the output of `containerd config dump`.
    ///
    /// # Errors
    ///
    /// When it is no TOML.
    pub fn read(dump: &[u8]) -> Result<Self, Unreadable> {
        // Both writers keep to TOML 1.0, whatever their readers take.
        let parsed = parse(dump, false).map_err(|_| Unreadable)?;
        let mut all = BTreeMap::new();
        flatten(&parsed.root, "", &mut all);
        Ok(Self(all))
    }

    /// Every value that is not the same in `after`, but for registry settings.
    pub fn differs<'a>(&'a self, after: &'a Self) -> Vec<(&'a str, Difference)> {
        let other = |(path, digest): (&String, &Digest)| match after.0.get(path) {
            None => Some(Difference::Gone),
            Some(then) if then != digest => Some(Difference::Other),
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
            "" => written(key),
            above => format!("{above}.{}", written(key)),
        };
        match &value.kind {
            ValueKind::Table(inner) if !inner.is_empty() => flatten(inner, &path, all),
            // 1.x prints every file that it loaded there, in the order of a map, which is another one each time.
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

/// A value as text, its type included. Keys of tables in lists are sorted.
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

/// A key as it is written in a path.
fn written(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_debug())
    }
}

/// Whether a path is one of those that a migration is about.
fn is_registry_setting(path: &str) -> bool {
    [CRI_ONE, CRI_TWO, CRI_IMAGES].iter().any(|plugin| {
        let table = format!("plugins.{}.registry", written(plugin));
        path.strip_prefix(table.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
