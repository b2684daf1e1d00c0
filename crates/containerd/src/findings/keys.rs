//! Names in registry tables that mean nothing to containerd: keys it does not know, registries that no image has.

use crate::findings::catalogue::FindingId;
use crate::findings::{FinderInput, FindingSink, shown};
use crate::image::is_registry;
use crate::registry::{HostConfig, Mirror, UnknownKey};
use crate::route::SourceLocation;
use crate::rules::Rule;
use crate::toml::value::{Table, Value};

/// Keys of containerd's other tables, and of other programs', that end up below a mirror when they are written behind it.
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

pub(super) fn find(look: &FinderInput<'_>, found: &mut FindingSink) {
    for unknown in &look.registry.unknown {
        key(look, unknown, found);
    }
    tls_keys(look, found);
    for mirror in &look.registry.mirrors {
        if mirror.registry != "*" {
            mirror_key(look, mirror, found);
        }
    }
    for (host, config) in &look.registry.configs {
        configs_key(look, host, config, found);
    }
}

fn key(look: &FinderInput<'_>, unknown: &UnknownKey, found: &mut FindingSink) {
    let path: Vec<&str> = unknown.key.iter().map(String::as_str).collect();
    let place = Some(unknown.place.clone());
    let value = look.value(&path).and_then(Value::as_table);
    let (id, what, effect, remedy) = match (path.as_slice(), value) {
        ([host], Some(table)) if table.contains_key("endpoint") => (
            FindingId::MirrorOutsideMirrors,
            format!(
                "`registry.\"{}\"` has endpoints, and stands outside `mirrors`.",
                shown::url(host)
            ),
            "containerd ignores it and asks the registry itself.".to_owned(),
            format!(
                "Write `registry.mirrors.\"{0}\"`, or a hosts.toml below `config_path`.",
                shown::url(host)
            ),
        ),
        (["mirrors", registry, part], Some(table)) if unquoted(registry, part, table).is_some() => {
            let meant = unquoted(registry, part, table).unwrap_or_default();
            (
                FindingId::MirrorKeyUnquoted,
                format!("`mirrors.{meant}` was written without quotes."),
                format!(
                    "Each dot starts a table of its own: containerd sees a mirror `{}` without endpoints, which still counts \
                     as a mirror beside `config_path`.",
                    shown::url(registry)
                ),
                format!("Write `mirrors.\"{meant}\"`."),
            )
        }
        (["mirrors", registry, key], _) => return below_mirror(look, registry, key, place, found),
        ([key], _) if FOREIGN.contains(key) => misplaced(key, "registry"),
        (["configs", host, key], _) => {
            let belongs = match *key {
                "username" | "password" | "identitytoken" => "It belongs below `auth`.",
                "ca_file" | "cert_file" | "key_file" | "insecure_skip_verify" => "It belongs below `tls`.",
                _ => "Take it out.",
            };
            unknown_key(key, &format!("configs.\"{}\"", shown::url(host)), belongs)
        }
        (path, _) => unknown_key(&path.join("."), "registry", "Take it out."),
    };
    found.add(id, place, what, effect, remedy);
}

type Words = (FindingId, String, String, String);

