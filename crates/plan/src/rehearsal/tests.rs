//! Each way in which a rehearsal and a plan can disagree, and what is no disagreement.

use crate::note::Note;
use crate::plan::{NodeFiles, Plan, plan};
use crate::policy::Policy;
use crate::policy::flags::MirrorFlag;
use crate::rehearsal::compare::{Expected, compare};
use crate::rehearsal::disagreement::Disagreement;
use crate::rehearsal::effective::{Difference, Effective};
use crate::rehearsal::probe::{ReferenceKind, probes};
use crate::rehearsal::report::{ObservedRequest, PluginState, Pull, SandboxReport, Transport, Variant};
use crate::rehearsal::route::{asked, port_of};
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

/// A rehearsal in which everything went as planned.
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
                asked: asked(route, probe.named),
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

fn judged(plan: &Plan, heard: &[SandboxReport]) -> Vec<Disagreement> {
    compare(
        &Expected {
            plan,
            probes: &probes(plan),
            loaded: &loaded(),
        },
        heard,
    )
}

/// What is said when this is done to a rehearsal in which everything went as planned.
fn spoilt(spoil: impl FnOnce(&mut [SandboxReport])) -> Vec<Disagreement> {
    let plan = planned(MIRRORS, &Policy::default());
    let mut heard = agreed(&plan);
    spoil(&mut heard);
    judged(&plan, &heard)
}

fn said(all: &[Disagreement]) -> Vec<String> {
    all.iter().map(|one| format!("{}: {one}", one.id())).collect()
}

#[test]
fn as_planned() {
    assert_eq!(spoilt(|_| {}), []);
}

#[test]
fn cri_is_dead_with_the_new_files() {
    let all = spoilt(|heard| {
        heard[2].cri = false;
        let why = "invalid plugin config: http://u:hunter2@h".to_owned();
        heard[2].plugins.insert(CRI.to_owned(), PluginState::Failed(why));
    });
    let text = said(&all);
    assert_eq!(
        text,
        ["cri-dead: with the new files CRI does not come up: invalid plugin config: http://***@h"]
    );
    assert!(!text.concat().contains("hunter2"));
    // In the middle it counts as well, and a daemon that did not start says why itself.
    let all = spoilt(|heard| {
        heard[1].cri = false;
        heard[1].plugins.clear();
        heard[1].silent = Some("containerd: no".to_owned());
    });
    assert_eq!(
        said(&all),
        ["cri-dead: with the first of the new configuration files CRI does not come up: containerd: no"]
    );
}

#[test]
fn a_cri_that_is_dead_already_is_no_disagreement_when_it_is_healed() {
    let mut plan = planned(MIRRORS, &Policy::default());
    let mut heard = agreed(&plan);
    for dead in &mut heard[..2] {
        dead.cri = false;
        dead.plugins
            .insert(CRI.to_owned(), PluginState::Failed("both".to_owned()));
        dead.pulls.clear();
    }
    // Nobody planned for that: the sandbox cannot stand for this node.
    let all = judged(&plan, &heard);
    assert_eq!(
        said(&all),
        ["cri-dead: with the files as they are CRI does not come up: both"]
    );
    assert!(all[0].hint().contains("cannot stand for this node"));
    plan.notes.push(Note::Heals("both".to_owned()));
    assert_eq!(judged(&plan, &heard), []);
    // It is not healed.
    heard[2].cri = false;
    heard[2].silent = Some("still".to_owned());
    assert_eq!(judged(&plan, &heard).len(), 2);
}

#[test]
fn a_plugin_is_lost() {
    let all = spoilt(|heard| {
        heard[2].plugins.remove(SNAPSHOTS);
    });
    assert_eq!(
        said(&all),
        [format!(
            "plugin-lost: with the new files the plugin `{SNAPSHOTS}` is lost: it is not among its plugins"
        )]
    );
}

#[test]
fn a_plugin_that_the_sandbox_cannot_have_says_nothing() {
    let skipped = || PluginState::Skipped("not here".to_owned());
    assert_eq!(
        spoilt(|heard| {
            for one in heard {
                one.plugins.insert(SNAPSHOTS.to_owned(), skipped());
            }
        }),
        []
    );
    assert_eq!(
        spoilt(|heard| {
            heard[2].plugins.insert(NRI.to_owned(), skipped());
        }),
        []
    );
}

