//! What an upgrade of containerd breaks or changes for the same files.

use crate::config::{Config, Cri};
use crate::document::load::LoadError;
use crate::findings::catalogue::{FindingId, Severity};
use crate::findings::{Finding, FindingSink, dormant, live, shown};
use crate::registries::named_registries;
use crate::route::{RegistryHost, Route, Scheme};
use crate::tree::Tree;
use crate::version::Version;

/// What one containerd makes of the files.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseView<'a> {
    /// The outcome of [`crate::config::read`] for that version, once nothing was missing.
    pub reading: &'a Result<Config, Box<LoadError>>,
    /// That version.
    pub version: &'a Version,
}

/// A registry that no file names: it stands for all of them.
const UNNAMED: &str = "unnamed.invalid";

/// What breaks or changes when the containerd of `now` becomes that of `then` and the files stay as they are, worst first.
///
/// What `then` finds wrong by itself is told by [`crate::findings::findings`] with that version, not here. `tree` must hold what
/// either version asks for.
pub fn upgrade(now: ReleaseView<'_>, then: ReleaseView<'_>, tree: &Tree) -> Vec<Finding> {
    let mut found = FindingSink::default();
    match (now.reading, then.reading) {
        (Ok(before), Ok(after)) => compare(before, after, then.version, tree, &mut found),
        (Ok(_), Err(error)) => found.add(
            FindingId::UpgradeRefuses,
            Some(error.place.clone()),
            format!(
                "containerd {} does not take these files: {}.",
                then.version,
                shown::url(&error.fault.to_string())
            ),
            format!(
                "containerd {} starts with them; after the upgrade the daemon does not start.",
                now.version
            ),
            "Mend this before the upgrade: `check --target` tells what to do about it.",
        ),
        (Err(_), _) => {}
    }
    found.sorted()
}

fn compare(now: &Config, then: &Config, version: &Version, tree: &Tree, found: &mut FindingSink) {
    match (&now.cri, &then.cri) {
        (
            Cri::Loads,
            Cri::Dead {
                failure, daemon_too, ..
            },
        ) => {
            let (severity, effect) = if *daemon_too {
                (
                    Severity::Refuses,
                    "It loads now. After the upgrade `required_plugins` takes the daemon down with it.",
                )
            } else {
                (
                    FindingId::UpgradeKillsCri.severity(),
                    "It loads now. After the upgrade every pull and every new pod fails, and the node turns NotReady.",
                )
            };
            found.add_as(
                severity,
                FindingId::UpgradeKillsCri,
                failure.place.clone(),
                format!("On containerd {version} {}.", failure.reason),
                effect,
                "Move the mirrors to hosts.toml files before the upgrade: `mirrorshift migrate`.",
            );
        }
        (Cri::Dead { failure, .. }, Cri::Loads) => found.add(
            FindingId::UpgradeRevivesCri,
            failure.place.clone(),
            format!("On containerd {version} the CRI plugin loads again."),
            "It does not load now. What it then does with these files is as untested as a new configuration.",
            "Look at `explain` for the images that the node runs.",
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
            format!("On containerd {version} pulls go through the transfer service."),
            "The CRI plugin pulls by itself now. The transfer service takes a list in `config_path` for one folder, runs \
             image verifiers, takes its limits from `io.containerd.transfer.v1.local` and words its errors differently.",
            "Write a single folder in `config_path`. `use_local_image_pull = true` keeps the old way for now.",
        );
    }
}

