//! Removes secrets from text before it is shown: TOML files, parts of them, URLs and free text.
//!
//! The text keeps its lines, so that line numbers and diffs stay correct; only values become `***`. In doubt a value is
//! masked: a masked harmless value only makes the reader open the file, but a printed password cannot be taken back.

/// Text without structure: comments and output of programs.
pub(crate) mod free;
/// TOML, also invalid TOML.
pub(crate) mod toml;
/// URLs and keys as an operator wrote them.
pub(crate) mod url;

#[cfg(test)]
mod tests;

pub use crate::redact::free::text as free_text;
pub use crate::redact::url::written_url;

/// Returns a TOML file without its secret values.
pub fn file(text: &str) -> String {
    fragment(text, &[])
}

/// Returns a part of a TOML file, such as a comment or some keys in `table`, without its secret values.
pub fn fragment(text: &str, table: &[String]) -> String {
    toml::mask(&free::without_keys(text), table, false)
}

/// Returns true if a TOML file contains a value that is not shown.
pub fn holds_secret(text: &str) -> bool {
    file(text) != text
}

/// The replacement of a secret.
const MASK: &str = "***";

/// The tables that contain only credentials, except the user name.
const CONTAINERS: &[&str] = &["auth", "auths", "header", "headers"];
/// The parts of key names that indicate a secret.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "private_key",
    "cookie",
];

/// Returns true if the value at `path` is a secret.
fn is_secret(path: &[String]) -> bool {
    let Some((last, tables)) = path.split_last() else {
        return false;
    };
    // Some releases of containerd match keys in any case.
    let last = last.to_ascii_lowercase();
    let is_in = |list: &[&str], name: &str| list.iter().any(|known| name.eq_ignore_ascii_case(known));
    let inside = tables
        .iter()
        .any(|table| is_in(CONTAINERS, table) || is_in(NAMES, table));
    (inside && last != "username") || is_in(CONTAINERS, &last) || NAMES.iter().any(|name| last.contains(name))
}
