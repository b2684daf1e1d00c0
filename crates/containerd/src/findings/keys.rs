//! Findings about keys in registry tables: unknown keys, and registries that no image has.

use crate::findings::catalogue::FindingId;
use crate::findings::finding::{FinderInput, FindingSink};
use crate::image::is_registry;
use crate::redact::written_url;
use crate::registry::{HostConfig, Mirror, UnknownKey};
use crate::route::SourceLocation;
use crate::rules::Rule;
use crate::toml::value::{Table, Value};

/// Keys of other tables of containerd, and of other programs. Written after a mirror's header they belong to the mirror.
const FOREIGN: &[&str] = &[
    "SystemdCgroup",
    "address",
    "config_path",
    "default_runtime_name",
    "disabled_plugins",
    "discard_unpacked_layers",
    "enable_cdi",
    "imports",
    "insecure-registries",
    "insecure_registries",
    "level",
    "max_concurrent_downloads",
    "oom_score",
    "registry-mirrors",
    "required_plugins",
    "root",
    "sandbox_image",
    "snapshotter",
    "state",
    "stream_server_address",
    "stream_server_port",
    "systemd_cgroup",
    "version",
];

pub(super) fn find(input: &FinderInput<'_>, found: &mut FindingSink) {
    for unknown in &input.registry.unknown {
        key(input, unknown, found);
    }
    tls_keys(input, found);
    for mirror in &input.registry.mirrors {
        if mirror.registry != "*" {
            mirror_key(input, mirror, found);
        }
    }
    for (host, config) in &input.registry.configs {
        configs_key(input, host, config, found);
    }
}

fn key(input: &FinderInput<'_>, unknown: &UnknownKey, found: &mut FindingSink) {
    let path: Vec<&str> = unknown.key.iter().map(String::as_str).collect();
    let place = Some(unknown.place.clone());
    let value = input.value(&path).and_then(Value::as_table);
    let (id, what, effect, remedy) = match (path.as_slice(), value) {
        ([host], Some(table)) if table.contains_key("endpoint") => (
            FindingId::MirrorOutsideMirrors,
            format!(
                "`registry.\"{}\"` has endpoints, but is not in `mirrors`.",
                written_url(host)
            ),
            "containerd ignores it and contacts the registry directly.".to_owned(),
            format!(
                "Write `registry.mirrors.\"{0}\"`, or a hosts.toml in `config_path`.",
                written_url(host)
            ),
        ),
        (["mirrors", registry, part], Some(table)) if unquoted(registry, part, table).is_some() => {
            let meant = unquoted(registry, part, table).unwrap_or_default();
            (
                FindingId::MirrorKeyUnquoted,
                format!("`mirrors.{meant}` is written without quotes."),
                format!(
                    "Each dot starts a nested table: containerd reads a mirror `{}` without endpoints, which conflicts with \
                     `config_path` like any other mirror.",
                    written_url(registry)
                ),
                format!("Write `mirrors.\"{meant}\"`, with `endpoint = [\"https://…\"]` under it."),
            )
        }
        (["mirrors", registry, key], _) => return mirror_setting(input, registry, key, place, found),
        ([key], _) if FOREIGN.contains(key) => misplaced(key, "registry"),
        (["configs", host, key], _) => {
            let remedy = match *key {
                "username" | "password" | "identitytoken" => "Move it to the table `auth` of this host.",
                "ca_file" | "cert_file" | "key_file" | "insecure_skip_verify" => {
                    "Move it to the table `tls` of this host."
                }
                _ => "Remove it.",
            };
            unknown_key(key, &format!("configs.\"{}\"", written_url(host)), remedy)
        }
        (path, _) => unknown_key(&path.join("."), "registry", "Remove it."),
    };
    found.add(id, place, what, effect, remedy);
}

type FindingTexts = (FindingId, String, String, String);

