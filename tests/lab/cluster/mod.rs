//! Clusters: a real Kubernetes in a network of its own, whose nodes are the lab's.
//!
//! A [`ControlPlane`] is etcd and kube-apiserver, for tests of the API alone. A [`Cluster`] has all of it: controllers,
//! scheduler, kubelets on nodes with different containerds and mirrors, pods with a network, an upstream registry and caches
//! before it. There is no DNS and no kube-proxy: pods know the API server by the address of its service, and behind that
//! stands a front that can be told to fail. No address of it is the machine's, and no packet leaves it.

mod audit; // what the API server was asked for
mod control; // etcd, API server, controllers, scheduler
mod images; // that run
mod keys; // who is who
mod members; // nodes with kubelets
mod network; // addresses
mod pods; // what they have on a node
mod programs; // of Kubernetes, in the cache
mod registries; // an upstream, and caches before it
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
use self::site::Process;
use super::{Missing, Node, Nodes};

/// A lab that can run clusters here.
#[derive(Debug)]
pub struct Clusters {
    nodes: Nodes,
    planes: ControlPlanes,
}

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Its nodes, at most 80.
    pub members: Vec<Member>,
    /// Further flags of the API server.
    pub api_flags: Vec<String>,
}

impl Default for ClusterOptions {
    /// [`Member::four`].
    fn default() -> Self {
        Self {
            members: Member::four(),
            api_flags: Vec::new(),
        }
    }
}

/// A cluster that is up. Dropped, it ends and leaves nothing.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they must end.
    members: Members,
    registries: Registries,
    /// Its control plane.
    pub plane: ControlPlane,
}

/// Nodes that end at one time: each takes a second.
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
    /// `helper` is the program `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a test. Ends what earlier tests have left.
    ///
    /// # Errors
    ///
    /// With the reason why no cluster can run.
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

    /// Control planes without nodes.
    pub fn planes(&self) -> &ControlPlanes {
        &self.planes
    }

    /// A cluster with every node `Ready`.
    ///
    /// # Errors
    ///
    /// When something does not come up; its last words are in the message.
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
    /// The nodes with what they are, in the order in which they were asked for.
    pub fn members(&self) -> impl Iterator<Item = (&Member, &Node)> {
        self.members.0.iter().map(|(member, node)| (member, node))
    }

    /// A node.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn node(&self, name: &str) -> io::Result<&Node> {
        let mut nodes = self.members.0.iter();
        let found = nodes.find(|(member, _)| member.name == name);
        found.map(|(_, node)| node).ok_or_else(|| no_node(name))
    }

    /// A node that is to be reset, crashed or started.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn node_mut(&mut self, name: &str) -> io::Result<&mut Node> {
        let mut nodes = self.members.0.iter_mut();
        let found = nodes.find(|(member, _)| member.name == name);
        found.map(|(_, node)| node).ok_or_else(|| no_node(name))
    }

    /// Waits until every node is `Ready`. One that has gone down stays so until its heartbeat is missed, for 40 s.
    ///
    /// # Errors
    ///
    /// When one is not, with the end of what its kubelet says.
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

    /// Puts an image into the upstream registry under a name that may have stood for another one. `words` make it what it
    /// is. It has a shell and its tools, and its file `/repository` has the words.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn push(&self, repository: &str, tag: &str, words: &str) -> io::Result<Pushed> {
        self.registries.push(repository, tag, words)
    }

    /// Puts an image of an archive of the machine on a node, past all registries. CRI knows it by `reference` when this
    /// returns.
    ///
    /// # Errors
    ///
    /// When containerd does not take it.
    pub fn import(&self, node: &str, archive: &Path, reference: &str) -> io::Result<()> {
        self.node(node)?.import(archive, reference)
    }

    /// The end of what the registries were asked for, as it is now.
    ///
    /// # Errors
    ///
    /// When a log is not there.
    pub fn seen(&self) -> io::Result<Seen> {
        Registries::seen(&self.plane.site)
    }

    /// What the registries were asked for since then, in order; all of it with the mark that is the default.
    ///
    /// # Errors
    ///
    /// When a log cannot be read.
    pub fn accesses(&self, since: &Seen) -> io::Result<Vec<Access>> {
        self.registries.accesses(&self.plane.site, since)
    }

    /// Ends a registry at once: its address refuses connections.
    pub fn stop_registry(&mut self, name: &str) {
        self.registries.stop(name);
    }

    /// Starts a registry that was stopped; what it had, it has.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_registry(&mut self, name: &'static str) -> io::Result<()> {
        self.registries
            .run(&self.plane.site, &self.plane.programs.registry, name)
    }

    /// Leaves the cluster running as a test does that is killed; see [`Node::abandon`]. For the lab's own tests.
    ///
    /// # Errors
    ///
    /// When a holder cannot be ended.
    pub fn abandon(mut self, holders_too: bool) -> io::Result<()> {
        self.registries.leave();
        self.plane.running.into_values().for_each(Process::leave);
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
