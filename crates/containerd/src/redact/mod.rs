//! Takes secrets out of what is shown: TOML files, pieces of them, and free text.
//!
//! What is shown keeps its lines, so that line numbers and diffs stay true: only values become `***`. The rules lean one
//! way: a harmless value that is masked costs a glance at the file, a password that is shown cannot be taken back.

pub(crate) mod free;
pub(crate) mod toml;

#[cfg(test)]
mod tests;

pub use crate::redact::free::text as free_text;

/// `text`, a TOML file, without the values that are secret.
pub fn file(text: &str) -> String {
    fragment(text, &[])
}

/// A piece of a TOML file that stood in `table`: a comment or some of its keys.
pub fn fragment(text: &str, table: &[String]) -> String {
    toml::mask(&free::without_keys(text), table, false)
}

/// Whether `text`, a TOML file, holds anything that is not shown.
pub fn holds_secret(text: &str) -> bool {
    file(text) != text
}

/// What stands for a secret.
const MASK: &str = "***";

/// Tables that hold nothing but credentials, beside a user's name.
const CONTAINERS: &[&str] = &["auth", "auths", "header", "headers"];
/// Parts of the names of keys that hold a secret.
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

/// Whether the value at `path` is a secret.
fn is_secret(path: &[String]) -> bool {
    let Some((last, tables)) = path.split_last() else {
        return false;
    };
    // containerd 1.x takes keys in any case.
    let last = last.to_ascii_lowercase();
    let is = |list: &[&str], name: &str| list.iter().any(|known| name.eq_ignore_ascii_case(known));
    let inside = tables.iter().any(|table| is(CONTAINERS, table) || is(NAMES, table));
    (inside && last != "username") || is(CONTAINERS, &last) || NAMES.iter().any(|name| last.contains(name))
}
