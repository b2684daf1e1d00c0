//! Each kind of disagreement between a rehearsal and a plan, and the differences that are not one.

use crate::note::Note;
use crate::plan::{NodeFiles, Plan, plan};
use crate::policy::Policy;
use crate::policy::flags::MirrorFlag;
use crate::rehearsal::compare::{Expected, compare};
use crate::rehearsal::disagreement::Disagreement;
use crate::rehearsal::effective::{Difference, Effective};
use crate::rehearsal::probe::{ReferenceKind, probes};
use crate::rehearsal::report::{ObservedRequest, PluginState, Pull, SandboxReport, Transport, Variant};
use crate::rehearsal::route::{expected_requests, port_of};
use crate::route_change::RegistryScope;
use mirrorshift_containerd::{DEFAULT_CONFIG, Entry, Tree, Version, read};
use std::collections::BTreeSet;

const CRI: &str = "io.containerd.grpc.v1.cri";
const SNAPSHOTS: &str = "io.containerd.snapshotter.v1.overlayfs";
const NRI: &str = "io.containerd.nri.v1.nri";

const MIRRORS: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors]
"*" = { endpoint = ["http://10.0.20.10:5000"] }
"ghcr.io" = { endpoint = ["http://m.test/v2/proxy", "https://s.test:8443"] }
"#;

fn planned(text: &str, policy: &Policy) -> Plan {
    let version: Version = "1.7.24".parse().unwrap();
    let mut tree = Tree::new();
    tree.insert(DEFAULT_CONFIG, Entry::File(text.into()));
    for _ in 0..10 {
        for path in read(&version, DEFAULT_CONFIG, &tree).missing {
            tree.insert(path, Entry::Absent);
        }
    }
    let node = NodeFiles {
        version: &version,
        config: DEFAULT_CONFIG,
        tree: &tree,
        owned: &BTreeSet::new(),
        images: &[],
    };
    plan(&node, policy).unwrap()
}

fn loaded() -> BTreeSet<String> {
    [CRI, SNAPSHOTS, NRI].map(str::to_owned).into()
}

/// Returns the reports of a rehearsal that agrees with the plan.
fn agreed(plan: &Plan) -> Vec<SandboxReport> {
    let of = |variant| {
        let pull = |probe: crate::rehearsal::probe::Probe| {
            let change = plan
                .routes
                .iter()
                .find(|change| change.registry == probe.registry)
                .unwrap();
            let route = match variant {
                Variant::Before => &change.before,
                _ => &change.after,
            };
            Pull {
                asked: expected_requests(route, probe.reference),
                image: probe.image,
                said: String::new(),
            }
        };
        SandboxReport {
            variant,
            plugins: loaded().into_iter().map(|name| (name, PluginState::Ok)).collect(),
            cri: true,
            silent: None,
            effective: Ok(Effective::read(b"root = \"/r\"\n").unwrap()),
            pulls: probes(plan).into_iter().map(pull).collect(),
            took_ms: 1,
        }
    };
    [Variant::Before, Variant::Prefix(1), Variant::After].map(of).into()
}

fn disagreements(plan: &Plan, reports: &[SandboxReport]) -> Vec<Disagreement> {
    compare(
        &Expected {
            plan,
            probes: &probes(plan),
            loaded: &loaded(),
        },
        reports,
    )
}

/// Returns the disagreements after `spoil` has modified a rehearsal that agrees with the plan.
fn spoilt(spoil: impl FnOnce(&mut [SandboxReport])) -> Vec<Disagreement> {
    let plan = planned(MIRRORS, &Policy::default());
    let mut reports = agreed(&plan);
    spoil(&mut reports);
    disagreements(&plan, &reports)
}

fn texts(all: &[Disagreement]) -> Vec<String> {
    all.iter()
        .map(|disagreement| format!("{}: {disagreement}", disagreement.id()))
        .collect()
}

#[test]
fn rehearsal_as_planned_has_no_disagreement() {
    assert_eq!(spoilt(|_| {}), []);
}

#[test]
fn cri_that_does_not_load_is_a_disagreement() {
    let all = spoilt(|reports| {
        reports[2].cri = false;
        let why = "invalid plugin config: http://u:hunter2@h".to_owned();
        reports[2].plugins.insert(CRI.to_owned(), PluginState::Failed(why));
    });
    let text = texts(&all);
    assert_eq!(
        text,
        ["cri-dead: with the new files CRI does not load: invalid plugin config: http://***@h"]
    );
    assert!(!text.concat().contains("hunter2"));
    // The same holds for the files after a crash. A daemon that did not start prints the reason.
    let all = spoilt(|reports| {
        reports[1].cri = false;
        reports[1].plugins.clear();
        reports[1].silent = Some("containerd: no".to_owned());
    });
    assert_eq!(
        texts(&all),
        ["cri-dead: with the first of the new configuration files CRI does not load: containerd: no"]
    );
}

