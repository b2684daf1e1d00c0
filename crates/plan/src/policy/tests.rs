//! Whole policies that are accepted, and their meaning.

mod hostile;
mod mistakes;

use crate::policy::error::PolicyError;
use crate::policy::host::RegistryName;
use crate::policy::schema::{MIRROR, REGISTRY, RESTART, ROOT};
use crate::policy::{Fallback, HostsDir, Mode, Policy, Registry, Restart, Tags, When, Wildcard};
use std::num::NonZeroU32;
use std::time::Duration;

const HEAD: &str = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n";
const EVERY_KEY: &str = "\
mode: migrate              # observe | migrate | rollback
wildcard: keep
registries:
  - host: ghcr.io
    mirrors:
      - url: http://10.0.20.10:5010
    tags: upstream
    fallback: upstream
adopt: [quay.io, _default]
restart:
  when: idle
  maxConcurrent: 3
  deadline: 1m30s
";

fn host(text: &str) -> RegistryName {
    RegistryName::parse(text).unwrap()
}

/// Parses a policy of the two first lines and `keys`.
fn parse(keys: &str) -> Result<Policy, PolicyError> {
    Policy::parse(&format!("{HEAD}{keys}"), "p.yaml")
}

fn every_key() -> Policy {
    Policy {
        mode: Some(Mode::Migrate),
        wildcard: Wildcard::Keep,
        registries: vec![Registry {
            host: host("ghcr.io"),
            mirrors: Some(vec!["http://10.0.20.10:5010".parse().unwrap()]),
            tags: Tags::Upstream,
            fallback: Fallback::Upstream,
        }],
        adopt: vec![HostsDir::Host(host("quay.io")), HostsDir::Default],
        restart: Restart {
            when: When::Idle,
            max_concurrent: NonZeroU32::new(3).unwrap(),
            deadline: Duration::from_secs(90),
        },
    }
}

#[test]
fn every_key_of_the_schema_is_read() {
    assert_eq!(parse(EVERY_KEY), Ok(every_key()));
    for key in [&ROOT, &REGISTRY, &MIRROR, &RESTART]
        .iter()
        .flat_map(|schema| schema.keys)
    {
        assert!(
            format!("{HEAD}{EVERY_KEY}").contains(&format!("{key}:")),
            "`{key}` is in no test"
        );
    }
}

#[test]
fn missing_keys_keep_behaviour() {
    let default = Policy::default();
    assert_eq!(parse(""), Ok(default.clone()));
    assert_eq!(parse("registries: []\nadopt: []\nrestart: {}\n"), Ok(default.clone()));
    assert_eq!(
        parse("restart: {deadline: 20s, when: idle, maxConcurrent: 1}"),
        Ok(default.clone())
    );
    assert_eq!((default.mode, default.wildcard), (None, Wildcard::Keep));
    assert_eq!(
        (default.restart.max_concurrent.get(), default.restart.deadline.as_secs()),
        (1, 20)
    );
}

#[test]
fn file_is_accepted_as_other_tools_save_it() {
    let text = format!("{HEAD}{EVERY_KEY}");
    for other in [
        text.replace('\n', "\r\n"),
        format!("\u{feff}{text}"),
        format!("---\n{text}...\n"),
        format!("# a comment\n\n{text}"),
        text.replace("keep", "'keep'").replace("idle", "\"idle\""),
        text.trim_end().to_owned(),
    ] {
        assert_eq!(
            Policy::parse_bytes(other.as_bytes(), "p.yaml"),
            Ok(every_key()),
            "{other:?}"
        );
    }
}

