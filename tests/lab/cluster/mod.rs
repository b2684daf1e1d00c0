//! Clusters: a real Kubernetes in its own network, with nodes of the lab.
//!
//! A [`ControlPlane`] is etcd and kube-apiserver, for tests that only need the API. A [`Cluster`] has everything:
//! controllers, scheduler, kubelets on nodes with different containerds and mirrors, pods with a network, an upstream
//! registry, and caches in front of it. There is no DNS and no kube-proxy: pods reach the API server at the address
//! of its service, where a proxy of the lab can simulate failures. The cluster uses no address of the test's machine,
//! and no packet leaves its network.

mod audit; // the API server's audit log
mod control; // etcd, API server, controllers, scheduler
mod images; // runnable images
mod keys; // authority and certificates
mod members; // nodes with kubelets
mod network; // addresses
mod pods; // a pod's containers on a node
mod programs; // Kubernetes' programs in the cache
mod registries; // an upstream registry and caches in front of it
mod site; // folder, control groups, network

use std::path::{Path, PathBuf};
use std::{io, thread};

pub use self::audit::{Audit, AuditEvent, AuditUser, Mark, ObjectRef};
pub use self::control::{ControlOptions, ControlPlane, ControlPlanes, Part};
pub use self::images::Pushed;
pub use self::members::{Member, Mirrors};
pub use self::pods::{PodContainer, containers, counting};
pub use self::programs::kubectl;
use self::registries::Registries;
pub use self::registries::{Access, CACHES, Seen, UPSTREAM, UPSTREAMS, endpoint};
use self::site::ClusterProcess;
use super::{Missing, Node, Nodes};

/// The ability to run clusters on this machine.
#[derive(Debug)]
pub struct Clusters {
    nodes: Nodes,
    planes: ControlPlanes,
}

#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// At most 80 nodes.
    pub members: Vec<Member>,
    /// Further flags of the API server.
    pub api_flags: Vec<String>,
}

impl Default for ClusterOptions {
    /// Returns the options for [`Member::four`].
    fn default() -> Self {
        Self {
            members: Member::four(),
            api_flags: Vec::new(),
        }
    }
}

/// A running cluster. When it is dropped, its processes end and its files are removed.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they must end.
    members: Members,
    registries: Registries,
    pub plane: ControlPlane,
}

/// The nodes of a cluster. They are ended in parallel, because each takes a second.
#[derive(Debug, Default)]
struct Members(Vec<(Member, Node)>);

impl Drop for Members {
    fn drop(&mut self) {
        thread::scope(|scope| {
            for node in self.0.drain(..) {
                scope.spawn(|| drop(node));
            }
        });
    }
}

impl Clusters {
    /// Checks that clusters can run here, and ends those that earlier tests left behind. `helper` is the program
    /// `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a test.
    pub fn open(helper: impl Into<PathBuf>) -> Result<Self, Missing> {
        let helper = helper.into();
        let clusters = Self {
            planes: ControlPlanes::open(&helper)?,
            nodes: Nodes::open(helper)?,
        };
        for member in Member::four() {
            Nodes::containerd(&member.line)?;
        }
        Ok(clusters)
    }

    pub fn planes(&self) -> &ControlPlanes {
        &self.planes
    }

    /// Starts a cluster, and returns when every node is `Ready`. An error contains the last output of the component
    /// that failed.
    pub fn up(&self, options: &ClusterOptions) -> io::Result<Cluster> {
        let control = ControlOptions {
            controllers: true,
            scheduler: true,
            api_flags: options.api_flags.clone(),
        };
        let plane = self.planes.among(&control, registries::COUNT)?;
        let names: Vec<String> = options.members.iter().map(|member| member.name.clone()).collect();
        let pki = self.nodes.pki();
        let registries = Registries::start(&plane.site, &plane.programs.registry, pki, &self.nodes.image(), &names)?;
        let boot = |(member, i): (&Member, u8)| -> io::Result<(Member, Node)> {
            let containerd = Nodes::containerd(&member.line).map_err(io::Error::other)?;
            let options = members::options(member, i, &plane.site, &plane.keys, &plane.programs)?;
            Ok((member.clone(), self.nodes.boot(&containerd, &options)?))
        };
        let booted: Vec<io::Result<(Member, Node)>> = thread::scope(|scope| {
            let boots: Vec<_> = options
                .members
                .iter()
                .zip(0..80)
                .map(|member| scope.spawn(move || boot(member)))
                .collect();
            let lost = |_| Err(io::Error::other("a boot panicked"));
            boots.into_iter().map(|boot| boot.join().unwrap_or_else(lost)).collect()
        });
        let cluster = Cluster {
            members: Members(booted.into_iter().collect::<io::Result<_>>()?),
            registries,
            plane,
        };
        cluster.ready()?;
        Ok(cluster)
    }
}

