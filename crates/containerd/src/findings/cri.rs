//! A CRI plugin that does not load, and settings that containerd has announced to drop.

use crate::config::{Cri, CriUnavailable};
use crate::findings::catalogue::{FindingId, Severity};
use crate::findings::{FinderInput, FindingSink, live, shown};
use crate::rules::Rule;
use crate::toml::value::Value;

pub(super) fn find(look: &FinderInput<'_>, found: &mut FindingSink) {
    death(look, found);
    deprecated(look, found);
    without_version(look, found);
}

fn death(look: &FinderInput<'_>, found: &mut FindingSink) {
    let Cri::Dead {
        reason,
        failure,
        daemon_too,
    } = &look.config.cri
    else {
        return;
    };
    let path_at = look
        .written_path()
        .map_or(String::new(), |place| format!(" (at {place})"));
    let first = look.registry.mirrors.first();
    let mirror = first.map_or(String::new(), |mirror| {
        format!("`mirrors.\"{}\"`", shown::url(&mirror.registry))
    });
    let (id, what, remedy) = match reason {
        CriUnavailable::Both => (
            FindingId::BothSet,
            format!("{mirror} is set beside `config_path`{path_at}."),
            "Keep one of them: `mirrorshift migrate` moves the mirrors to hosts.toml files and keeps `config_path`.",
        ),
        CriUnavailable::BothByDefault => (
            FindingId::BothByDefault,
            format!(
                "{mirror} is set, and containerd {} fills in a `config_path` of its own beside it.",
                look.version
            ),
            "Move the mirrors to hosts.toml files with `mirrorshift migrate`, or upgrade containerd to 2.2.2 or newer.",
        ),
        CriUnavailable::TlsBesideConfigPath => (
            FindingId::TlsBesideConfigPath,
            format!("`configs.<host>.tls` is set beside `config_path`{path_at}."),
            "Write `ca`, `client` and `skip_verify` in the host's hosts.toml, and take the `tls` table out.",
        ),
        CriUnavailable::AuthsKey => (
            FindingId::AuthsKeyNoUrl,
            "A key of `auths` is no URL.".to_owned(),
            "Write the key as `https://HOST:PORT`, or move the `auth` to `configs.\"HOST:PORT\".auth`.",
        ),
    };
    let (severity, effect) = if *daemon_too {
        (
            Severity::Refuses,
            "The CRI plugin does not load, and `required_plugins` takes the daemon down with it.",
        )
    } else {
        (
            id.severity(),
            "The daemon runs and the CRI plugin does not load: kubelet and crictl are told \
             `unknown service runtime.v1.RuntimeService`, and the node turns NotReady.",
        )
    };
    found.add_as(severity, id, failure.place.clone(), what, effect, remedy);
}

/// What is said of removal moved five times, so it is told as an announcement.
const REMOVAL: &str = "It works; it is announced for removal, currently in containerd 2.7 (that date has moved before: \
                       2.1, 2.2, 2.3 and 2.4 were named)";

fn deprecated(look: &FinderInput<'_>, found: &mut FindingSink) {
    let effect = |kind: &str| {
        if look.version.has(Rule::DeprecationsListed) {
            format!("{REMOVAL}. The daemon lists `io.containerd.deprecation/cri-registry-{kind}`.")
        } else {
            format!("{REMOVAL}.")
        }
    };
    let counted = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    if let Some(first) = look.registry.mirrors.first() {
        let count = counted(look.registry.mirrors.len(), "registry has", "registries have");
        found.add(
            FindingId::MirrorsDeprecated,
            Some(first.place.clone()),
            format!("{count} an entry in `mirrors`."),
            effect("mirrors"),
            "Move them to `config_path` and hosts.toml files: `mirrorshift plan` shows how.",
        );
    }
    let configs = look.value(&["configs"]).and_then(Value::as_table);
    if configs.is_some_and(|configs| !configs.is_empty())
        && let Some(place) = look.place(&["configs"])
    {
        let auth = look.registry.configs.values().any(|config| config.auth.is_some());
        let remedy = if auth {
            "Keep `auth` where it is for now: it works beside `config_path`, and hosts.toml has no place for it. In the \
             long run use imagePullSecrets or a credential provider of the kubelet."
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
    if let Some((_, place)) = look.registry.auths.first() {
        let count = counted(look.registry.auths.len(), "registry has", "registries have");
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

/// Settings that 1.x reads as version 1, which 2.0 to 2.2 read as if they were not there.
fn without_version(look: &FinderInput<'_>, found: &mut FindingSink) {
    let document = &look.config.document;
    if look.version.has(Rule::SchemaThree) || document.schema >= 2 {
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
            "These registry settings stand in a file whose `version` is 1, or that has none, which means 1.",
            "This containerd reads them. containerd 2.0, 2.1 and 2.2 ignore them without an error, and 2.3 reads them again.",
            "Move them to hosts.toml files before an upgrade. Adding `version = 2` alone is no remedy: every plugin table \
             needs its whole name then, or containerd 1.x does not start.",
        );
    }
}
