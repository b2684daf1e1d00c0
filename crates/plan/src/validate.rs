//! Refuses registry names and endpoints that cannot be migrated, before anything is planned.

use crate::note::Note;
use crate::refusal::{Refusal, RefusalReason};
use mirrorshift_containerd::{Config, ignored_url_parts, is_registry};

/// Refuses a name that cannot be the name of a folder and may be hostile. Notes a name that merely never matches an image.
pub(crate) fn check_names(config: &Config, notes: &mut Vec<Note>) -> Result<(), Box<Refusal>> {
    let names = config
        .registry
        .mirrors
        .iter()
        .map(|mirror| (&mirror.registry, &mirror.place));
    for (name, place) in names.filter(|(name, _)| *name != "*" && !is_registry(name)) {
        let key = printable(name);
        let bare = name.split_once("://").map_or(name.as_str(), |(_, rest)| rest);
        let host = bare.split('/').next().unwrap_or_default().trim_start_matches("*.");
        let dotted = bare.split('/').any(|part| part == "." || part == "..");
        if dotted || !is_registry(host) {
            return Err(Refusal::new(
                RefusalReason::RegistryName,
                format!("`{key}` is not the name of a registry"),
                "Remove the entry, or correct it to `host` or `host:port`.",
            )
            .at(Some(place.clone()))
            .effect("No image can match it."));
        }
        notes.push(Note::NeverMatched {
            key,
            place: place.clone(),
        });
    }
    Ok(())
}

/// Refuses an endpoint with parts that containerd never sends. Its operator believes that they take effect, and a
/// `hosts.toml` without them would hide that they do not. The endpoint is not repeated, because the part may be a password.
pub(crate) fn check_endpoints(config: &Config) -> Result<(), Box<Refusal>> {
    for mirror in &config.registry.mirrors {
        for (written, place) in &mirror.endpoints {
            let parts = ignored_url_parts(written);
            let Some(first) = parts.first() else { continue };
            let hint = match *first {
                "user-info" => {
                    "Remove it. If the host requires a password, put the password into `configs.\"host\".auth` or an \
                     imagePullSecret."
                }
                _ => "Remove it: no pull changes without it.",
            };
            let what = format!(
                "an endpoint of `{}` has {}",
                printable(&mirror.registry),
                parts.join(" and ")
            );
            return Err(Refusal::new(RefusalReason::Endpoint, what, hint)
                .at(Some(place.clone()))
                .effect("containerd has never sent it to the mirror, and a hosts.toml cannot express it."));
        }
    }
    Ok(())
}

/// Returns a key as a message may show it: short, in plain characters, and without a possible password.
fn printable(key: &str) -> String {
    let (hidden, rest) = match key.rsplit_once('@') {
        Some((_, rest)) => ("…@", rest),
        None => ("", key),
    };
    let plain = rest.chars().take(60).flat_map(char::escape_default);
    hidden.chars().chain(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorshift_containerd::{Entry, Tree, read};

    fn config(mirrors: &str) -> Config {
        let text = format!("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors]\n{mirrors}\n");
        let mut tree = Tree::new();
        tree.insert("/c.toml", Entry::File(text.into_bytes()));
        read(&"1.7.24".parse().unwrap(), "/c.toml", &tree).outcome.unwrap()
    }

    #[test]
    fn endpoint_with_parts_that_are_never_sent_is_refused_without_repeating_them() {
        for (endpoint, has) in [
            ("https://user:hunter2@cache.test", "user-info"),
            ("user@cache.test:5000", "user-info"),
            ("https://cache.test/v2?token=hunter2", "a query"),
            ("https://cache.test#hunter2", "a fragment"),
            ("https://hunter2@cache.test?hunter2", "user-info and a query"),
        ] {
            let mirrors = format!("\"*\" = {{ endpoint = [\"http://fine.test\",\n\"{endpoint}\"] }}");
            let refusal = check_endpoints(&config(&mirrors)).unwrap_err();
            assert_eq!(refusal.reason, RefusalReason::Endpoint);
            assert_eq!(refusal.what, format!("an endpoint of `*` has {has}"));
            assert_eq!(
                refusal.place.as_ref().and_then(|place| place.line),
                Some(4),
                "{endpoint}"
            );
            assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:?}");
        }
        let fine = "\"docker.io\" = { endpoint = [\"https://cache.test/v2/a@b\", \"cache.test:5000\", \"http://[::1]:5000\"] }";
        assert!(check_endpoints(&config(fine)).is_ok());
    }

    #[test]
    fn password_in_a_key_is_not_repeated() {
        for key in [
            "https://user:hunter2@cache.test",
            "user:hun@ter2@../x",
            "hunter2@cache.test/é",
        ] {
            let refusal = check_names(&config(&format!("\"{key}\" = {{}}")), &mut Vec::new()).unwrap_err();
            assert_eq!(refusal.reason, RefusalReason::RegistryName);
            assert!(!format!("{refusal:?}").contains("hun"), "{refusal:?}");
        }
    }
}
