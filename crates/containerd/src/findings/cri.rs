//! Findings about a CRI plugin that does not load, and about settings whose removal containerd has announced.

use crate::config::{Cri, CriUnavailable};
use crate::findings::catalogue::{FindingId, Severity};
use crate::findings::finding::{FinderInput, FindingSink};
use crate::findings::live;
use crate::redact::written_url;
use crate::rules::Rule;
use crate::toml::value::Value;

pub(super) fn find(input: &FinderInput<'_>, found: &mut FindingSink) {
    unavailable(input, found);
    deprecated(input, found);
    without_version(input, found);
}

fn unavailable(input: &FinderInput<'_>, found: &mut FindingSink) {
    let Cri::Unavailable {
        reason,
        failure,
        stops_daemon: daemon_too,
    } = &input.config.cri
    else {
        return;
    };
    let path_at = input
        .written_path()
        .map_or(String::new(), |place| format!(" (at {place})"));
    let first = input.registry.mirrors.first();
    let mirror = first.map_or(String::new(), |mirror| {
        format!("`mirrors.\"{}\"`", written_url(&mirror.registry))
    });
    let (id, what, remedy) = match reason {
        CriUnavailable::Both => (
            FindingId::BothSet,
            format!("{mirror} is set together with `config_path`{path_at}."),
            "Keep only one of them: `mirrorshift migrate` moves the mirrors to hosts.toml files and keeps `config_path`.",
        ),
        CriUnavailable::BothByDefault => (
            FindingId::BothByDefault,
            format!(
                "{mirror} is set, and containerd {} sets `config_path` by default.",
                input.version
            ),
            "Move the mirrors to hosts.toml files with `mirrorshift migrate`, or upgrade containerd to 2.2.2 or newer.",
        ),
        CriUnavailable::TlsWithConfigPath => (
            FindingId::TlsWithConfigPath,
            format!("`configs.<host>.tls` is set together with `config_path`{path_at}."),
            "Write `ca`, `client` and `skip_verify` in the hosts.toml of the host's registry, and remove the `tls` table.",
        ),
        CriUnavailable::AuthsKey => (
            FindingId::AuthsKeyInvalidUrl,
            "A key of `auths` is not a URL.".to_owned(),
            "Write the key as `https://HOST:PORT`, or move the `auth` to `configs.\"HOST:PORT\".auth`.",
        ),
    };
    let (severity, effect) = if *daemon_too {
        (
            Severity::Refuses,
            "The CRI plugin does not load, and the daemon exits because `required_plugins` names the plugin.",
        )
    } else {
        (
            id.severity(),
            "The daemon runs, but the CRI plugin does not load: kubelet and crictl get the error \
             `unknown service runtime.v1.RuntimeService`, and the node becomes NotReady.",
        )
    };
    found.add_as(severity, id, failure.place.clone(), what, effect, remedy);
}

/// States the removal as an announcement, because its date has moved five times.
const REMOVAL: &str = "It works. Its removal is announced, currently for containerd 2.7 (before that for 2.1, 2.2, 2.3 \
                       and 2.4)";

fn deprecated(input: &FinderInput<'_>, found: &mut FindingSink) {
    let effect = |kind: &str| {
        if input.version.has(Rule::DeprecationsListed) {
            format!("{REMOVAL}. The daemon lists `io.containerd.deprecation/cri-registry-{kind}`.")
        } else {
            format!("{REMOVAL}.")
        }
    };
    let counted = |count: usize, singular: &str, plural: &str| match count {
        1 => format!("1 {singular}"),
        count => format!("{count} {plural}"),
    };
    if let Some(first) = input.registry.mirrors.first() {
        let count = counted(input.registry.mirrors.len(), "registry has", "registries have");
        found.add(
            FindingId::MirrorsDeprecated,
            Some(first.place.clone()),
            format!("{count} an entry in `mirrors`."),
            effect("mirrors"),
            "Move them to hosts.toml files and set `config_path`: `mirrorshift plan` shows how.",
        );
    }
    let configs = input.value(&["configs"]).and_then(Value::as_table);
    if configs.is_some_and(|configs| !configs.is_empty())
        && let Some(place) = input.place(&["configs"])
    {
        let auth = input.registry.configs.values().any(|config| config.auth.is_some());
        let remedy = if auth {
            "Keep `auth` for now: it works together with `config_path`, and hosts.toml has no place for it. Later use \
             imagePullSecrets or a credential provider of the kubelet."
        } else {
            "Move `tls` to the hosts.toml of its host: `mirrorshift plan` shows how."
        };
        found.add(
            FindingId::ConfigsDeprecated,
            Some(place),
            "`configs` is set.",
            effect("configs"),
            remedy,
        );
    }
    if let Some((_, place)) = input.registry.auths.first() {
        let count = counted(input.registry.auths.len(), "registry has", "registries have");
        found.add(
            FindingId::AuthsDeprecated,
            Some(place.clone()),
            format!("{count} credentials in `auths`."),
            effect("auths"),
            "Use imagePullSecrets or a credential provider of the kubelet; `configs.\"host\".auth` is the same setting \
             under a newer name.",
        );
    }
}

/// Reports settings that 1.x reads as version 1 and that 2.0 to 2.2 ignore.
fn without_version(input: &FinderInput<'_>, found: &mut FindingSink) {
    let document = &input.config.document;
    if input.version.has(Rule::SchemaThree) || document.schema >= 2 {
        return;
    }
    let live = live::leaves(document);
    for (index, file) in document.files.iter().enumerate() {
        let Some((_, first)) = live.iter().find(|(path, _)| *path == file.path) else {
            continue;
        };
        found.add(
            FindingId::NoVersionKey,
            Some(document.place_of(index, *first)),
            "These registry settings are in a file with `version = 1`, or without `version`, which means 1.",
            "This containerd reads them. containerd 2.0, 2.1 and 2.2 ignore them without an error, and 2.3 reads them again.",
            "Move them to hosts.toml files before an upgrade. Do not just add `version = 2`: every plugin table then needs \
             its full name, otherwise containerd 1.x does not start.",
        );
    }
}