impl Cluster {
    /// The members and their nodes, in the order of the options.
    pub fn members(&self) -> impl Iterator<Item = (&Member, &Node)> {
        self.members.0.iter().map(|(member, node)| (member, node))
    }

    pub fn node(&self, name: &str) -> io::Result<&Node> {
        let mut nodes = self.members.0.iter();
        let found = nodes.find(|(member, _)| member.name == name);
        found.map(|(_, node)| node).ok_or_else(|| no_node(name))
    }

    /// A node that is to be reset, crashed or started.
    pub fn node_mut(&mut self, name: &str) -> io::Result<&mut Node> {
        let mut nodes = self.members.0.iter_mut();
        let found = nodes.find(|(member, _)| member.name == name);
        found.map(|(_, node)| node).ok_or_else(|| no_node(name))
    }

    /// Waits until every node is `Ready`. A node that went down is reported as `Ready` until its heartbeat is missed,
    /// for 40 s. An error contains the end of the kubelet's log.
    pub fn ready(&self) -> io::Result<()> {
        for (Member { name, .. }, node) in &self.members.0 {
            let object = format!("node/{name}");
            for condition in ["create", "condition=Ready"] {
                let ran = self
                    .plane
                    .kubectl(&["wait", &object, &format!("--for={condition}"), "--timeout=90s"])?;
                if let Err(error) = ran.ok() {
                    let log = node
                        .run(&["journalctl", "-u", "kubelet", "-n", "30", "-o", "cat"])?
                        .stdout;
                    return Err(io::Error::other(format!("{error}\n{log}")));
                }
            }
        }
        Ok(())
    }

    /// Adds an image to the upstream registry under a tag, which may have named another image. `words` determine the
    /// image. It has a shell and common tools, and its file `/repository` contains the words.
    pub fn push(&self, repository: &str, tag: &str, words: &str) -> io::Result<Pushed> {
        self.registries.push(repository, tag, words)
    }

    /// Imports an image archive into a node's containerd, without any registry. CRI knows the image as `reference`
    /// when this returns.
    pub fn import(&self, node: &str, archive: &Path, reference: &str) -> io::Result<()> {
        self.node(node)?.import(archive, reference)
    }

    /// Returns the current end of the registries' logs.
    pub fn seen(&self) -> io::Result<Seen> {
        Registries::seen(&self.plane.site)
    }

    /// Returns the requests that the registries received since a mark, in order. The default mark is the beginning.
    pub fn accesses(&self, since: &Seen) -> io::Result<Vec<Access>> {
        self.registries.accesses(&self.plane.site, since)
    }

    /// Ends a registry at once, so that its address refuses connections.
    pub fn stop_registry(&mut self, name: &str) {
        self.registries.stop(name);
    }

    /// Starts a registry that was stopped. Its data are kept.
    pub fn start_registry(&mut self, name: &'static str) -> io::Result<()> {
        self.registries
            .run(&self.plane.site, &self.plane.programs.registry, name)
    }

    /// Leaves the cluster running, as a killed test does; see [`Node::abandon`]. Only for the lab's own tests.
    pub fn abandon(mut self, holders_too: bool) -> io::Result<()> {
        self.registries.leave();
        self.plane.running.into_values().for_each(ClusterProcess::leave);
        self.plane.site.abandon(holders_too)?;
        for (_, node) in self.members.0.drain(..) {
            node.abandon(holders_too)?;
        }
        Ok(())
    }
}

fn no_node(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no node `{name}`"))
}