fn mirror_setting(
    input: &FinderInput<'_>,
    registry: &str,
    key: &str,
    place: Option<SourceLocation>,
    found: &mut FindingSink,
) {
    let table = format!("mirrors.\"{}\"", written_url(registry));
    let has_endpoints = input
        .registry
        .mirror(registry)
        .is_some_and(|mirror| !mirror.endpoints.is_empty());
    let (id, what, effect, remedy) = if resembles_endpoint(key) && !has_endpoints {
        (
            FindingId::EndpointMisspelt,
            format!("`{}` of `{table}` should be `endpoint`.", written_url(key)),
            "containerd reads a mirror without endpoints and contacts the registry directly; the wildcard does not apply to it."
                .to_owned(),
            "Write `endpoint = [\"https://…\"]`.".to_owned(),
        )
    } else if key == "rewrite" {
        (
            FindingId::RewriteUnknown,
            format!("`{table}` has `rewrite`."),
            "Only the containerd of k3s and RKE2 supports it; this one requests the repository under its own name."
                .to_owned(),
            "Write the path in the endpoint, such as `https://host/v2/project`.".to_owned(),
        )
    } else if FOREIGN.contains(&key) {
        misplaced(key, &table)
    } else {
        let remedy = match key {
            "insecure_skip_verify" | "skip_verify" | "insecure" | "ca_file" => {
                "Write TLS settings in a hosts.toml, or on containerd 1.x in `configs.\"host\".tls`."
            }
            "plain-http" | "plain_http" | "plainHTTP" | "http" => "Write the endpoint with `http://`.",
            "capabilities" | "override_path" | "server" | "header" => "Move it to a hosts.toml.",
            "auth" | "username" | "password" => "Move it to `configs.\"host\".auth`.",
            _ => "Remove it.",
        };
        unknown_key(key, &table, remedy)
    };
    found.add(id, place, what, effect, remedy);
}

fn misplaced(key: &str, table: &str) -> FindingTexts {
    (
        FindingId::MisplacedKey,
        format!("`{key}` is in the table `{table}`, where containerd does not know it."),
        "A key belongs to the last header above it. containerd ignores it here.".to_owned(),
        format!(
            "Move the line above the first registry table, to the table that `{key}` is for. It is lost if this table is deleted."
        ),
    )
}

fn unknown_key(key: &str, table: &str, remedy: &str) -> FindingTexts {
    (
        FindingId::UnknownKey,
        format!("containerd does not know `{}` in `{table}`.", written_url(key)),
        "containerd ignores it. 2.x logs `Ignoring unknown key in TOML for plugin`, 1.x logs nothing.".to_owned(),
        remedy.to_owned(),
    )
}

/// Returns true if `key` is a likely misspelling of `endpoint`.
fn resembles_endpoint(key: &str) -> bool {
    let letters: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
    letters.to_ascii_lowercase().starts_with("endpoin") || letters.eq_ignore_ascii_case("url")
}

/// Returns the registry that was intended by a header such as `[mirrors.docker.io]`.
fn unquoted(registry: &str, part: &str, mut table: &Table) -> Option<String> {
    let mut meant = format!("{registry}.{part}");
    loop {
        if table.is_empty() || table.keys().any(|key| resembles_endpoint(key)) {
            return is_registry(&meant).then_some(meant);
        }
        let (key, value) = table.first()?;
        let inner = value.as_table()?;
        meant = format!("{meant}.{key}");
        table = inner;
    }
}

fn tls_keys(input: &FinderInput<'_>, found: &mut FindingSink) {
    if !input.version.has(Rule::TlsInConfigs) {
        return;
    }
    let known = ["ca_file", "cert_file", "key_file", "insecure_skip_verify"];
    for host in input.registry.configs.keys() {
        let Some(tls) = input.value(&["configs", host, "tls"]).and_then(Value::as_table) else {
            continue;
        };
        for (key, value) in tls.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let remedy = match key.as_str() {
                "skip_verify" | "insecure" => "Write `insecure_skip_verify`.",
                _ => "Remove it.",
            };
            let table = format!("configs.\"{}\".tls", written_url(host));
            let (id, what, effect, remedy) = unknown_key(key, &table, remedy);
            found.add(id, Some(input.config.document.place(value)), what, effect, remedy);
        }
    }
}

