//! A cluster with a workload and the agent's image on every node, before an operator applies the manifests.

#![expect(clippy::print_stdout, reason = "how long a rollout took is what its tests report")]
#![expect(
    clippy::missing_errors_doc,
    reason = "each fails when the cluster or a node does not answer, or with what did not come in time"
)]

mod image; // the agent's image

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use self::image::{AgentImage, BUILT};
use self::image::{NAME, ahead, another_time};
use crate::lab::cluster::{Mark, Member, PodContainer, containers, counting};
use crate::lab::{Cluster, ClusterOptions, Clusters, Node};
use libtest_mimic::Failed;

/// Longer than a rollout has ever taken.
const ROLLOUT: Duration = Duration::from_mins(5);
const WORKLOAD: &str = "works";
/// The agents' namespace.
pub const NAMESPACE: &str = "mirrorshift-system";
/// The pause between two checks.
const STEP: Duration = Duration::from_millis(200);

/// A cluster with a workload on each node.
#[derive(Debug)]
pub struct World {
    pub cluster: Cluster,
    /// The workload's containers before the rollout, by node.
    works: BTreeMap<String, PodContainer>,
}

impl World {
    /// Starts a cluster with the nodes of these names.
    pub fn of(clusters: &Clusters, image: &AgentImage, nodes: &[&str]) -> Result<Self, Failed> {
        let mut options = ClusterOptions::default();
        options
            .members
            .retain(|Member { name, .. }| nodes.contains(&name.as_str()));
        let cluster = clusters.up(&options)?;
        cluster.push("library/works", "1", "works")?;
        cluster
            .plane
            .apply_text(&counting(WORKLOAD, "docker.io/library/works:1"))?;
        let ready = format!("--for=jsonpath={{.status.numberReady}}={}", nodes.len());
        let wait = ["wait", "daemonset/works", &ready, "--timeout=120s"];
        cluster.plane.kubectl(&wait)?.ok()?;
        let names: Vec<String> = cluster.members().map(|(member, _)| member.name.clone()).collect();
        for name in &names {
            cluster.import(name, image.archive(), NAME)?;
        }
        let mut world = Self {
            cluster,
            works: BTreeMap::new(),
        };
        world.works = world.workload()?;
        Ok(world)
    }

    /// Imports another image on a node under the name that the manifests use. Must be called before the manifests are
    /// applied, because running pods keep their image.
    pub fn exchange_image(&self, node: &str, image: &AgentImage) -> Result<(), Failed> {
        self.cluster.import(node, image.archive(), NAME)?;
        Ok(())
    }

    /// Gives the agent's image another name on every node, as the image of the next release.
    pub fn next_image(&self) -> Result<String, Failed> {
        let next = "docker.io/library/mirrorshift:next";
        for (_, node) in self.cluster.members() {
            node.run(&["ctr", "--namespace=k8s.io", "images", "tag", NAME, next])?
                .ok()?;
        }
        Ok(next.to_owned())
    }

    /// Sets the clock of all dynamically linked programs that a node's systemd starts from now on an hour ahead.
    pub fn an_hour_ahead(&self, node: &str) -> Result<(), Failed> {
        let there = "/usr/local/lib/libfaketime.so.1";
        let node = self.cluster.node(node)?;
        node.copy_in(&another_time()?, there)?;
        let variables = ahead(there);
        let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
        node.run(&[&["systemctl", "set-environment"][..], &variables].concat())?
            .ok()?;
        Ok(())
    }

    /// Returns the digest of the program that changes of a node run.
    pub fn program(&self, node: &str) -> Result<String, Failed> {
        let digest = ["sha256sum", "/var/lib/mirrorshift/bin/mirrorshift"];
        Ok(self.cluster.node(node)?.run(&digest)?.ok()?.stdout)
    }

    /// Applies an overlay of the manifests.
    pub fn apply(&self, overlay: &str) -> Result<(), Failed> {
        let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../manifests/overlays", overlay]
            .iter()
            .collect();
        self.cluster.plane.apply(&folder)?;
        Ok(())
    }

