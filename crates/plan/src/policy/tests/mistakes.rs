//! The mistakes that operators make in a policy: the message, the location and the hint of each.

use crate::policy::Policy;
use crate::policy::error::PolicyError;

const HEAD: &str = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n";

fn parse(keys: &str) -> Result<Policy, PolicyError> {
    Policy::parse(&format!("{HEAD}{keys}"), "p.yaml")
}

/// The text behind the head, and the location, the message and the hint of its first mistake.
type Mistake = (&'static str, (usize, usize), &'static str, Option<&'static str>);

fn check(mistakes: &[Mistake]) {
    for (keys, place, message, hint) in mistakes {
        let error = parse(keys).expect_err(keys);
        let at = error.place.clone().map(|place| (place.line, place.column));
        assert_eq!(
            (error.message.as_str(), error.hint.as_deref(), at),
            (*message, *hint, Some(*place)),
            "{keys:?}"
        );
        assert_eq!(error.to_string(), format!("p.yaml:{}:{}: {message}", place.0, place.1));
    }
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    check(&[
        (
            "wildcrad: keep",
            (3, 1),
            "unknown key `wildcrad` in the policy",
            Some("did you mean `wildcard`?"),
        ),
        (
            "Mode: migrate",
            (3, 1),
            "unknown key `Mode` in the policy",
            Some("did you mean `mode`?"),
        ),
        (
            "registry: []",
            (3, 1),
            "unknown key `registry` in the policy",
            Some("did you mean `registries`?"),
        ),
        (
            "restart:\n  max_concurent: 1",
            (4, 3),
            "unknown key `max_concurent` in `restart`",
            Some("did you mean `maxConcurrent`?"),
        ),
        (
            "registries:\n- hosts: ghcr.io",
            (4, 3),
            "unknown key `hosts` in an entry of `registries`",
            Some("did you mean `host`?"),
        ),
        (
            "registries:\n- host: ghcr.io\n  mirrors:\n  - url: http://h\n    skipVerify: true",
            (7, 5),
            "unknown key `skipVerify` in an entry of `mirrors`",
            Some("known keys: `url`"),
        ),
        (
            "tags: upstream",
            (3, 1),
            "unknown key `tags` in the policy",
            Some("`tags` is a key of an entry of `registries`"),
        ),
        (
            "spec:\n  wildcard: keep",
            (3, 1),
            "unknown key `spec` in the policy",
            Some("a policy is a file, not a Kubernetes object: write its keys at the top, without `spec`"),
        ),
        (
            "'<<': {}",
            (3, 1),
            "unknown key `<<` in the policy",
            Some("known keys: `apiVersion`, `kind`, `mode`, `wildcard`, `registries`, `adopt`, `restart`"),
        ),
        ("? [a]\n: b", (3, 3), "a key must be a word, found a list", None),
    ]);
}

#[test]
fn repeated_key_or_value_is_refused_with_both_lines() {
    check(&[
        (
            "wildcard: keep\nmode: migrate\nwildcard: drop",
            (5, 1),
            "the key `wildcard` is already on line 3",
            Some("keep one of them"),
        ),
        (
            "kind: MirrorPolicy",
            (3, 1),
            "the key `kind` is already on line 2",
            Some("keep one of them"),
        ),
        (
            "registries:\n- {host: ghcr.io, tags: upstream}\n- {host: quay.io, tags: mirror}\n- {host: ghcr.io, fallback: none}",
            (6, 10),
            "`ghcr.io` already has an entry on line 4",
            Some("write one entry with all its keys"),
        ),
        (
            "registries:\n- host: ghcr.io\n  mirrors:\n  - url: http://h\n  - url: http://H/v2/",
            (7, 10),
            "`http://h` is already on line 6",
            Some("name it once"),
        ),
        (
            "adopt: [ghcr.io, _default, ghcr.io]",
            (3, 28),
            "`ghcr.io` is already on line 3",
            Some("name it once"),
        ),
        (
            "wildcard:\n- ghcr.io\n- ghcr.io",
            (5, 3),
            "`ghcr.io` is already on line 4",
            Some("name it once"),
        ),
        (
            "wildcard: 'ghcr.io,ghcr.io'",
            (3, 11),
            "`ghcr.io` is named twice",
            Some("name each host once"),
        ),
    ]);
}

#[test]
fn wrong_type_is_refused_with_the_right_one() {
    let bare = Some("YAML reads `yes`, `no`, `on` or `off` without quotes as a boolean");
    let empty = Some("add a value, or remove the key");
    check(&[
        (
            "mode: [migrate]",
            (3, 7),
            "`mode` must be one of `observe`, `migrate`, `rollback`, found a list",
            None,
        ),
        (
            "mode:",
            (3, 1),
            "`mode` must be one of `observe`, `migrate`, `rollback`, found nothing",
            empty,
        ),
        (
            "mode: off",
            (3, 7),
            "`mode` must be one of `observe`, `migrate`, `rollback`, found the boolean `off`",
            bare,
        ),
        (
            "mode: 1",
            (3, 7),
            "`mode` must be one of `observe`, `migrate`, `rollback`, found the number `1`",
            None,
        ),
        (
            "wildcard: {docker.io: keep}",
            (3, 11),
            "`wildcard` must be `keep`, `drop`, a host or a list of hosts, found a map",
            None,
        ),
        (
            "wildcard: [true]",
            (3, 12),
            "`wildcard` must be a host, found the boolean `true`",
            bare,
        ),
    ]);
}

#[test]
fn wrong_type_of_a_list_or_map_is_refused() {
    let bare = Some("YAML reads `yes`, `no`, `on` or `off` without quotes as a boolean");
    check(&[
        (
            "registries: ghcr.io",
            (3, 13),
            "`registries` must be a list, found the text `ghcr.io`",
            Some("write a list of entries such as `- host: ghcr.io`, or `registries: []`"),
        ),
        (
            "registries:\nadopt: []",
            (3, 1),
            "`registries` must be a list, found nothing",
            Some("write a list of entries such as `- host: ghcr.io`, or `registries: []`"),
        ),
        (
            "registries: [ghcr.io]",
            (3, 14),
            "an entry of `registries` must be a map, found the text `ghcr.io`",
            Some("its keys are `host`, `mirrors`, `tags`, `fallback`"),
        ),
        (
            "registries: [{host: no, tags: mirror}]",
            (3, 21),
            "`host` must be a registry such as `ghcr.io`, found the boolean `no`",
            bare,
        ),
        (
            "registries: [{host: ghcr.io, mirrors: [http://h]}]",
            (3, 40),
            "an entry of `mirrors` must be a map, found the text `http://h`",
            Some("its keys are `url`"),
        ),
        (
            "adopt: ghcr.io",
            (3, 8),
            "`adopt` must be a list, found the text `ghcr.io`",
            Some("write a list of hosts such as `ghcr.io`, or `adopt: []`"),
        ),
        (
            "restart: now",
            (3, 10),
            "`restart` must be a map, found the text `now`",
            Some("its keys are `when`, `maxConcurrent`, `deadline`"),
        ),
        (
            "restart: {deadline: 20}",
            (3, 21),
            "`deadline` must be a time such as `20s`, found the number `20`",
            None,
        ),
    ]);
}

#[test]
fn wrong_number_is_refused_with_the_right_ones() {
    for (value, found) in [
        ("0", "the number `0`"),
        ("-1", "the number `-1`"),
        ("1.5", "the number `1.5`"),
        ("'2'", "the text `2`"),
        ("25%", "the text `25%`"),
        ("99999999999", "the number `99999999999`"),
        ("", "nothing"),
    ] {
        let error = parse(&format!("restart:\n  maxConcurrent: {value}")).unwrap_err();
        assert_eq!(
            error.message,
            format!("`maxConcurrent` must be a whole number from 1, found {found}")
        );
        assert_eq!(error.place.unwrap().line, 4);
    }
}

#[test]
fn wrong_value_is_refused_with_the_right_ones() {
    let time = Some("write a time such as `20s`, `1m30s` or `5m`, from 20 seconds to 1 hour");
    check(&[
        (
            "mode: migrat",
            (3, 7),
            "`mode` cannot be `migrat`",
            Some("did you mean `migrate`? it is one of `observe`, `migrate`, `rollback`"),
        ),
        (
            "mode: x",
            (3, 7),
            "`mode` cannot be `x`",
            Some("write one of `observe`, `migrate`, `rollback`"),
        ),
        (
            "wildcard: kept",
            (3, 11),
            "`kept` is not `keep`, `drop` or a host",
            Some("did you mean `keep`?"),
        ),
        (
            "wildcard: []",
            (3, 11),
            "the list of hosts for the wildcard is empty",
            Some("write `drop` to drop the wildcard, or `keep` to keep it"),
        ),
        (
            "restart: {deadline: 19s}",
            (3, 21),
            "`deadline` cannot be `19s`: containerd may need 20 seconds to start",
            time,
        ),
        (
            "restart: {deadline: 2h}",
            (3, 21),
            "`deadline` cannot be `2h`: a node must not be without CRI for more than an hour",
            time,
        ),
        (
            "restart: {deadline: '20'}",
            (3, 21),
            "`deadline` cannot be `20`: it is not a time with a unit",
            time,
        ),
        (
            "restart: {deadline: -20s}",
            (3, 21),
            "`deadline` cannot be `-20s`: it is not a time with a unit",
            time,
        ),
        (
            "restart: {deadline: soon}",
            (3, 21),
            "`deadline` cannot be `soon`: it is not a time with a unit",
            time,
        ),
        (
            "registries:\n- host: '*'\n  tags: upstream",
            (4, 9),
            "`*` is not a registry host: it is the wildcard",
            Some("for registries without their own settings write `wildcard: keep | drop | HOSTS`"),
        ),
        (
            "registries:\n- host: index.docker.io\n  tags: upstream",
            (4, 9),
            "`index.docker.io` is not a registry host: image names spell Docker Hub `docker.io`",
            Some("write `docker.io`"),
        ),
        (
            "registries:\n- host: ghcr.io\n  mirrors: [{url: 10.0.0.1:5010}]",
            (5, 19),
            "`10.0.0.1:5010` is not a mirror URL: the scheme is missing",
            Some("write `https://10.0.0.1:5010`, or `http://10.0.0.1:5010` if it has no TLS"),
        ),
    ]);
}

#[test]
fn contradictions_and_empty_entries_are_refused() {
    check(&[
        (
            "registries:\n- host: ghcr.io",
            (4, 9),
            "the entry of `ghcr.io` has no setting",
            Some("add `mirrors`, `tags` or `fallback`; with `mirrors: []` its images are pulled from upstream"),
        ),
        (
            "registries:\n- tags: upstream",
            (4, 3),
            "`host` is missing in an entry of `registries`",
            Some("name the registry, such as `host: ghcr.io`"),
        ),
        (
            "registries:\n- host: ghcr.io\n  mirrors:\n  - {}",
            (6, 5),
            "`url` is missing in an entry of `mirrors`",
            Some("write `- url: https://mirror.example`"),
        ),
        (
            "registries:\n- host: ghcr.io\n  tags: upstream\n  fallback: none",
            (6, 13),
            "no tag of `ghcr.io` could be resolved: `tags` is `upstream`",
            Some("remove `tags: upstream` or `fallback: none`"),
        ),
        (
            "registries:\n- host: ghcr.io\n  mirrors: []\n  fallback: none",
            (6, 13),
            "images of `ghcr.io` could not be pulled from any host",
            Some("add a mirror, or remove `fallback: none`"),
        ),
    ]);
}

#[test]
fn wrong_or_missing_head_is_refused() {
    for (text, place, message, hint) in [
        (
            "kind: MirrorPolicy\n",
            (1, 1),
            "`apiVersion` is missing in the policy",
            "write `apiVersion: mirrorshift.dev/v1alpha1`",
        ),
        (
            "apiVersion: mirrorshift.dev/v1alpha1\n",
            (1, 1),
            "`kind` is missing in the policy",
            "write `kind: MirrorPolicy`",
        ),
        (
            "apiVersion: mirrorshift.dev/v1\nkind: MirrorPolicy",
            (1, 13),
            "`apiVersion` cannot be `mirrorshift.dev/v1`",
            "write `mirrorshift.dev/v1alpha1`",
        ),
        (
            "apiVersion: mirrorshift.dev/v1alpha1\nkind: ConfigMap",
            (2, 7),
            "`kind` cannot be `ConfigMap`",
            "write `MirrorPolicy`",
        ),
        (
            "- a",
            (1, 1),
            "the policy must be a map, found a list",
            "its keys are `apiVersion`, `kind`, `mode`, `wildcard`, `registries`, `adopt`, `restart`",
        ),
    ] {
        let error = Policy::parse(text, "p.yaml").unwrap_err();
        let at = error.place.map(|place| (place.line, place.column)).unwrap();
        assert_eq!(
            (at, error.message.as_str(), error.hint.as_deref()),
            (place, message, Some(hint)),
            "{text}"
        );
    }
    for text in ["", "\n\n", "# nothing\n", "---\n", "---\n...\n", "\u{feff}", "~"] {
        let error = Policy::parse(text, "p.yaml").unwrap_err();
        assert_eq!(error.message, "the policy is empty", "{text:?}");
        assert!(error.hint.unwrap().starts_with("begin with `apiVersion:"));
    }
}

#[test]
fn caret_underlines_the_mistake() {
    for (keys, underlined) in [
        ("wildcrad: keep", "wildcrad"),
        ("mode: migrat # soon", "migrat"),
        ("registries:\n- {host: 'ü.example', tags: mirror}", "'ü.example'"),
        (
            "registries: [{host: ghcr.io, mirrors: [{url: 'http://user:pw@h'}, {url: ftp://h}]}]",
            "'http://***@h'",
        ),
        ("restart: {maxConcurrent: 0, when: now}", "0"),
    ] {
        let place = parse(keys).unwrap_err().place.unwrap();
        let shown: String = place.excerpt.chars().skip(place.caret).take(place.len).collect();
        assert_eq!(shown, underlined);
    }
}