#[test]
fn failed_cri_is_not_a_disagreement_when_the_plan_repairs_it() {
    let mut plan = planned(MIRRORS, &Policy::default());
    let mut reports = agreed(&plan);
    for dead in &mut reports[..2] {
        dead.cri = false;
        dead.plugins
            .insert(CRI.to_owned(), PluginState::Failed("both".to_owned()));
        dead.pulls.clear();
    }
    // The plan does not repair CRI, so the sandbox does not represent this node.
    let all = disagreements(&plan, &reports);
    assert_eq!(
        texts(&all),
        ["cri-dead: with the current files CRI does not load: both"]
    );
    assert!(all[0].hint().contains("the sandbox lacks something"));
    plan.notes.push(Note::RepairsCri("both".to_owned()));
    assert_eq!(disagreements(&plan, &reports), []);
    // CRI does not load with the new files either.
    reports[2].cri = false;
    reports[2].silent = Some("still".to_owned());
    assert_eq!(disagreements(&plan, &reports).len(), 2);
}

#[test]
fn plugin_that_no_longer_loads_is_a_disagreement() {
    let all = spoilt(|reports| {
        reports[2].plugins.remove(SNAPSHOTS);
    });
    assert_eq!(
        texts(&all),
        [format!(
            "plugin-lost: with the new files the plugin `{SNAPSHOTS}` does not load: containerd does not list it"
        )]
    );
}

#[test]
fn plugin_that_cannot_load_in_the_sandbox_is_ignored() {
    let skipped = || PluginState::Skipped("not here".to_owned());
    assert_eq!(
        spoilt(|reports| {
            for report in reports {
                report.plugins.insert(SNAPSHOTS.to_owned(), skipped());
            }
        }),
        []
    );
    assert_eq!(
        spoilt(|reports| {
            reports[2].plugins.insert(NRI.to_owned(), skipped());
        }),
        []
    );
}

#[test]
fn other_setting_that_differs_is_a_disagreement() {
    let all = spoilt(|reports| reports[2].effective = Ok(Effective::read(b"root = \"/secret\"\n").unwrap()));
    assert_eq!(texts(&all), ["setting: with the new files `root` has another value"]);
    let all = spoilt(|reports| reports[1].effective = Err("no".to_owned()));
    assert_eq!(
        texts(&all),
        ["no-configuration: with the first of the new configuration files the merged configuration is unknown: no"]
    );
}

#[test]
fn other_hosts_than_planned_are_a_disagreement() {
    let all = spoilt(|reports| {
        let pull = reports[2]
            .pulls
            .iter_mut()
            .find(|pull| pull.image.starts_with("ghcr.io/"));
        pull.unwrap().asked.remove(0);
    });
    assert_eq!(
        texts(&all),
        [
            "route: with the new files containerd tries https://s.test:8443, then https://ghcr.io:443 for images of ghcr.io, \
          but the plan is http://m.test:80/v2/proxy for ghcr.io, then https://s.test:8443, then https://ghcr.io:443"
        ]
    );
    let all = spoilt(|reports| {
        let pull = reports[0]
            .pulls
            .iter_mut()
            .find(|pull| pull.image.starts_with("docker.io/"));
        pull.unwrap().asked.clear();
    });
    assert!(
        texts(&all)[0].contains("containerd tries no host for images of docker.io"),
        "{all:?}"
    );
}

#[test]
fn missing_report_or_pull_is_a_disagreement() {
    for missing in [0, 2] {
        let plan = planned(MIRRORS, &Policy::default());
        let mut reports = agreed(&plan);
        reports.remove(missing);
        assert_eq!(disagreements(&plan, &reports).len(), 1);
    }
    let all = spoilt(|reports| {
        reports[2].pulls.pop();
    });
    assert_eq!(
        texts(&all),
        ["not-observed: any other registry with the new files was not rehearsed"]
    );
}