#[test]
fn another_setting_differs() {
    let all = spoilt(|heard| heard[2].effective = Ok(Effective::read(b"root = \"/secret\"\n").unwrap()));
    assert_eq!(said(&all), ["setting: with the new files `root` has another value"]);
    let all = spoilt(|heard| heard[1].effective = Err("no".to_owned()));
    assert_eq!(
        said(&all),
        ["no-configuration: with the first of the new configuration files containerd's configuration is not known: no"]
    );
}

#[test]
fn somebody_else_is_asked() {
    let all = spoilt(|heard| {
        let pull = heard[2]
            .pulls
            .iter_mut()
            .find(|pull| pull.image.starts_with("ghcr.io/"));
        pull.unwrap().asked.remove(0);
    });
    assert_eq!(
        said(&all),
        [
            "route: with the new files images of ghcr.io are asked of https://s.test:8443, then https://ghcr.io:443, and the \
          plan says http://m.test:80/v2/proxy for ghcr.io, then https://s.test:8443, then https://ghcr.io:443"
        ]
    );
    let all = spoilt(|heard| {
        let pull = heard[0]
            .pulls
            .iter_mut()
            .find(|pull| pull.image.starts_with("docker.io/"));
        pull.unwrap().asked.clear();
    });
    assert!(
        said(&all)[0].contains("images of docker.io are asked of nobody"),
        "{all:?}"
    );
}

#[test]
fn what_was_not_tried_is_not_taken_for_good() {
    for gone in [0, 2] {
        let plan = planned(MIRRORS, &Policy::default());
        let mut heard = agreed(&plan);
        heard.remove(gone);
        assert_eq!(judged(&plan, &heard).len(), 1);
    }
    let all = spoilt(|heard| {
        heard[2].pulls.pop();
    });
    assert_eq!(
        said(&all),
        ["not-heard: any other registry with the new files was not tried"]
    );
}

#[test]
fn a_registry_on_the_node_may_be_greeted_by_tls_and_no_other_may() {
    let greet = |image: &str| {
        spoilt(|heard| {
            let pull = heard[2]
                .pulls
                .iter_mut()
                .find(|pull| pull.image.starts_with(image))
                .unwrap();
            let last = pull.asked.last().unwrap().clone();
            let at = pull.asked.len() - 1;
            let greeting = ObservedRequest {
                wire: Transport::Tls,
                path: None,
                namespace: None,
                ..last
            };
            pull.asked.insert(at, greeting);
        })
    };
    assert_eq!(greet("localhost:5000/"), []);
    assert_eq!(greet("10.0.20.10:5000/").len(), 1);
}

#[test]
fn a_difference_that_the_policy_asks_for_is_planned() {
    let flag: MirrorFlag = "ghcr.io=http://other.test:5010".parse().unwrap();
    let policy = Policy::with_flags(None, &[flag], None).unwrap();
    let plan = planned(MIRRORS, &policy);
    let heard = agreed(&plan);
    assert_eq!(judged(&plan, &heard), []);
    let of = |heard: &SandboxReport| {
        let pull = heard
            .pulls
            .iter()
            .find(|pull| pull.image.starts_with("ghcr.io/"))
            .unwrap();
        pull.asked[0].host.clone()
    };
    assert_eq!(
        (of(&heard[0]).as_str(), of(&heard[2]).as_str()),
        ("m.test", "other.test")
    );
}

#[test]
fn probes_are_one_a_registry_and_two_where_tags_are_asked_elsewhere() {
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
        ghcr.iter().map(|probe| probe.named).collect::<Vec<_>>(),
        [ReferenceKind::Tag, ReferenceKind::Digest]
    );
    let change = plan
        .routes
        .iter()
        .find(|change| change.registry == ghcr[0].registry)
        .unwrap();
    assert_eq!(asked(&change.after, ReferenceKind::Tag).len(), 1);
    assert_eq!(asked(&change.after, ReferenceKind::Digest).len(), 3);
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
fn configurations_differ_in_what_is_no_registry_setting() {
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
    let names: Vec<(String, Difference)> = names.into_iter().map(|(path, how)| (path.to_owned(), how)).collect();
    assert_eq!(
        names,
        [
            (path("containerd.runtimes.gpu.runtime_type"), Difference::Gone),
            (path("empty"), Difference::Gone),
            (path("registry_other.z"), Difference::New),
            (path("x"), Difference::Other),
            (path("y"), Difference::New),
        ]
    );
    assert!(!format!("{old:?}").contains("hunter2"));
    assert!(Effective::read(b"= hunter2").is_err());
}

#[test]
fn hosts_and_ports() {
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
