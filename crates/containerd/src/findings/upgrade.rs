//! Findings about an upgrade: differences between two releases for the same files.

use crate::config::{Config, Cri};
use crate::document::load::LoadError;
use crate::findings::catalogue::{FindingId, Severity};
use crate::findings::finding::{Finding, FindingSink};
use crate::findings::{inactive_tables, live};
use crate::image::UNNAMED_REGISTRY;
use crate::redact::written_url;
use crate::registries::named_registries;
use crate::route::{RegistryHost, Route, Scheme};
use crate::tree::Tree;
use crate::version::Version;

/// The files as one containerd release reads them.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseView<'a> {
    /// The outcome of [`crate::config::read`] for that version, when no file was missing.
    pub reading: &'a Result<Config, Box<LoadError>>,
    /// The version that reads the files.
    pub version: &'a Version,
}

/// Returns what breaks or changes, worst first, if containerd is upgraded from `now` to `then` and the files stay the same.
///
/// Findings of `then` by itself are not included; [`crate::findings::findings`] returns them. `tree` must contain every file
/// that either version requests.
pub fn upgrade(now: ReleaseView<'_>, then: ReleaseView<'_>, tree: &Tree) -> Vec<Finding> {
    let mut found = FindingSink::default();
    match (now.reading, then.reading) {
        (Ok(before), Ok(after)) => compare(before, after, then.version, tree, &mut found),
        (Ok(_), Err(error)) => found.add(
            FindingId::UpgradeRefuses,
            Some(error.place.clone()),
            format!(
                "containerd {} rejects these files: {}.",
                then.version,
                written_url(&error.fault.to_string())
            ),
            format!(
                "containerd {} starts with them. After the upgrade the daemon does not start.",
                now.version
            ),
            "Repair this before the upgrade: `check --target` reports the fault with its remedy.",
        ),
        (Err(_), _) => {}
    }
    found.sorted()
}

fn compare(now: &Config, then: &Config, version: &Version, tree: &Tree, found: &mut FindingSink) {
    match (&now.cri, &then.cri) {
        (
            Cri::Loads,
            Cri::Unavailable {
                failure,
                stops_daemon: daemon_too,
                ..
            },
        ) => {
            let (severity, effect) = if *daemon_too {
                (
                    Severity::Refuses,
                    "It loads now. After the upgrade the daemon exits, because `required_plugins` names the plugin.",
                )
            } else {
                (
                    FindingId::UpgradeDisablesCri.severity(),
                    "It loads now. After the upgrade every pull and every new pod fails, and the node becomes NotReady.",
                )
            };
            found.add_as(
                severity,
                FindingId::UpgradeDisablesCri,
                failure.place.clone(),
                format!("On containerd {version} {}.", failure.reason),
                effect,
                if now.registry.mirrors.is_empty() {
                    "Remove the setting before the upgrade: no mirrors are in effect now, so `mirrorshift migrate` would \
                     not change it."
                } else {
                    "Move the mirrors to hosts.toml files before the upgrade: `mirrorshift migrate`."
                },
            );
        }
        (Cri::Unavailable { failure, .. }, Cri::Loads) => found.add(
            FindingId::UpgradeEnablesCri,
            failure.place.clone(),
            format!("On containerd {version} the CRI plugin loads again."),
            "It does not load now, so these settings take effect for the first time.",
            "Run `mirrorshift explain` for the images that the node runs, with the new version.",
        ),
        _ => {}
    }
    settings(now, then, version, found);
    if matches!((&now.cri, &then.cri), (Cri::Loads, Cri::Loads)) {
        routes(now, then, version, tree, found);
    }
    if now.registry.local_pull && !then.registry.local_pull {
        found.add(
            FindingId::UpgradeTransferService,
            None,
            format!("On containerd {version} the transfer service makes the pulls."),
            "The CRI plugin makes the pulls now. The transfer service takes a list in `config_path` for the name of one folder, \
             runs image verifiers, has its limits in `io.containerd.transfer.v1.local`, and prints other error texts.",
            "Write a single folder in `config_path`. `use_local_image_pull = true` keeps pulls in the CRI plugin for now.",
        );
    }
}