/// Settings that are in force before and not after, or after and not before.
fn settings(now: &Config, then: &Config, version: &Version, found: &mut FindingSink) {
    let (before, after) = (live::leaves(&now.document), live::leaves(&then.document));
    let mut groups = dormant::groups(&now.document);
    let known: Vec<_> = groups.iter().map(|group| group.place.clone()).collect();
    groups.extend(
        dormant::groups(&then.document)
            .into_iter()
            .filter(|group| !known.contains(&group.place)),
    );
    for group in groups {
        let place = Some(group.place.clone());
        match (group.is_live(&before), group.is_live(&after)) {
            (true, false) => found.add(
                FindingId::UpgradeSilences,
                place,
                format!("{} below `{}` would be dormant.", group.words(), group.header()),
                format!("It is in force now. containerd {version} ignores it without an error."),
                "Move it to hosts.toml files before the upgrade: `mirrorshift migrate`.",
            ),
            (false, true) => found.add(
                FindingId::UpgradeWakes,
                place,
                format!("{} below `{}` would come into force.", group.words(), group.header()),
                format!("It is ignored now. containerd {version} reads it."),
                "Take it out before the upgrade, unless it is what you want then.",
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
            FindingId::UpgradeSilences,
            tls.place.clone(),
            format!("`configs.\"{}\".tls` would be dormant.", shown::url(host)),
            format!("It is in force now. containerd {version} ignores it without an error."),
            "Write `ca`, `client` and `skip_verify` in the hosts.toml of each registry that uses the host.",
        );
    }
}

fn routes(now: &Config, then: &Config, version: &Version, tree: &Tree, found: &mut FindingSink) {
    let mut registries = named_registries(now, tree);
    registries.extend(named_registries(then, tree));
    registries.extend(["docker.io", "localhost", UNNAMED].map(str::to_owned));
    registries.sort();
    registries.dedup();
    for registry in registries {
        let (before, after) = (now.route(tree, &registry), then.route(tree, &registry));
        if before == after {
            continue;
        }
        let (severity, remedy) = match (&before, &after) {
            (_, Route::Fails(_)) => (Severity::Breaks, "Mend this before the upgrade: these pulls work now."),
            (Route::Fails(_), Route::Hosts(_)) => (
                Severity::Advice,
                "Nothing, when these hosts are the ones that you want.",
            ),
            _ => (
                FindingId::UpgradeChangesRoute.severity(),
                "Migrate before the upgrade, which keeps the present route on both, or make sure that the later one is what \
                 you want.",
            ),
        };
        let place = before
            .asks()
            .iter()
            .chain(after.asks())
            .find_map(|ask| ask.why.place.clone());
        let whose = match registry.as_str() {
            UNNAMED => "a registry that no file names".to_owned(),
            registry => format!("`{registry}`"),
        };
        found.add_as(
            severity,
            FindingId::UpgradeChangesRoute,
            place,
            format!("On containerd {version} images of {whose} would be asked for elsewhere or in another way."),
            format!("Now: {}. Then: {}.", told(&before, &registry), told(&after, &registry)),
            remedy,
        );
    }
}

fn told(route: &Route, registry: &str) -> String {
    match route {
        Route::Fails(failure) => format!("the pull fails, {}", failure.reason),
        Route::Hosts(asks) if asks.is_empty() => "nobody is asked".to_owned(),
        Route::Hosts(asks) => asks
            .iter()
            .map(|ask| one(ask, registry))
            .collect::<Vec<_>>()
            .join(", then "),
    }
}

/// One host, with all that a registry would notice.
fn one(ask: &RegistryHost, registry: &str) -> String {
    let mut notes = Vec::new();
    if ask.scheme == Scheme::HttpsThenHttp {
        notes.push("HTTPS first".to_owned());
    }
    if ask.tls.skip_verify {
        notes.push("unverified".to_owned());
    }
    notes.extend(ask.tls.ca.iter().map(|ca| format!("CA `{ca}`")));
    notes.extend(
        ask.tls
            .client
            .iter()
            .map(|(certificate, _)| format!("client certificate `{certificate}`")),
    );
    notes.extend(ask.headers.names().map(|name| format!("header `{name}`")));
    notes.extend(ask.credentials.iter().map(|_| "with credentials".to_owned()));
    match (ask.resolves, ask.pulls) {
        (true, true) => {}
        (false, true) => notes.push("not for tags".to_owned()),
        (_, false) => notes.push("for layers only".to_owned()),
    }
    notes.extend(ask.dial_timeout.map(|timeout| format!("given up after {timeout:?}")));
    let url = match registry {
        // The stand-in's own host would read like a real one.
        UNNAMED if ask.host == UNNAMED => format!("{}://<registry>{}", ask.scheme.as_str(), ask.path),
        _ => ask.url(),
    };
    if notes.is_empty() {
        format!("`{url}`")
    } else {
        format!("`{url}` ({})", notes.join(", "))
    }
}
