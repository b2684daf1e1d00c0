//! Reads D-Bus values of systemd's properties. A value that does not have the documented type is `None`, never a
//! default.

use crate::systemd::error::BusError;
use std::collections::HashMap;
use zbus::{Message, OwnedObjectPath, OwnedVariant, Variant};

/// Properties by their names.
pub(crate) type Properties = HashMap<String, OwnedVariant>;

/// Returns a string or an object path.
pub(crate) fn text<'v>(value: &'v Variant<'_>) -> Option<&'v str> {
    match value {
        Variant::Str(text) => Some(text.as_str()),
        Variant::ObjectPath(path) => Some(path.as_str()),
        _ => None,
    }
}

/// Returns the elements of an array.
pub(crate) fn list<'v>(value: &'v Variant<'_>) -> Option<Vec<&'v Variant<'v>>> {
    match value {
        Variant::Array(array) => Some(array.iter().collect()),
        _ => None,
    }
}

/// Returns the fields of a structure.
pub(crate) fn fields<'v>(value: &'v Variant<'_>) -> Option<&'v [Variant<'v>]> {
    match value {
        Variant::Structure(structure) => Some(structure.fields()),
        _ => None,
    }
}

/// Returns the elements of an array of strings.
pub(crate) fn texts(value: &Variant<'_>) -> Option<Vec<String>> {
    list(value)?
        .into_iter()
        .map(|value| text(value).map(str::to_owned))
        .collect()
}

pub(crate) fn number(value: &Variant<'_>) -> Option<u64> {
    match value {
        Variant::U64(number) => Some(*number),
        Variant::U32(number) => Some((*number).into()),
        _ => None,
    }
}

pub(crate) fn flag(value: &Variant<'_>) -> Option<bool> {
    match value {
        Variant::Bool(flag) => Some(*flag),
        _ => None,
    }
}

/// Returns an array of bytes as hexadecimal digits.
pub(crate) fn hexadecimal(value: &Variant<'_>) -> Option<String> {
    list(value)?
        .into_iter()
        .map(|byte| match byte {
            Variant::U8(byte) => Some(format!("{byte:02x}")),
            _ => None,
        })
        .collect()
}

/// Returns the object path in the answer of `call`.
pub(crate) fn object_path(answer: &Message, call: &'static str) -> Result<String, BusError> {
    let body = answer.body();
    let path: OwnedObjectPath = body.deserialize().map_err(|error| BusError::new(call, error))?;
    Ok(path.as_str().to_owned())
}
