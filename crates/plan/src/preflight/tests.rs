//! A node that meets every condition, and each condition that a node may not meet.

use crate::preflight::*;
use std::collections::BTreeSet;

fn good_file() -> FileConditions {
    FileConditions {
        path: "/etc/containerd/config.toml".to_owned(),
        newer_than_daemon: Some(false),
        mounted: Some(false),
        protected: Some(false),
        read_only: Some(false),
        volatile: Some(false),
        outside: Some(false),
    }
}

fn good() -> NodeConditions {
    NodeConditions {
        systemd: Some(252),
        version: "1.7.24".parse().unwrap(),
        daemons: Some(1),
        serves_from_unit: Some(true),
        configured_by: Some("/etc/containerd/config.toml".to_owned()),
        planned_for: "/etc/containerd/config.toml".to_owned(),
        kill_mode: Some("process".to_owned()),
        shims_in_unit: Some(3),
        containers_may_restart: false,
        unit: Unit {
            runs: Some(true),
            troubled: None,
        },
        owner: None,
        files: vec![good_file()],
        space: vec![Space {
            path: "/etc".to_owned(),
            free: Some(1 << 30),
            needed: 1 << 20,
        }],
        cri: Some(Cri::Ready),
        busy: Some(Vec::new()),
    }
}

/// Returns the names of the obstacles of a good node after `spoil` has modified it.
fn ids(spoil: impl FnOnce(&mut NodeConditions)) -> Vec<&'static str> {
    let mut node = good();
    spoil(&mut node);
    match preflight(&node) {
        PreflightResult::Refuse(obstacles) => {
            for obstacle in &obstacles {
                assert!(
                    !obstacle.to_string().is_empty() && !obstacle.hint().ends_with('.'),
                    "{obstacle}"
                );
            }
            obstacles.iter().map(Obstacle::id).collect()
        }
        PreflightResult::Go => Vec::new(),
        PreflightResult::Wait(_) => vec!["wait"],
    }
}

fn owner() -> Owner {
    Owner {
        name: "k3s".to_owned(),
        way: "write `/etc/rancher/k3s/registries.yaml`".to_owned(),
    }
}

type Spoil = fn(&mut NodeConditions);

#[test]
fn good_node_may_be_changed() {
    assert_eq!(preflight(&good()), PreflightResult::Go);
}

#[test]
fn each_obstacle_is_raised_by_its_condition_only() {
    let spoiled: [(&str, Spoil); 19] = [
        ("old-systemd", |node| node.systemd = Some(238)),
        ("loses-sandbox-addresses", |node| {
            node.version = "1.6.10".parse().unwrap();
        }),
        ("no-daemon", |node| node.daemons = Some(0)),
        ("many-daemons", |node| node.daemons = Some(2)),
        ("not-under-systemd", |node| node.serves_from_unit = Some(false)),
        ("other-file", |node| {
            node.configured_by = Some("/etc/other.toml".to_owned());
        }),
        ("owned", |node| node.owner = Some(owner())),
        ("kills-containers", |node| {
            node.kill_mode = Some("control-group".to_owned());
        }),
        ("unit-down", |node| node.unit.runs = Some(false)),
        ("unit-troubled", |node| node.unit.troubled = Some(599)),
        ("newer-than-daemon", |node| node.files[0].newer_than_daemon = Some(true)),
        ("mounted", |node| node.files[0].mounted = Some(true)),
        ("protected", |node| node.files[0].protected = Some(true)),
        ("read-only", |node| node.files[0].read_only = Some(true)),
        ("volatile", |node| node.files[0].volatile = Some(true)),
        ("outside", |node| node.files[0].outside = Some(true)),
        ("space", |node| node.space[0].free = Some(1000)),
        ("cri-dead", |node| node.cri = Some(Cri::Dead)),
        ("wait", |node| node.busy = Some(vec![OngoingWork::Pulls(1)])),
    ];
    let mut names = BTreeSet::new();
    for (id, spoil) in spoiled {
        assert_eq!(ids(spoil), [id]);
        names.insert(id);
    }
    assert_eq!(names.len(), spoiled.len());
}

#[test]
fn unknown_condition_is_an_obstacle() {
    let unknown: [Spoil; 17] = [
        |node| node.systemd = None,
        |node| node.daemons = None,
        |node| node.serves_from_unit = None,
        |node| node.configured_by = None,
        |node| node.kill_mode = None,
        |node| {
            node.kill_mode = Some("mixed".to_owned());
            node.shims_in_unit = None;
        },
        |node| node.unit.runs = None,
        |node| node.files[0].newer_than_daemon = None,
        |node| node.files[0].mounted = None,
        |node| node.files[0].protected = None,
        |node| node.files[0].read_only = None,
        |node| node.files[0].volatile = None,
        |node| node.files[0].outside = None,
        |node| node.space[0].free = None,
        |node| node.cri = None,
        |node| node.busy = None,
        |node| {
            node.space.push(Space {
                path: "/var".to_owned(),
                free: None,
                needed: 1,
            });
        },
    ];
    for spoil in unknown {
        assert_eq!(ids(spoil), ["unknown"]);
    }
}

#[test]
fn accepted_and_harmless_conditions_raise_no_obstacle() {
    let killing: Spoil = |node| {
        node.kill_mode = Some("control-group".to_owned());
        node.containers_may_restart = true;
    };
    assert!(ids(killing).is_empty());
    // Shims outside of the unit's control group survive with every mode.
    assert!(
        ids(|node| {
            node.kill_mode = Some("mixed".to_owned());
            node.shims_in_unit = Some(0);
        })
        .is_empty()
    );
    assert!(ids(|node| node.cri = Some(Cri::DeadOfSettings)).is_empty());
    assert!(ids(|node| node.unit.troubled = Some(600)).is_empty());
}

#[test]
fn all_obstacles_are_reported_and_hide_a_wait() {
    let all = ids(|node| {
        node.daemons = Some(2);
        node.cri = Some(Cri::Dead);
        node.busy = Some(vec![OngoingWork::Job("restart containerd.service".to_owned())]);
    });
    assert_eq!(all, ["many-daemons", "cri-dead"]);
}