/// Reports settings that take effect on only one of the two releases.
fn settings(now: &Config, then: &Config, version: &Version, found: &mut FindingSink) {
    let (before, after) = (live::leaves(&now.document), live::leaves(&then.document));
    let mut groups = inactive_tables::groups(&now.document);
    let known: Vec<_> = groups.iter().map(|group| group.place.clone()).collect();
    groups.extend(
        inactive_tables::groups(&then.document)
            .into_iter()
            .filter(|group| !known.contains(&group.place)),
    );
    for group in groups {
        let place = Some(group.place.clone());
        match (group.is_live(&before), group.is_live(&after)) {
            (true, false) => found.add(
                FindingId::UpgradeIgnoresSetting,
                place,
                format!("{} in `{}` would have no effect.", group.words(), group.header()),
                format!("It takes effect now. containerd {version} ignores it without an error."),
                "Move it before the upgrade: `mirrorshift plan` shows what `migrate` moves to hosts.toml files; write other \
                 settings in the table that the new release reads.",
            ),
            (false, true) => found.add(
                FindingId::UpgradeActivatesSetting,
                place,
                format!("{} in `{}` would take effect.", group.words(), group.header()),
                format!("It is ignored now. containerd {version} reads it."),
                "Remove it before the upgrade, unless you want it to take effect.",
            ),
            _ => {}
        }
    }
    for (host, config) in &now.registry.configs {
        let later = then.registry.configs.get(host);
        let Some(tls) = config
            .tls
            .as_ref()
            .filter(|_| later.is_some_and(|later| later.tls.is_none()))
        else {
            continue;
        };
        found.add(
            FindingId::UpgradeIgnoresSetting,
            tls.place.clone(),
            format!("`configs.\"{}\".tls` would have no effect.", written_url(host)),
            format!("It takes effect now. containerd {version} ignores it without an error."),
            "Write `ca`, `client` and `skip_verify` in the hosts.toml of each registry that uses the host.",
        );
    }
}

fn routes(now: &Config, then: &Config, version: &Version, tree: &Tree, found: &mut FindingSink) {
    let mut registries = named_registries(now, tree);
    registries.extend(named_registries(then, tree));
    registries.extend(["docker.io", "localhost", UNNAMED_REGISTRY].map(str::to_owned));
    registries.sort();
    registries.dedup();
    for registry in registries {
        let (before, after) = (now.route(tree, &registry), then.route(tree, &registry));
        if before == after {
            continue;
        }
        let (severity, remedy) = match (&before, &after) {
            (_, Route::Fails(_)) => (
                Severity::Breaks,
                "Repair this before the upgrade: these pulls work now.",
            ),
            (Route::Fails(_), Route::Hosts(_)) => (Severity::Advice, "Check that these are the hosts that you want."),
            _ => (
                FindingId::UpgradeChangesRoute.severity(),
                "Migrate before the upgrade, which keeps the present route on both releases, or check that the later route is \
                 what you want.",
            ),
        };
        let place = before
            .hosts()
            .iter()
            .chain(after.hosts())
            .find_map(|host| host.provenance.place.clone());
        let subject = match registry.as_str() {
            UNNAMED_REGISTRY => "any other registry".to_owned(),
            registry => format!("`{registry}`"),
        };
        found.add_as(
            severity,
            FindingId::UpgradeChangesRoute,
            place,
            format!("On containerd {version} the route for images of {subject} would be different."),
            format!(
                "Now: {}. Then: {}.",
                route_text(&before, &registry),
                route_text(&after, &registry)
            ),
            remedy,
        );
    }
}

fn route_text(route: &Route, registry: &str) -> String {
    match route {
        Route::Fails(failure) => format!("the pull fails, {}", failure.reason),
        Route::Hosts(hosts) if hosts.is_empty() => "no host is tried".to_owned(),
        Route::Hosts(hosts) => hosts
            .iter()
            .map(|host| host_text(host, registry))
            .collect::<Vec<_>>()
            .join(", then "),
    }
}

/// Describes a host with every setting that a registry could notice.
fn host_text(host: &RegistryHost, registry: &str) -> String {
    let mut notes = Vec::new();
    if host.scheme == Scheme::HttpsThenHttp {
        notes.push("HTTPS first".to_owned());
    }
    if host.tls.skip_verify {
        notes.push("unverified".to_owned());
    }
    notes.extend(host.tls.ca.iter().map(|ca| format!("CA `{ca}`")));
    notes.extend(
        host.tls
            .client
            .iter()
            .map(|(certificate, _)| format!("client certificate `{certificate}`")),
    );
    notes.extend(host.headers.names().map(|name| format!("header `{name}`")));
    notes.extend(host.credentials.iter().map(|_| "with credentials".to_owned()));
    match (host.resolves, host.pulls) {
        (true, true) => {}
        (false, true) => notes.push("not for tags".to_owned()),
        (_, false) => notes.push("for layers only".to_owned()),
    }
    notes.extend(
        host.dial_timeout
            .map(|timeout| format!("connection timeout {timeout:?}")),
    );
    let url = match registry {
        // The placeholder would look like a real host.
        UNNAMED_REGISTRY if host.host == UNNAMED_REGISTRY => {
            format!("{}://<registry>{}", host.scheme.as_str(), host.path)
        }
        _ => host.url(),
    };
    if notes.is_empty() {
        format!("`{url}`")
    } else {
        format!("`{url}` ({})", notes.join(", "))
    }
}
