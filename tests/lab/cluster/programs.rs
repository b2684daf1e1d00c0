//! The programs of a cluster and of its registries, which `tests/lab/prepare` builds.

use std::path::PathBuf;

use crate::lab::{Missing, cache};

// `prepare` and `tests/run` read these from here.
/// The last minor release whose kubelet supports control groups of version 1, which test machines may have.
const KUBERNETES: &str = "1.34.4";
const ETCD: &str = "3.5.21";
/// The Debian release whose docker-registry is used for all registries.
const REGISTRY: &str = "bookworm";

/// The path of kubectl, for tests that need no cluster.
pub fn kubectl() -> Result<PathBuf, Missing> {
    let path = cache().join(format!("kubernetes/{KUBERNETES}/kubectl"));
    if path.is_file() {
        Ok(path)
    } else {
        Err(Missing::Part(path))
    }
}

/// The paths of all programs.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) etcd: PathBuf,
    pub(super) api_server: PathBuf,
    pub(super) controller_manager: PathBuf,
    pub(super) scheduler: PathBuf,
    pub(super) kubelet: PathBuf,
    pub(super) kubectl: PathBuf,
    pub(super) registry: PathBuf,
}

impl Programs {
    /// Finds all of them.
    pub(super) fn find() -> Result<Self, Missing> {
        let cache = cache();
        let there = |path: String| {
            let path = cache.join(path);
            if path.is_file() {
                Ok(path)
            } else {
                Err(Missing::Part(path))
            }
        };
        let kubernetes = |name: &str| there(format!("kubernetes/{KUBERNETES}/{name}"));
        Ok(Self {
            etcd: there(format!("etcd/{ETCD}/etcd"))?,
            api_server: kubernetes("kube-apiserver")?,
            controller_manager: kubernetes("kube-controller-manager")?,
            scheduler: kubernetes("kube-scheduler")?,
            kubelet: kubernetes("kubelet")?,
            kubectl: kubernetes("kubectl")?,
            registry: there(format!("registry/{REGISTRY}/docker-registry"))?,
        })
    }
}