#[test]
fn tls_attempt_before_http_is_ignored_only_for_a_registry_on_the_node() {
    let with_tls_attempt = |image: &str| {
        spoilt(|reports| {
            let pull = reports[2]
                .pulls
                .iter_mut()
                .find(|pull| pull.image.starts_with(image))
                .unwrap();
            let last = pull.asked.last().unwrap().clone();
            let at = pull.asked.len() - 1;
            let attempt = ObservedRequest {
                wire: Transport::Tls,
                path: None,
                namespace: None,
                ..last
            };
            pull.asked.insert(at, attempt);
        })
    };
    assert_eq!(with_tls_attempt("localhost:5000/"), []);
    assert_eq!(with_tls_attempt("10.0.20.10:5000/").len(), 1);
}

#[test]
fn difference_that_the_policy_requires_is_expected() {
    let flag: MirrorFlag = "ghcr.io=http://other.test:5010".parse().unwrap();
    let policy = Policy::with_flags(None, &[flag], None).unwrap();
    let plan = planned(MIRRORS, &policy);
    let reports = agreed(&plan);
    assert_eq!(disagreements(&plan, &reports), []);
    let of = |reports: &SandboxReport| {
        let pull = reports
            .pulls
            .iter()
            .find(|pull| pull.image.starts_with("ghcr.io/"))
            .unwrap();
        pull.asked[0].host.clone()
    };
    assert_eq!(
        (of(&reports[0]).as_str(), of(&reports[2]).as_str()),
        ("m.test", "other.test")
    );
}

#[test]
fn registry_with_hosts_of_one_purpose_gets_a_probe_by_digest_too() {
    let plan = planned(MIRRORS, &Policy::default());
    let all = probes(&plan);
    assert_eq!(all.len(), plan.routes.len());
    assert!(all.iter().any(|probe| probe.registry == RegistryScope::Unnamed));
    for probe in &all {
        probe.image.parse::<mirrorshift_containerd::Image>().unwrap();
    }
    let text =
        "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\nregistries:\n- host: ghcr.io\n  tags: upstream\n";
    let plan = planned(MIRRORS, &Policy::parse(text, "policy.yaml").unwrap());
    let ghcr: Vec<_> = probes(&plan)
        .into_iter()
        .filter(|probe| probe.registry == RegistryScope::Registry("ghcr.io".to_owned()))
        .collect();
    assert_eq!(
        ghcr.iter().map(|probe| probe.reference).collect::<Vec<_>>(),
        [ReferenceKind::Tag, ReferenceKind::Digest]
    );
    let change = plan
        .routes
        .iter()
        .find(|change| change.registry == ghcr[0].registry)
        .unwrap();
    assert_eq!(expected_requests(&change.after, ReferenceKind::Tag).len(), 1);
    assert_eq!(expected_requests(&change.after, ReferenceKind::Digest).len(), 3);
    assert!(
        ghcr[1]
            .image
            .parse::<mirrorshift_containerd::Image>()
            .unwrap()
            .digest
            .is_some()
    );
}

#[test]
fn registry_settings_are_not_compared() {
    let read = |text: &str| Effective::read(text.as_bytes()).unwrap();
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    let old = read(&format!(
        "imports = [\"a\", \"b\"]\n[{cri}]\nx = 1\n[{cri}.registry.mirrors.a]\nendpoint = [\"http://u:hunter2@h\"]\n\
         [{cri}.containerd.runtimes.gpu]\nruntime_type = \"r\"\n[{cri}.empty]\n"
    ));
    let new = read(&format!(
        "imports = [\"b\", \"a\"]\n[{cri}]\nx = \"1\"\ny = 2\n[{cri}.registry]\nconfig_path = \"c\"\n[{cri}.registry_other]\nz = 1\n"
    ));
    let path = |name: &str| format!("{cri}.{name}");
    let names = old.differs(&new);
    let names: Vec<(String, Difference)> = names
        .into_iter()
        .map(|(path, difference)| (path.to_owned(), difference))
        .collect();
    assert_eq!(
        names,
        [
            (path("containerd.runtimes.gpu.runtime_type"), Difference::Missing),
            (path("empty"), Difference::Missing),
            (path("registry_other.z"), Difference::New),
            (path("x"), Difference::Changed),
            (path("y"), Difference::New),
        ]
    );
    assert!(!format!("{old:?}").contains("hunter2"));
    assert!(Effective::read(b"= hunter2").is_err());
}

#[test]
fn authority_is_split_into_host_and_port() {
    for (authority, host, port) in [
        ("ghcr.io", "ghcr.io", 443),
        ("GHCR.io:5000", "ghcr.io", 5000),
        ("[fd00::7]:5000", "fd00::7", 5000),
        ("[FD00:0::7]", "fd00::7", 443),
        ("a.", "a", 443),
    ] {
        assert_eq!(port_of(authority, 443), (host.to_owned(), port), "{authority}");
    }
}