    /// Waits until every `NodeMirror` is in a phase, and returns how long that took.
    pub fn all(&self, phase: &str) -> Result<Duration, Failed> {
        let began = Instant::now();
        self.until(&format!("not all are {phase}"), |world| {
            let phases = world.phases()?;
            let all = phases.len() == world.cluster.members().count() && phases.values().all(|there| there == phase);
            Ok(all.then_some(()))
        })?;
        println!("all {phase} after {:.1} s", began.elapsed().as_secs_f32());
        Ok(began.elapsed())
    }

    /// Repeats `look` until it returns a value.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> io::Result<Option<T>>) -> Result<T, Failed> {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if began.elapsed() > ROLLOUT {
                return Err(format!("{what}:\n{}\n{}", self.progress()?, self.scene()?).into());
            }
            std::thread::sleep(STEP);
        }
    }

    /// Returns the phase of each node; nothing while the API server does not answer.
    pub fn phases(&self) -> io::Result<BTreeMap<String, String>> {
        let phases = "jsonpath={range .items[*]}{.metadata.name} {.status.phase}{\"\\n\"}{end}";
        let ran = self.cluster.plane.kubectl(&["get", "nodemirrors", "-o", phases])?;
        let pairs = ran.stdout.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(name, phase)| (name.to_owned(), phase.to_owned())).collect())
    }

    /// Waits until a condition of every node has this status and reason, and returns the messages by node.
    pub fn wait_for_condition(
        &self,
        condition: &str,
        status: &str,
        reason: &str,
    ) -> Result<BTreeMap<String, String>, Failed> {
        let what = format!("not all have {condition} {status} {reason}");
        self.until(&what, |world| {
            let mut all = BTreeMap::new();
            for (Member { name, .. }, _) in world.cluster.members() {
                let Some(message) = world.condition(name, condition, status, reason)? else {
                    return Ok(None);
                };
                all.insert(name.clone(), message);
            }
            Ok(Some(all))
        })
    }

    /// Returns the message of a node's condition if it has this status and reason.
    pub fn condition(&self, node: &str, condition: &str, status: &str, reason: &str) -> io::Result<Option<String>> {
        let path = format!(
            "jsonpath={{range .status.conditions[?(@.type==\"{condition}\")]}}{{.status}} {{.reason}} {{.message}}{{end}}"
        );
        let ran = self.cluster.plane.kubectl(&["get", "nodemirror", node, "-o", &path])?;
        let prefix = format!("{status} {reason} ");
        Ok(ran.stdout.strip_prefix(&prefix).map(str::to_owned))
    }

    /// Writes another policy: the text after its kind.
    pub fn policy(&self, rest: &str) -> Result<(), Failed> {
        let text = format!("apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n{rest}");
        let map = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "mirrorshift-policy", "namespace": NAMESPACE},
            "data": {"policy.yaml": text},
        });
        self.cluster.plane.apply_text(&map.to_string())?;
        Ok(())
    }

    /// Runs kubectl in the agents' namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> io::Result<String> {
        let ran = self.cluster.plane.kubectl(&[&["-n", NAMESPACE], arguments].concat())?;
        Ok(ran.ok()?.stdout)
    }

    /// Waits until an Event of this reason exists for every node, or for the named node.
    pub fn event(&self, reason: &str, node: Option<&str>) -> Result<(), Failed> {
        let path = "jsonpath={range .items[*]}{.regarding.name} {.reason}{\"\\n\"}{end}";
        self.until(&format!("no Event {reason}"), |world| {
            let events = ["get", "events.events.k8s.io", "-A", "-o", path];
            let said = world.cluster.plane.kubectl(&events)?.stdout;
            let of = |name: &str| said.lines().any(|line| line == format!("{name} {reason}"));
            let mut names = world.cluster.members().map(|(member, _)| member.name.as_str());
            let all = match node {
                Some(node) => of(node),
                None => names.all(of),
            };
            Ok(all.then_some(()))
        })
    }

    /// Delays every start of containerd by this time, and its pod network by the same time again, so that the phases
    /// of a restart can be observed. 0 removes the delay.
    pub fn starts_take(&self, seconds: u32) -> Result<(), Failed> {
        let slow = format!(
            "ExecStartPre=/bin/sh -c 'sleep {seconds}; mkdir -p /run/away; mv /etc/cni/net.d/* /run/away/ || :'\n\
             ExecStartPost=/bin/sh -c '(sleep {seconds}; mv /run/away/* /etc/cni/net.d/) > /dev/null 2>&1 &'"
        );
        self.spoil(if seconds == 0 { "" } else { &slow })
    }

    /// Adds lines to containerd's unit on every node, or removes them.
    pub fn spoil(&self, lines: &str) -> Result<(), Failed> {
        for (_, node) in self.cluster.members() {
            let folder = "/etc/systemd/system/containerd.service.d";
            node.run(&["mkdir", "-p", folder])?.ok()?;
            node.write(&format!("{folder}/spoiled.conf"), format!("[Service]\n{lines}\n"))?;
            node.run(&["systemctl", "daemon-reload"])?.ok()?;
        }
        Ok(())
    }

    /// Waits until the journal of a node has a change in this phase, and returns the node.
    pub fn during(&self, phase: &str) -> Result<String, Failed> {
        self.until(&format!("no change is {phase}"), |world| {
            for (Member { name, .. }, node) in world.cluster.members() {
                if open_phase(node).is_some_and(|open| open == phase) {
                    return Ok(Some(name.clone()));
                }
            }
            Ok(None)
        })
    }

    /// Waits until the journal of a node has no open change, without the API server. Returns the last phase.
    pub fn over(&self, node: &str) -> Result<String, Failed> {
        let node = self.cluster.node(node)?;
        let ended = node.until("the change is not over", ROLLOUT, || {
            let journal = journal(node)?;
            let last = journal["body"]["history"].as_array().and_then(|history| history.last());
            let phase = last.and_then(|change| change["phase"].as_str());
            Ok(phase.filter(|_| journal["body"]["open"].is_null()).map(str::to_owned))
        });
        Ok(ended?)
    }

    /// Kills the agent of a node, as the kernel does when memory is exhausted.
    pub fn kill_agent(&self, node: &str) -> Result<(), Failed> {
        let script = "for process in /proc/[0-9]*; do \
            case $(tr '\\0' ' ' < $process/cmdline 2> /dev/null) in '/mirrorshift agent '*) kill -KILL ${process#/proc/} && echo killed;; esac; done";
        let killed = self.cluster.node(node)?.run(&["sh", "-c", script])?.ok()?;
        if killed.stdout != "killed\n" {
            return Err(format!("not one agent on {node}: {}", killed.stdout).into());
        }
        Ok(())
    }

    /// Returns the agent's metrics on a node.
    pub fn metrics(&self, node: &str) -> Result<String, Failed> {
        let field = format!("--field-selector=spec.nodeName={node}");
        let ip = "jsonpath={.items[0].status.podIP}";
        let label = "-lapp.kubernetes.io/name=mirrorshift";
        let ip = self.kubectl(&["get", "pods", label, &field, "-o", ip])?;
        let script = "exec 3<>/dev/tcp/$0/9151; printf 'GET /metrics HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3";
        Ok(self.cluster.node(node)?.run(&["bash", "-c", script, &ip])?.ok()?.stdout)
    }

    /// Returns one of the agent's metrics.
    pub fn metric(&self, node: &str, name: &str) -> Result<Option<f64>, Failed> {
        let text = self.metrics(node)?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        Ok(line.and_then(|value| value.trim().parse().ok()))
    }

    /// Returns the invocation id of containerd on a node, which changes at each start.
    pub fn invocation(&self, node: &str) -> Result<String, Failed> {
        Ok(self.cluster.node(node)?.show("containerd.service", "InvocationID")?)
    }

    /// Returns the holder of each slot.
    pub fn slots(&self) -> io::Result<BTreeMap<String, String>> {
        let path = "jsonpath={range .items[*]}{.metadata.name} {.spec.holderIdentity}{\"\\n\"}{end}";
        let said = self.kubectl(&["get", "leases", "-o", path])?;
        let pairs = said.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(slot, node)| (slot.to_owned(), node.to_owned())).collect())
    }

    /// Returns the output of `kubectl get nodemirrors`.
    pub fn progress(&self) -> io::Result<String> {
        Ok(self
            .cluster
            .plane
            .kubectl(&["get", "nodemirrors", "-o", "wide"])?
            .stdout)
    }

    fn scene(&self) -> io::Result<String> {
        let of_system = ["-n", NAMESPACE];
        let mut scene = String::new();
        for more in [
            &["get", "pods,leases", "-o", "wide"][..],
            &["describe", "pods"],
            &[
                "logs",
                "-l",
                "app.kubernetes.io/name=mirrorshift",
                "--tail=40",
                "--prefix",
            ],
        ] {
            let ran = self.cluster.plane.kubectl(&[&of_system[..], more].concat())?;
            scene.push_str(&ran.stdout);
            scene.push_str(&ran.stderr);
        }
        Ok(scene)
    }

    /// Returns the warnings in the logs of the running agents.
    pub fn warnings(&self) -> io::Result<String> {
        let logs = [
            "logs",
            "-l",
            "app.kubernetes.io/name=mirrorshift",
            "--tail=-1",
            "--prefix",
        ];
        let ran = self.cluster.plane.kubectl(&[&["-n", NAMESPACE], &logs[..]].concat())?;
        let complains = |line: &&str| ["\"WARN\"", "\"ERROR\""].iter().any(|level| line.contains(level));
        let lines: Vec<&str> = ran.stdout.lines().filter(complains).collect();
        Ok(lines.join("\n"))
    }

    /// Returns the files in containerd's configuration folder with their text, by node.
    pub fn files(&self) -> io::Result<BTreeMap<String, String>> {
        let script =
            "cd /etc/containerd; find . -type f | sort | while read -r file; do echo \"== $file\"; cat \"$file\"; done";
        let of_node = |(member, node): (&Member, &Node)| {
            let text = node.run(&["sh", "-c", script])?.ok()?.stdout;
            io::Result::Ok((member.name.clone(), text))
        };
        self.cluster.members().map(of_node).collect()
    }

    fn workload(&self) -> io::Result<BTreeMap<String, PodContainer>> {
        let mut all = BTreeMap::new();
        for (member, node) in self.cluster.members() {
            for container in containers(node)? {
                if container.pod.starts_with(WORKLOAD) && container.process.is_some() {
                    all.insert(member.name.clone(), container);
                }
            }
        }
        Ok(all)
    }

    /// Checks that the workload has the same processes, and that its output is complete except for what restarts of
    /// containerd lose: see `Counted::lost`.
    pub fn workload_is_unbroken(&self) -> Result<(), Failed> {
        let now = self.workload()?;
        for (member, node) in self.cluster.members() {
            let (before, now) = (&self.works[&member.name], &now[&member.name]);
            if before.process != now.process {
                return Err(format!("{} has another process: {before:?}, {now:?}", member.name).into());
            }
            node.log_flows(&now.workload(), 20, Duration::from_mins(1))?;
        }
        Ok(())
    }

    /// Returns how many slots were held at the same time at most, and how many were acquired, according to the audit
    /// log.
    pub fn held_at_once(&self, since: Mark) -> io::Result<(usize, usize)> {
        let (mut held, mut most, mut taken) = (0_usize, 0, 0);
        for event in self.cluster.plane.audit().since(since)? {
            let of_slot = event.object_ref.resource == "leases" && event.object_ref.name.starts_with("slot-");
            if !of_slot || event.stage != "ResponseComplete" {
                continue;
            }
            match (event.verb.as_str(), event.code()) {
                ("create", Some(201)) => {
                    held += 1;
                    taken += 1;
                }
                ("delete", Some(200)) => held = held.saturating_sub(1),
                _ => {}
            }
            most = most.max(held);
        }
        Ok((most, taken))
    }
}

fn journal(node: &Node) -> io::Result<serde_json::Value> {
    Ok(serde_json::from_slice(
        &node.read("/var/lib/mirrorshift/journal.json")?,
    )?)
}

/// Returns the phase of the open change. The journal is replaced atomically, and does not exist before the first
/// change.
fn open_phase(node: &Node) -> Option<String> {
    Some(journal(node).ok()?["body"]["open"]["phase"].as_str()?.to_owned())
}