fn below_mirror(
    look: &FinderInput<'_>,
    registry: &str,
    key: &str,
    place: Option<SourceLocation>,
    found: &mut FindingSink,
) {
    let table = format!("mirrors.\"{}\"", shown::url(registry));
    let has_endpoints = look
        .registry
        .mirror(registry)
        .is_some_and(|mirror| !mirror.endpoints.is_empty());
    let squeezed: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
    let like_endpoint = squeezed.to_ascii_lowercase().starts_with("endpoin") || squeezed.eq_ignore_ascii_case("url");
    let (id, what, effect, remedy) = if like_endpoint && !has_endpoints {
        (
            FindingId::EndpointMisspelt,
            format!("`{}` of `{table}` should be `endpoint`.", shown::url(key)),
            "containerd sees a mirror without endpoints and asks the registry itself; the wildcard no longer counts for it."
                .to_owned(),
            "Write `endpoint = [\"https://…\"]`.".to_owned(),
        )
    } else if key == "rewrite" {
        (
            FindingId::RewriteUnknown,
            format!("`{table}` has `rewrite`."),
            "Only the containerd of k3s and RKE2 knows it; this one asks for the repository as it is named.".to_owned(),
            "Write the path into the endpoint, such as `https://host/v2/project`.".to_owned(),
        )
    } else if FOREIGN.contains(&key) {
        misplaced(key, &table)
    } else {
        let remedy = match key {
            "insecure_skip_verify" | "skip_verify" | "insecure" | "ca_file" => {
                "TLS settings belong to the host: in its hosts.toml, or on containerd 1.x in `configs.\"host\".tls`."
            }
            "plain-http" | "plain_http" | "plainHTTP" | "http" => "Write the endpoint with `http://`.",
            "capabilities" | "override_path" | "server" | "header" => "It belongs in a hosts.toml.",
            "auth" | "username" | "password" => "It belongs in `configs.\"host\".auth`.",
            _ => "Take it out.",
        };
        unknown_key(key, &table, remedy)
    };
    found.add(id, place, what, effect, remedy);
}

fn misplaced(key: &str, table: &str) -> Words {
    (
        FindingId::MisplacedKey,
        format!("`{key}` stands below `{table}`, where it does not belong."),
        "A key belongs to the last header above it. containerd does not know it here and ignores it.".to_owned(),
        format!(
            "Move the line above the first registry table, to the table that `{key}` is for. Do not lose it with the table."
        ),
    )
}

fn unknown_key(key: &str, table: &str, remedy: &str) -> Words {
    (
        FindingId::UnknownKey,
        format!("containerd knows no `{}` below `{table}`.", shown::url(key)),
        "It is ignored; 2.x logs `Ignoring unknown key in TOML for plugin`, 1.x says nothing.".to_owned(),
        remedy.to_owned(),
    )
}

/// The registry that `[mirrors.docker.io]` meant, when that is what stands there.
fn unquoted(registry: &str, part: &str, mut table: &Table) -> Option<String> {
    let mut meant = format!("{registry}.{part}");
    loop {
        if table.contains_key("endpoint") || table.is_empty() {
            return is_registry(&meant).then_some(meant);
        }
        let (key, value) = table.first()?;
        let inner = value.as_table()?;
        meant = format!("{meant}.{key}");
        table = inner;
    }
}

fn tls_keys(look: &FinderInput<'_>, found: &mut FindingSink) {
    if !look.version.has(Rule::TlsInConfigs) {
        return;
    }
    let known = ["ca_file", "cert_file", "key_file", "insecure_skip_verify"];
    for host in look.registry.configs.keys() {
        let Some(tls) = look.value(&["configs", host, "tls"]).and_then(Value::as_table) else {
            continue;
        };
        for (key, value) in tls.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let remedy = match key.as_str() {
                "skip_verify" | "insecure" => "It is called `insecure_skip_verify` here.",
                _ => "Take it out.",
            };
            let table = format!("configs.\"{}\".tls", shown::url(host));
            let (id, what, effect, remedy) = unknown_key(key, &table, remedy);
            found.add(id, Some(look.config.document.place(value)), what, effect, remedy);
        }
    }
}

fn mirror_key(look: &FinderInput<'_>, mirror: &Mirror, found: &mut FindingSink) {
    let key = mirror.registry.as_str();
    let shown = shown::url(key);
    let unquoted = look
        .registry
        .unknown
        .iter()
        .any(|unknown| match unknown.key.as_slice() {
            [_, registry, _] => {
                let path: Vec<&str> = unknown.key.iter().map(String::as_str).collect();
                registry == key && look.value(&path).is_some_and(|value| value.as_table().is_some())
            }
            _ => false,
        });
    if unquoted {
        return;
    }
    let (id, why, remedy) = if key.contains('*') {
        (
            FindingId::MirrorKeyPattern,
            "containerd compares the key with the registry of an image letter by letter; only `*` alone stands for every \
             registry."
                .to_owned(),
            "Write an entry for each registry, or `*`.".to_owned(),
        )
    } else if let Some((why, remedy)) = never_matches(key) {
        (FindingId::MirrorKeyNeverMatches, why, remedy)
    } else {
        return;
    };
    found.add(
        id,
        Some(mirror.place.clone()),
        format!("No image is looked up by `mirrors.\"{shown}\"`."),
        why,
        remedy,
    );
}

