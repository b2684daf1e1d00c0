//! The names of keys and tables whose values are secret, and the text that replaces a value.

/// The replacement of a secret.
pub(super) const MASK: &str = "***";

/// The tables that contain only credentials, except the user name.
const CONTAINERS: &[&str] = &["auth", "auths", "header", "headers"];
/// The parts of key names that indicate a secret.
pub(super) const NAMES: &[&str] = &[
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
pub(super) fn is_secret(path: &[String]) -> bool {
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
