//! Compares the reports of a rehearsal with the plan.

use crate::note::Note;
use crate::plan::Plan;
use crate::rehearsal::disagreement::Disagreement;
use crate::rehearsal::probe::Probe;
use crate::rehearsal::report::{ObservedRequest, PluginState, SandboxReport, Transport, Variant};
use crate::rehearsal::route::{each_once, expected_requests};
use crate::route_change::RegistryScope;
use mirrorshift_containerd::{CRI_IMAGES, CRI_TWO, is_localhost};
use std::collections::BTreeSet;

/// The expectations that a rehearsal is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    /// The plan that was rehearsed.
    pub plan: &'e Plan,
    /// The images that were pulled.
    pub probes: &'e [Probe],
    /// The plugins that the running daemon has loaded, each as `type.id`.
    pub loaded: &'e BTreeSet<String>,
}

/// Plugins whose sockets or folders are outside of the sandbox, so that their state in it means nothing.
const MEANINGLESS_IN_SANDBOX: [&str; 1] = ["io.containerd.nri.v1.nri"];

/// Returns every disagreement between the reports and the plan. When there is none, the change may continue.
///
/// A CRI that does not load with the current files is not a disagreement when the plan repairs it and it loads with the
/// new files. A plugin of the running daemon that does not load in the sandbox with the current files either is
/// ignored, because the sandbox is the cause.
pub fn compare(expected: &Expected<'_>, reports: &[SandboxReport]) -> Vec<Disagreement> {
    let report_of = |variant| reports.iter().find(|report| report.variant == variant);
    let missing = |variant: Variant| vec![Disagreement::NotObserved(variant.to_string())];
    let (Some(before), Some(after)) = (report_of(Variant::Before), report_of(Variant::After)) else {
        let variant = if report_of(Variant::Before).is_none() {
            Variant::Before
        } else {
            Variant::After
        };
        return missing(variant);
    };
    let mut found = Vec::new();
    let is_repaired = repairs_cri(expected.plan) && after.cri;
    if !before.cri && !is_repaired {
        found.push(cri_dead(before));
    }
    for changed in reports.iter().filter(|report| report.variant != Variant::Before) {
        // After a crash in the middle of the repair, CRI may fail as before.
        let fails_as_before = !before.cri && changed.variant != Variant::After;
        if !changed.cri && !fails_as_before {
            found.push(cri_dead(changed));
        }
        plugins(expected, before, changed, &mut found);
        settings(before, changed, &mut found);
    }
    for report in [before, after] {
        if report.cri {
            routes(expected, report, &mut found);
        }
    }
    found
}

fn repairs_cri(plan: &Plan) -> bool {
    plan.notes.iter().any(|note| matches!(note, Note::RepairsCri(_)))
}

fn cri_dead(report: &SandboxReport) -> Disagreement {
    let reason = report.plugins.iter().find_map(|(name, state)| match state {
        PluginState::Failed(why) if is_cri(name) => Some(why.clone()),
        _ => None,
    });
    let no_message = || "containerd printed no reason".to_owned();
    Disagreement::CriDead {
        variant: report.variant,
        why: reason.or_else(|| report.silent.clone()).unwrap_or_else(no_message),
    }
}

/// Returns true for the plugins that CRI consists of. On 2.x the plugin that serves CRI fails with the others, whose message
/// has the reason.
fn is_cri(plugin: &str) -> bool {
    [CRI_IMAGES, "io.containerd.cri.v1.runtime", CRI_TWO].contains(&plugin)
}

fn plugins(expected: &Expected<'_>, before: &SandboxReport, changed: &SandboxReport, found: &mut Vec<Disagreement>) {
    // A daemon that did not start has lost all plugins, and a failed CRI its own. Both are already reported.
    if changed.plugins.is_empty() {
        return;
    }
    for plugin in expected.loaded {
        if MEANINGLESS_IN_SANDBOX.contains(&plugin.as_str()) || before.plugins.get(plugin) != Some(&PluginState::Ok) {
            continue;
        }
        if !changed.cri && is_cri(plugin) {
            continue;
        }
        let why = match changed.plugins.get(plugin) {
            Some(PluginState::Ok) => continue,
            Some(PluginState::Skipped(why) | PluginState::Failed(why)) => why.clone(),
            None => "containerd does not list it".to_owned(),
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

fn routes(expected: &Expected<'_>, report: &SandboxReport, found: &mut Vec<Disagreement>) {
    for probe in expected.probes {
        let change = expected
            .plan
            .routes
            .iter()
            .find(|change| change.registry == probe.registry);
        let pull = report.pulls.iter().find(|pull| pull.image == probe.image);
        let (Some(change), Some(pull)) = (change, pull) else {
            let what = format!("{} with {}", probe.registry, report.variant);
            found.push(Disagreement::NotObserved(what));
            continue;
        };
        let route = match report.variant {
            Variant::Before => &change.before,
            _ => &change.after,
        };
        let (planned, observed) = (expected_requests(route, probe.reference), each_once(pull.asked.clone()));
        if significant(&planned, &probe.registry) != significant(&observed, &probe.registry) {
            found.push(Disagreement::Route {
                variant: report.variant,
                registry: probe.registry.to_string(),
                planned,
                observed,
            });
        }
    }
}

/// Returns the requests that are compared.
///
/// containerd tries TLS before plain HTTP on a registry on the node itself, or not, depending on whether a port is named.
/// This is known to differ between the rules of `mirrors` and those of `hosts.toml`, so such a TLS attempt is ignored.
fn significant<'a>(all: &'a [ObservedRequest], registry: &RegistryScope) -> Vec<&'a ObservedRequest> {
    let local = matches!(registry, RegistryScope::Registry(name) if is_localhost(name));
    let precedes_http = |request: &ObservedRequest| {
        let is_plain = |other: &ObservedRequest| {
            other.wire == Transport::Http && (&other.host, other.port) == (&request.host, request.port)
        };
        request.wire == Transport::Tls && all.iter().any(is_plain)
    };
    all.iter()
        .filter(|request| !(local && precedes_http(request)))
        .collect()
}
