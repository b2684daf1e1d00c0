//! The environment of a unit. Its values may be secret: the address of a proxy can contain a password.

use crate::systemd::value;
use serde::{Serialize, Serializer};
use std::fmt;
use zbus::Variant;

/// The variables that a unit sets. `Debug` and serialization print only their names.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Reads the D-Bus type `as`, with `NAME=value` in each string.
    pub(crate) fn parse(value: &Variant<'_>) -> Option<Self> {
        let split = |line: String| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        value::texts(value)?
            .into_iter()
            .map(split)
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Iterates over names and values. The values may be secret.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn names(&self) -> Vec<&str> {
        self.iter().map(|(name, _)| name).collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names().fmt(f)
    }
}

impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}