#[test]
fn every_word_is_accepted() {
    let of = |keys: &str| parse(keys).unwrap();
    for (word, mode) in [
        ("observe", Mode::Observe),
        ("migrate", Mode::Migrate),
        ("rollback", Mode::Rollback),
    ] {
        assert_eq!(of(&format!("mode: {word}")).mode, Some(mode));
    }
    for (word, when) in [("idle", When::Idle), ("now", When::Now), ("never", When::Never)] {
        assert_eq!(of(&format!("restart: {{when: {word}}}")).restart.when, when);
    }
    let only = Wildcard::Only(vec![host("docker.io"), host("quay.io")]);
    for (word, wildcard) in [
        ("keep", Wildcard::Keep),
        ("drop", Wildcard::Drop),
        ("docker.io", Wildcard::Only(vec![host("docker.io")])),
        ("docker.io,quay.io", only.clone()),
        ("'docker.io, quay.io'", only.clone()),
        ("[docker.io, quay.io]", only.clone()),
        ("\n- docker.io\n- quay.io", only),
    ] {
        assert_eq!(of(&format!("wildcard: {word}")).wildcard, wildcard);
    }
    for (keys, tags, fallback) in [
        ("tags: mirror", Tags::Mirror, Fallback::Upstream),
        ("tags: upstream", Tags::Upstream, Fallback::Upstream),
        ("fallback: none", Tags::Mirror, Fallback::None),
    ] {
        let registry = of(&format!("registries: [{{host: ghcr.io, {keys}}}]"))
            .registries
            .remove(0);
        assert_eq!(
            (registry.mirrors, registry.tags, registry.fallback),
            (None, tags, fallback)
        );
    }
    let upstream = of("registries: [{host: ghcr.io, mirrors: []}]");
    assert_eq!(upstream.registry(&host("ghcr.io")).unwrap().mirrors, Some(Vec::new()));
    assert_eq!(upstream.registry(&host("quay.io")), None);
    for (word, seconds) in [("20s", 20), ("'1m 30s'", 90), ("5min", 300), ("1h", 3600)] {
        assert_eq!(
            of(&format!("restart: {{deadline: {word}}}")).restart.deadline.as_secs(),
            seconds
        );
    }
}

#[test]
fn examples_are_accepted() {
    let caches = Policy::parse(
        include_str!("../../../../examples/policies/pull-through-caches.yaml"),
        "p",
    )
    .unwrap();
    assert_eq!(caches.wildcard, Wildcard::Drop);
    let table: Vec<_> = caches
        .registries
        .iter()
        .map(|registry| {
            (
                registry.host.as_str(),
                registry.mirrors.as_ref().unwrap()[0].to_string(),
                registry.tags,
            )
        })
        .collect();
    let row = |host, port| (host, format!("http://10.0.20.10:{port}"), Tags::Mirror);
    assert_eq!(
        table,
        [
            row("docker.io", 5000),
            row("ghcr.io", 5010),
            row("quay.io", 5020),
            row("registry.k8s.io", 5030),
            row("reg.kyverno.io", 5040)
        ]
    );
    let gapped = Policy::parse(include_str!("../../../../examples/policies/air-gapped.yaml"), "p").unwrap();
    assert!(
        gapped
            .registries
            .iter()
            .all(|registry| registry.fallback == Fallback::None)
    );
    assert_eq!(
        gapped.registries[0].mirrors.as_ref().unwrap()[0].api_root(),
        "/v2/docker-hub"
    );
    let fresh = Policy::parse(include_str!("../../../../examples/policies/fresh-tags.yaml"), "p").unwrap();
    assert!(fresh.registries.iter().all(|registry| registry.tags == Tags::Upstream));
    assert_eq!(
        (fresh.registries[1].mirrors.as_ref(), fresh.wildcard),
        (None, Wildcard::Keep)
    );
}

#[test]
fn deadline_is_at_least_three_times_the_last_start() {
    let restart = |seconds| Restart {
        deadline: Duration::from_secs(seconds),
        ..Restart::default()
    };
    for (deadline, last_start, expected) in [
        (20, None, 20),
        (20, Some(0), 20),
        (20, Some(6), 20),
        (20, Some(7), 21),
        (90, Some(20), 90),
        (90, Some(60), 180),
        (20, Some(1200), 3600),
        (20, Some(1201), 3600),
        (3600, Some(u64::MAX), 3600),
    ] {
        let last_start = last_start.map(Duration::from_secs);
        assert_eq!(
            restart(deadline).deadline_for(last_start),
            Duration::from_secs(expected),
            "{deadline} {last_start:?}"
        );
    }
}
