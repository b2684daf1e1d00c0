//! Nodes of every distribution, and some of none.

use crate::facts::distribution::*;

fn plain() -> DetectionInput {
    DetectionInput {
        config: "/etc/containerd/config.toml".to_owned(),
        config_real: Some("/etc/containerd/config.toml".to_owned()),
        unit: Some("containerd.service".to_owned()),
        version: Some("v1.7.24".to_owned()),
        os: Some("debian".to_owned()),
        ..DetectionInput::default()
    }
}

/// What a node shows when `sign` is all that differs from a plain one.
fn showing(sign: Marker) -> DetectionInput {
    let mut evidence = plain();
    match sign {
        Marker::Below(folder) => evidence.config = format!("{folder}x/config.toml"),
        Marker::Unit(name) => evidence.unit = Some(name.to_owned()),
        Marker::Version(part) => evidence.version = Some(format!("v1.7.24{part}2")),
        Marker::Os(id) => evidence.os = Some(id.to_owned()),
        Marker::Paths(paths) => evidence.present = paths.iter().map(|path| (*path).to_owned()).collect(),
        Marker::Marker(marker) => evidence.markers = Marker::markers(&format!("  # {marker}.\nversion = 2\n")),
    }
    evidence
}

#[test]
fn a_plain_node_belongs_to_nobody() {
    assert_eq!(owner(&plain()), None);
    assert_eq!(owner(&DetectionInput::default()), None);
}

#[test]
fn each_sign_alone_tells_its_own_distribution() {
    for row in DISTRIBUTIONS {
        for sign in row.signs {
            let owner = owner(&showing(*sign)).unwrap_or_else(|| panic!("{}: {sign:?}", row.name));
            assert_eq!(owner.name, row.name, "{sign:?}");
            assert!(owner.because.contains('`'), "{}", owner.because);
        }
    }
}

#[test]
fn every_distribution_of_the_promise_is_there_with_advice() {
    let names: Vec<_> = DISTRIBUTIONS.iter().map(|row| row.name).collect();
    for name in [
        "k3s",
        "RKE2",
        "k0s",
        "MicroK8s",
        "Talos",
        "Bottlerocket",
        "GKE",
        "EKS",
        "AKS",
        "kubespray",
        "NixOS",
        "MicroShift",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    for row in DISTRIBUTIONS {
        assert!(row.advice.len() > 40 && !row.advice.ends_with('.'), "{}", row.name);
    }
}

#[test]
fn part_of_several_paths_is_no_sign() {
    let mut evidence = plain();
    evidence.present.insert("/etc/containerd/cri-base.json".to_owned());
    assert_eq!(owner(&evidence), None, "kind and Bottlerocket have that file too");
}

#[test]
fn rke2_is_not_taken_for_k3s_nor_k3s_on_nixos_for_nixos() {
    let mut evidence = plain();
    evidence.version = Some("v1.7.23-k3s2".to_owned());
    evidence.config = "/var/lib/rancher/rke2/agent/etc/containerd/config.toml".to_owned();
    assert_eq!(owner(&evidence).unwrap().name, "RKE2");
    evidence.config = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml".to_owned();
    evidence.os = Some("nixos".to_owned());
    assert_eq!(owner(&evidence).unwrap().name, "k3s");
}

#[test]
fn a_link_into_the_store_is_nixos() {
    let mut evidence = plain();
    evidence.config_real = Some("/nix/store/abc-config.toml".to_owned());
    assert_eq!(owner(&evidence).unwrap().name, "NixOS");
}

#[test]
fn k0s_gives_up_the_file_with_its_marker() {
    let mut evidence = plain();
    evidence.config = "/etc/k0s/containerd.toml".to_owned();
    evidence.markers = Marker::markers("# k0s_managed=true\nversion = 2\n");
    assert!(!owner(&evidence).unwrap().may_override);
    evidence.markers = Marker::markers("version = 2\nimports = [\"k0s_managed=true\"]\n");
    assert!(owner(&evidence).unwrap().may_override, "only a comment is a marker");
}