fn mirror_key(input: &FinderInput<'_>, mirror: &Mirror, found: &mut FindingSink) {
    let key = mirror.registry.as_str();
    let shown = written_url(key);
    let unquoted = input
        .registry
        .unknown
        .iter()
        .any(|unknown| match unknown.key.as_slice() {
            [_, registry, _] => {
                let path: Vec<&str> = unknown.key.iter().map(String::as_str).collect();
                registry == key && input.value(&path).is_some_and(|value| value.as_table().is_some())
            }
            _ => false,
        });
    if unquoted {
        return;
    }
    let (id, reason, remedy) = if key.contains('*') {
        (
            FindingId::MirrorKeyPattern,
            "containerd compares the key with the registry of an image letter by letter; only the key `*` matches every \
             registry."
                .to_owned(),
            "Write an entry for each registry, or one for `*`.".to_owned(),
        )
    } else if let Some((reason, remedy)) = never_matches(key) {
        (FindingId::MirrorKeyNeverMatches, reason, remedy)
    } else {
        return;
    };
    found.add(
        id,
        Some(mirror.place.clone()),
        format!("`mirrors.\"{shown}\"` does not match the registry of any image."),
        reason,
        remedy,
    );
}

/// Returns the reason why no image has `key` as its registry, and a remedy; `None` if an image can have it.
pub(super) fn never_matches(key: &str) -> Option<(String, String)> {
    let texts = |reason: &str, remedy: &str| Some((reason.to_owned(), remedy.to_owned()));
    if let Some((_, rest)) = key.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let remedy = format!("Write the registry without a scheme: `mirrors.\"{host}\"`.");
        return Some(("The registry of an image has no scheme.".to_owned(), remedy));
    }
    if let Some((host, _)) = key.split_once('/') {
        let remedy = format!(
            "Write the registry without a path: `mirrors.\"{}\"`.",
            written_url(host)
        );
        let why = "A mirror applies to a whole registry; the repository is not part of the key.";
        return Some((why.to_owned(), remedy));
    }
    match key {
        "docker.io" => None,
        "index.docker.io" => texts(
            "containerd replaces `index.docker.io` in an image with `docker.io`.",
            "Write `mirrors.\"docker.io\"`.",
        ),
        "registry-1.docker.io" => texts(
            "The registry of Docker Hub's images is `docker.io`; this key matches only an image named \
             `registry-1.docker.io/…`.",
            "Write `mirrors.\"docker.io\"`.",
        ),
        key if key.eq_ignore_ascii_case("docker.io") => texts(
            "The case must match, and the registry of Docker Hub's images is `docker.io`.",
            "Write `mirrors.\"docker.io\"`.",
        ),
        key if !is_registry(key) => texts(
            "The registry of an image is a host name with an optional port.",
            "Correct the name, or remove the entry.",
        ),
        key if !key.contains(['.', ':'])
            && key != "localhost"
            && !key.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            texts(
                "The first part of an image is a registry only if it has a dot or a port, or is `localhost`; otherwise the image is \
             one of Docker Hub.",
                "Write the registry's full name, or add its port.",
            )
        }
        _ => None,
    }
}

fn configs_key(input: &FinderInput<'_>, host: &str, config: &HostConfig, found: &mut FindingSink) {
    // An entry that comes from `auths` has no key in `configs`.
    let Some(place) = input.place(&["configs", host]) else {
        return;
    };
    let is_endpoint = || {
        input
            .registry
            .mirrors
            .iter()
            .flat_map(Mirror::hosts)
            .any(|endpoint| endpoint == host)
    };
    let (reason, remedy) = if host == "*" {
        ("`configs` has no wildcard.", "Write an entry for each host.")
    } else if host.contains("://") {
        (
            "containerd looks up a host without its scheme.",
            "Write only the host, with its port if the endpoint has one.",
        )
    } else if host.contains('/') {
        (
            "containerd looks up a host without a path.",
            "Write only the host, with its port if the endpoint has one.",
        )
    } else if ["docker.io", "index.docker.io"].contains(&host) && !is_endpoint() {
        (
            "The host that serves Docker Hub is `registry-1.docker.io`.",
            "Write `configs.\"registry-1.docker.io\"`.",
        )
    } else if !is_registry(host) {
        (
            "It is not a host name with an optional port.",
            "Correct the name, or remove the entry.",
        )
    } else {
        return;
    };
    let unused = match (&config.auth, config.tls.is_some() || config.ignored_tls.is_some()) {
        (Some(_), true) => "containerd never uses its credentials and TLS settings.",
        (Some(_), false) => "containerd never uses its credentials.",
        (None, _) => "containerd never uses its settings.",
    };
    found.add(
        FindingId::ConfigsKeyNeverMatches,
        Some(place),
        format!(
            "`configs.\"{}\"` does not match any host that containerd contacts.",
            written_url(host)
        ),
        format!("{reason} {unused}"),
        remedy,
    );
}
