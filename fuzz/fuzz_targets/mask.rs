//! What the command line shows of files: never a password, and every line stays a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrorshift_containerd::redact;
use mirrorshift_containerd::toml::{self, Table, ValueKind};

const SECRET: &str = "hunter2-8f3a";

/// Whether a key that names a secret holds ours.
fn held(table: &Table) -> bool {
    table.iter().any(|(key, value)| match &value.kind {
        ValueKind::String(text) => key.eq_ignore_ascii_case("password") && text.contains(SECRET),
        ValueKind::Table(table) => held(table),
        ValueKind::Array(values) => values
            .iter()
            .any(|value| matches!(&value.kind, ValueKind::Table(table) if held(table))),
        _ => false,
    })
}

fuzz_target!(|data: &str| {
    let shown = redact::file(data);
    assert_eq!(shown.lines().count(), data.lines().count(), "{data:?}\n{shown:?}");
    drop(redact::free_text(data));
    // An input that names the secret itself shows it in any place.
    if data.contains(SECRET) {
        return;
    }
    // The secret stands where the input has an `@`, or in an assignment at its end.
    let text = match data.split_once('@') {
        Some((before, after)) => format!("{before}{SECRET}{after}"),
        None => format!("{data}\npassword = \"{SECRET}\"\n"),
    };
    for one in [true, false] {
        if let Ok(parsed) = toml::parse(text.as_bytes(), one) {
            let shown = redact::file(&text);
            assert!(
                !held(&parsed.root) || !shown.contains(SECRET),
                "shown:\n{shown}\nof:\n{text}"
            );
        }
    }
});
