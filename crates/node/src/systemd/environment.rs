//! Variables of a unit, whose values may be secret: a proxy's address holds its password.

use crate::systemd::value;
use serde::{Serialize, Serializer};
use std::fmt;
use zbus::Variant;

/// Variables that a unit's file sets. Output and `Debug` hold the names alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// `as`: `NAME=value`.
    pub(crate) fn read(value: &Variant<'_>) -> Option<Self> {
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

    /// Names with their values, which may be secret.
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
