//! Redacts files as the command line does: the output never contains the password, and has the same lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrorshift_containerd::redact;
use mirrorshift_containerd::toml::{self, Table, ValueKind};

const SECRET: &str = "hunter2-8f3a";

/// Returns true if a key named `password` has the secret.
fn has_secret(table: &Table) -> bool {
    table.iter().any(|(key, value)| match &value.kind {
        ValueKind::String(text) => key.eq_ignore_ascii_case("password") && text.contains(SECRET),
        ValueKind::Table(table) => has_secret(table),
        ValueKind::Array(values) => values
            .iter()
            .any(|value| matches!(&value.kind, ValueKind::Table(table) if has_secret(table))),
        _ => false,
    })
}

fuzz_target!(|data: &str| {
    let shown = redact::file(data);
    assert_eq!(shown.lines().count(), data.lines().count(), "{data:?}\n{shown:?}");
    drop(redact::free_text(data));
    // An input that contains the secret itself may have it anywhere.
    if data.contains(SECRET) {
        return;
    }
    // The secret replaces the first `@` of the input, or is in an assignment at its end.
    let text = match data.split_once('@') {
        Some((before, after)) => format!("{before}{SECRET}{after}"),
        None => format!("{data}\npassword = \"{SECRET}\"\n"),
    };
    for is_v1 in [true, false] {
        if let Ok(parsed) = toml::parse(text.as_bytes(), is_v1) {
            let shown = redact::file(&text);
            assert!(
                !has_secret(&parsed.root) || !shown.contains(SECRET),
                "shown:\n{shown}\nof:\n{text}"
            );
        }
    }
});