/// Why no image has `key` for its registry, and what to write, when that is so.
pub(super) fn never_matches(key: &str) -> Option<(String, String)> {
    let words = |why: &str, remedy: &str| Some((why.to_owned(), remedy.to_owned()));
    if let Some((_, rest)) = key.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let remedy = format!("Write the registry without a scheme: `mirrors.\"{host}\"`.");
        return Some(("The registry of an image has no scheme.".to_owned(), remedy));
    }
    if let Some((host, _)) = key.split_once('/') {
        let remedy = format!("Write the registry without a path: `mirrors.\"{}\"`.", shown::url(host));
        let why = "A mirror is for a whole registry; the repository is not part of the key.";
        return Some((why.to_owned(), remedy));
    }
    match key {
        "docker.io" => None,
        "index.docker.io" => words(
            "containerd takes `index.docker.io` in an image for `docker.io`.",
            "Write `mirrors.\"docker.io\"`.",
        ),
        "registry-1.docker.io" => words(
            "Images of Docker Hub are looked up by `docker.io`; only an image that is named `registry-1.docker.io/…` is by \
             this.",
            "Write `mirrors.\"docker.io\"`.",
        ),
        key if key.eq_ignore_ascii_case("docker.io") => words(
            "Case counts, and images of Docker Hub are looked up by `docker.io`.",
            "Write `mirrors.\"docker.io\"`.",
        ),
        key if !is_registry(key) => words(
            "It is not a host name with an optional port, which is what the registry of an image is.",
            "Correct the name or take the entry out.",
        ),
        key if !key.contains(['.', ':'])
            && key != "localhost"
            && !key.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            words(
                "An image's first word is a registry only when it has a dot or a port, or is `localhost`; without, the image is \
             Docker Hub's.",
                "Write the registry's whole name, or its port.",
            )
        }
        _ => None,
    }
}

fn configs_key(look: &FinderInput<'_>, host: &str, config: &HostConfig, found: &mut FindingSink) {
    // What only `auths` brought in has no key of its own.
    let Some(place) = look.place(&["configs", host]) else {
        return;
    };
    let asked = || {
        look.registry
            .mirrors
            .iter()
            .flat_map(Mirror::hosts)
            .any(|endpoint| endpoint == host)
    };
    let (why, remedy) = if host == "*" {
        ("There is no wildcard in `configs`.", "Write an entry for each host.")
    } else if host.contains("://") {
        (
            "A host is looked up without its scheme.",
            "Write the host alone, with its port where the endpoint has one.",
        )
    } else if host.contains('/') {
        (
            "A host is looked up without a path.",
            "Write the host alone, with its port where the endpoint has one.",
        )
    } else if ["docker.io", "index.docker.io"].contains(&host) && !asked() {
        (
            "The host that serves Docker Hub is `registry-1.docker.io`.",
            "Write `configs.\"registry-1.docker.io\"`.",
        )
    } else if !is_registry(host) {
        (
            "It is not a host name with an optional port.",
            "Correct the name or take the entry out.",
        )
    } else {
        return;
    };
    let holds = match (&config.auth, config.tls.is_some() || config.ignored_tls.is_some()) {
        (Some(_), true) => "Its credentials and TLS settings are never used.",
        (Some(_), false) => "Its credentials are never used.",
        (None, _) => "Its settings are never used.",
    };
    found.add(
        FindingId::ConfigsKeyNeverMatches,
        Some(place),
        format!("No host is looked up by `configs.\"{}\"`.", shown::url(host)),
        format!("{why} {holds}"),
        remedy,
    );
}
