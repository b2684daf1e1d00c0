//! Tests with the signs of every distribution, and with nodes that have none.

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

/// Returns a plain node with one additional sign.
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
fn owner_of_a_plain_node_is_none() {
    assert_eq!(owner(&plain()), None);
    assert_eq!(owner(&DetectionInput::default()), None);
}

#[test]
fn owner_is_found_by_each_sign() {
    for row in DISTRIBUTIONS {
        for sign in row.signs {
            let owner = owner(&showing(*sign)).unwrap_or_else(|| panic!("{}: {sign:?}", row.name));
            assert_eq!(owner.name, row.name, "{sign:?}");
            assert!(owner.because.contains('`'), "{}", owner.because);
        }
    }
}

#[test]
fn distributions_of_the_readme_are_in_the_table_with_advice() {
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
fn owner_needs_all_paths_of_a_sign() {
    let mut evidence = plain();
    evidence.present.insert("/etc/containerd/cri-base.json".to_owned());
    assert_eq!(owner(&evidence), None, "kind and Bottlerocket also have that file");
}

#[test]
fn owner_prefers_the_more_specific_row() {
    let mut evidence = plain();
    evidence.version = Some("v1.7.23-k3s2".to_owned());
    evidence.config = "/var/lib/rancher/rke2/agent/etc/containerd/config.toml".to_owned();
    assert_eq!(owner(&evidence).unwrap().name, "RKE2");
    evidence.config = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml".to_owned();
    evidence.os = Some("nixos".to_owned());
    assert_eq!(owner(&evidence).unwrap().name, "k3s");
}

#[test]
fn owner_of_a_link_into_the_nix_store_is_nixos() {
    let mut evidence = plain();
    evidence.config_real = Some("/nix/store/abc-config.toml".to_owned());
    assert_eq!(owner(&evidence).unwrap().name, "NixOS");
}

#[test]
fn owner_of_a_k0s_file_depends_on_its_comment() {
    let mut evidence = plain();
    evidence.config = "/etc/k0s/containerd.toml".to_owned();
    evidence.markers = Marker::markers("# k0s_managed=true\nversion = 2\n");
    assert_eq!(owner(&evidence).unwrap().name, "k0s");
    evidence.markers = Marker::markers("version = 2\nimports = [\"k0s_managed=true\"]\n");
    assert_eq!(
        owner(&evidence).unwrap().name,
        "k0s with its own containerd configuration",
        "the text is not in a comment"
    );
}
