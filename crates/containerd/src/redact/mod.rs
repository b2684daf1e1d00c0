//! Removes secrets from text before it is shown: TOML files, parts of them, URLs and free text.
//!
//! The text keeps its lines, so that line numbers and diffs stay correct; only values become `***`. In doubt a value is
//! masked: a masked harmless value only makes the reader open the file, but a printed password cannot be taken back.

/// Text without structure: comments and output of programs.
pub(crate) mod free;
/// The names of secret keys, and the mask.
pub(crate) mod secrets;
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
