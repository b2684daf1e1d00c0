//! The nodes of a cluster: nodes of the lab with a kubelet, an address in the cluster's network, and mirrors that are
//! not migrated yet.

use super::keys::Keys;
use super::programs::Programs;
use super::site::Site;
use super::{network, registries};
use crate::lab::NodeOptions;
use crate::lab::node::{BASE, Link};

/// A node that is to be started: its name in the cluster, its containerd, its mirrors.
#[derive(Clone, Debug)]
pub struct Member {
    /// The name, of at most 15 characters.
    pub name: String,
    /// containerd's release line.
    pub line: String,
    /// The form in which it has mirrors.
    pub mirrors: Mirrors,
}

/// The forms in which nodes have mirrors. Every registry that they name is the upstream registry, unless a mirror
/// serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrors {
    /// The cache `all` for every registry.
    Wildcard,
    /// The cache `hub` for docker.io, and `all` for ghcr.io.
    Named,
    /// Like `Named`, in a drop-in that the root file imports.
    DropIn,
    /// The cache `private` for docker.io with the certificate authority that it needs, and `all` for any other
    /// registry. containerd 2.x ignores the authority, and would skip the cache.
    PrivateCa,
}

impl Member {
    pub fn new(name: &str, line: &str, mirrors: Mirrors) -> Self {
        Self {
            name: name.into(),
            line: line.into(),
            mirrors,
        }
    }

    /// Four nodes, which have every release line that nodes are tested with and every form of mirrors.
    pub fn four() -> Vec<Self> {
        vec![
            Self::new("n16", "1.6", Mirrors::Wildcard),
            Self::new("n17", "1.7", Mirrors::PrivateCa),
            Self::new("n21", "2.1", Mirrors::DropIn),
            Self::new("n24", "2.4", Mirrors::Named),
        ]
    }
}

impl Mirrors {
    /// The cache from which an image of docker.io is pulled.
    pub fn cache_of_docker_hub(self) -> &'static str {
        match self {
            Self::Wildcard => "all",
            Self::Named | Self::DropIn => "hub",
            Self::PrivateCa => "private",
        }
    }

    fn tables(self) -> String {
        let mirror = |registry: &str, cache: &str| {
            let endpoint = registries::endpoint(cache);
            format!(
                "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"{registry}\"]\nendpoint = [\"{endpoint}\"]\n"
            )
        };
        match self {
            Self::Wildcard => mirror("*", "all"),
            Self::Named | Self::DropIn => mirror("docker.io", "hub") + &mirror("ghcr.io", "all"),
            Self::PrivateCa => {
                let host = registries::endpoint("private").replace("https://", "");
                let tls = format!(
                    "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"{host}\".tls]\nca_file = \"{CA}\"\n"
                );
                mirror("docker.io", "private") + &mirror("*", "all") + &tls
            }
        }
    }
}

const CONFIG: &str = "/etc/containerd/config.toml";
const DROP_IN: &str = "/etc/containerd/conf.d/20-registry.toml";
const CA: &str = "/etc/ssl/site/ca.pem";
const KUBELET: &str = "/usr/local/bin/kubelet";

/// Prepares a node for its kubelet. The kubelet requires three kernel settings that belong to the whole machine and
/// must not be changed here, so it gets files with the values that it expects.
const BEFORE_KUBELET: &str = "set -e
want() {
  [ \"$(cat /proc/sys/$1)\" = $2 ] && return
  echo $2 > /run/$3
  mount --bind /run/$3 /proc/sys/$1
}
want kernel/panic 10 panic
want kernel/panic_on_oops 1 panic_on_oops
want vm/overcommit_memory 1 overcommit_memory
ctr -n k8s.io images ls -q | grep -qx lab.test/tools:1 || ctr -n k8s.io images import /lab/tools.tar
";

/// The options of a member before its first boot; `i` is its index in the cluster.
pub(super) fn options(
    member: &Member,
    i: u8,
    site: &Site,
    keys: &Keys,
    programs: &Programs,
) -> std::io::Result<NodeOptions> {
    let (address, pods) = (network::node(i).to_string(), network::pods(i));
    let name = &member.name;
    let tables = member.mirrors.tables();
    let options = match member.mirrors {
        Mirrors::DropIn => NodeOptions::new("")
            .file(
                CONFIG,
                &format!("imports = [\"/etc/containerd/conf.d/*.toml\"]\n{BASE}"),
            )
            .file(DROP_IN, &format!("version = 2\n{tables}")),
        Mirrors::PrivateCa => NodeOptions::new(&tables).file(CA, "${PRIVATE_CA}"),
        Mirrors::Wildcard | Mirrors::Named => NodeOptions::new(&tables),
    };
    let cni = serde_json::json!({
        "cniVersion": "1.0.0", "name": "lab",
        "plugins": [{"type": "ptp", "ipam": {
            "type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}],
        }}],
    });
    let unit = format!(
        "[Unit]\nAfter=containerd.service\nWants=containerd.service\nStartLimitIntervalSec=0\n\
         [Service]\nExecStartPre=/bin/sh /etc/kubernetes/before\n\
         ExecStart={KUBELET} --config=/etc/kubernetes/kubelet.json --kubeconfig=/etc/kubernetes/kubelet.conf \
         --hostname-override={name} --node-ip={address}\n\
         Restart=always\nRestartSec=1\nKillMode=process\nDelegate=yes\n"
    );
    let mut options = options
        .file("/etc/hosts", &format!("{}127.0.1.1 {name}\n", registries::hosts()))
        .file("/etc/hostname", &format!("{name}\n"))
        .file("/etc/cni/net.d/10-lab.conflist", &cni.to_string())
        .file("/etc/kubernetes/ca.crt", keys.authority())
        .file(
            "/etc/kubernetes/kubelet.conf",
            &keys.kubeconfig(&format!("system:node:{name}"), "system:nodes")?,
        )
        .file("/etc/kubernetes/kubelet.json", &kubelet())
        .file("/etc/kubernetes/before", BEFORE_KUBELET)
        .file("/etc/systemd/system/kubelet.service", &unit)
        .drop_in("multi-user.target", "kubelet", "[Unit]\nWants=kubelet.service\n")
        .folder("/var/lib/kubelet")
        .folder("/var/log/pods")
        .program(KUBELET, &programs.kubelet);
    options.link = Some(Link {
        to: site.pid(),
        bridge: network::BRIDGE.into(),
        name: name.clone(),
        address: (address, network::LENGTH),
        gateway: network::PLANE.to_string(),
        pods,
    });
    Ok(options)
}

fn kubelet() -> String {
    serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        // containerd's default.
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "resolvConf": "",
        // The delay until a pod has the new text of a ConfigMap. The default is a minute.
        "syncFrequency": "5s",
        // No image is removed because the machine's disk is full.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    })
    .to_string()
}
