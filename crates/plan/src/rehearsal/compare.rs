//! Compares what was heard with the plan.

use crate::note::Note;
use crate::plan::Plan;
use crate::rehearsal::disagreement::Disagreement;
use crate::rehearsal::probe::Probe;
use crate::rehearsal::report::{ObservedRequest, PluginState, SandboxReport, Transport, Variant};
use crate::rehearsal::route::{asked, each_once};
use crate::route_change::RegistryScope;
use mirrorshift_containerd::{CRI_IMAGES, CRI_TWO, is_localhost};
use std::collections::BTreeSet;

/// What a rehearsal is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    /// The plan that was rehearsed.
    pub plan: &'e Plan,
    /// The images that were asked for.
    pub probes: &'e [Probe],
    /// The plugins that the running daemon has loaded, as `type.id`.
    pub loaded: &'e BTreeSet<String>,
}

/// What has its sockets or folders outside the sandbox, and so says nothing in it.
const UNKNOWABLE: [&str; 1] = ["io.containerd.nri.v1.nri"];

/// Everything in which `heard` and the plan disagree; nothing when the change may go on.
///
/// A CRI that the old files leave dead is no disagreement when the plan is there to heal it and the new files bring it up.
/// A plugin that the running daemon has, and that the old files do not bring up in the sandbox either, says nothing: that is
/// the sandbox's doing.
pub fn compare(expected: &Expected<'_>, heard: &[SandboxReport]) -> Vec<Disagreement> {
    let of = |variant| heard.iter().find(|heard| heard.variant == variant);
    let missing = |variant: Variant| vec![Disagreement::NotHeard(variant.to_string())];
    let (Some(before), Some(after)) = (of(Variant::Before), of(Variant::After)) else {
        let variant = if of(Variant::Before).is_none() {
            Variant::Before
        } else {
            Variant::After
        };
        return missing(variant);
    };
    let mut found = Vec::new();
    let healed = heals(expected.plan) && after.cri;
    if !before.cri && !healed {
        found.push(dead(before));
    }
    for changed in heard.iter().filter(|heard| heard.variant != Variant::Before) {
        // What a crash leaves in the middle of healing a dead CRI may be as dead as before.
        let as_before = !before.cri && changed.variant != Variant::After;
        if !changed.cri && !as_before {
            found.push(dead(changed));
        }
        plugins(expected, before, changed, &mut found);
        settings(before, changed, &mut found);
    }
    for heard in [before, after] {
        if heard.cri {
            routes(expected, heard, &mut found);
        }
    }
    found
}

fn heals(plan: &Plan) -> bool {
    plan.notes.iter().any(|note| matches!(note, Note::Heals(_)))
}

fn dead(heard: &SandboxReport) -> Disagreement {
    let of_cri = heard.plugins.iter().find_map(|(name, state)| match state {
        PluginState::Failed(why) if is_cri(name) => Some(why.clone()),
        _ => None,
    });
    let nothing = || "it said nothing".to_owned();
    Disagreement::CriDead {
        variant: heard.variant,
        why: of_cri.or_else(|| heard.silent.clone()).unwrap_or_else(nothing),
    }
}

/// On 2.x the plugin that serves CRI fails with the ones that it is made of; the reason is theirs.
fn is_cri(plugin: &str) -> bool {
    [CRI_IMAGES, "io.containerd.cri.v1.runtime", CRI_TWO].contains(&plugin)
}

fn plugins(expected: &Expected<'_>, before: &SandboxReport, changed: &SandboxReport, found: &mut Vec<Disagreement>) {
    // A daemon that did not start has lost all of them, and a dead CRI has lost its own, which is said already.
    if changed.plugins.is_empty() {
        return;
    }
    for plugin in expected.loaded {
        if UNKNOWABLE.contains(&plugin.as_str()) || before.plugins.get(plugin) != Some(&PluginState::Ok) {
            continue;
        }
        if !changed.cri && is_cri(plugin) {
            continue;
        }
        let why = match changed.plugins.get(plugin) {
            Some(PluginState::Ok) => continue,
            Some(PluginState::Skipped(why) | PluginState::Failed(why)) => why.clone(),
            None => "it is not among its plugins".to_owned(),
        };
        found.push(Disagreement::PluginLost {
            variant: changed.variant,
            plugin: plugin.clone(),
            why,
        });
    }
}

fn settings(before: &SandboxReport, changed: &SandboxReport, found: &mut Vec<Disagreement>) {
    match (&before.effective, &changed.effective) {
        (Ok(old), Ok(new)) => {
            let setting = |(path, difference): (&str, _)| Disagreement::Setting {
                variant: changed.variant,
                path: path.to_owned(),
                difference,
            };
            found.extend(old.differs(new).into_iter().map(setting));
        }
        (Err(why), _) => found.push(Disagreement::NoConfiguration {
            variant: before.variant,
            why: why.clone(),
        }),
        (_, Err(why)) => found.push(Disagreement::NoConfiguration {
            variant: changed.variant,
            why: why.clone(),
        }),
    }
}

fn routes(expected: &Expected<'_>, heard: &SandboxReport, found: &mut Vec<Disagreement>) {
    for probe in expected.probes {
        let change = expected
            .plan
            .routes
            .iter()
            .find(|change| change.registry == probe.registry);
        let pull = heard.pulls.iter().find(|pull| pull.image == probe.image);
        let (Some(change), Some(pull)) = (change, pull) else {
            let what = format!("{} with {}", probe.registry, heard.variant);
            found.push(Disagreement::NotHeard(what));
            continue;
        };
        let route = match heard.variant {
            Variant::Before => &change.before,
            _ => &change.after,
        };
        let (planned, seen) = (asked(route, probe.named), each_once(pull.asked.clone()));
        if shown(&planned, &probe.registry) != shown(&seen, &probe.registry) {
            found.push(Disagreement::Route {
                variant: heard.variant,
                registry: probe.registry.to_string(),
                planned,
                heard: seen,
            });
        }
    }
}

/// As far as it counts: a registry on the node itself is greeted by TLS before plain HTTP or not, depending on whether a
/// port is named somewhere, and this is known to differ between the rules of `mirrors` and those of hosts.toml.
fn shown<'a>(all: &'a [ObservedRequest], registry: &RegistryScope) -> Vec<&'a ObservedRequest> {
    let local = matches!(registry, RegistryScope::Registry(name) if is_localhost(name));
    let greets = |asked: &ObservedRequest| {
        let plain = |other: &ObservedRequest| {
            other.wire == Transport::Http && (&other.host, other.port) == (&asked.host, asked.port)
        };
        asked.wire == Transport::Tls && all.iter().any(plain)
    };
    all.iter().filter(|asked| !(local && greets(asked))).collect()
}
