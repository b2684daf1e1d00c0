//! A cluster with a workload, and the agent's image on every node.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use mirrorshift_tests::lab::cluster::{Mark, PodContainer, containers, counting};
use mirrorshift_tests::lab::{Cluster, ClusterOptions, Clusters};

use crate::image::{AgentImage, NAME};

/// Longer than a rollout has ever taken.
const ROLLOUT: Duration = Duration::from_mins(5);
const WORKLOAD: &str = "works";

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// The workload's containers before, by node.
    works: BTreeMap<String, PodContainer>,
}

impl World {
    pub(crate) fn new(clusters: &Clusters, image: &AgentImage) -> Result<Self, Failed> {
        let cluster = clusters.up(&ClusterOptions::default())?;
        cluster.push("library/works", "1", "works")?;
        cluster
            .plane
            .apply_text(&counting(WORKLOAD, "docker.io/library/works:1"))?;
        let ready = "--for=jsonpath={.status.numberReady}=4";
        let wait = ["wait", "daemonset/works", ready, "--timeout=120s"];
        cluster.plane.kubectl(&wait)?.ok()?;
        let names: Vec<String> = cluster.members().map(|(member, _)| member.name.clone()).collect();
        for name in &names {
            cluster.import(name, &image.archive(), NAME)?;
        }
        let mut world = Self {
            cluster,
            works: BTreeMap::new(),
        };
        world.works = world.workload()?;
        Ok(world)
    }

    /// Applies an overlay of the manifests.
    pub(crate) fn apply(&self, overlay: &str) -> Result<(), Failed> {
        let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../manifests/overlays", overlay]
            .iter()
            .collect();
        self.cluster.plane.apply(&folder)?;
        Ok(())
    }

    /// Waits until every node's object is in a phase.
    pub(crate) fn all(&self, phase: &str) -> Result<(), Failed> {
        let began = Instant::now();
        let phases = "jsonpath={range .items[*]}{.status.phase}{\"\\n\"}{end}";
        loop {
            let ran = self.cluster.plane.kubectl(&["get", "nodemirrors", "-o", phases])?;
            let there: Vec<&str> = ran.stdout.lines().collect();
            if there.len() == 4 && there.iter().all(|there| *there == phase) {
                println!("all {phase} after {:.1} s", began.elapsed().as_secs_f32());
                return Ok(());
            }
            if began.elapsed() > ROLLOUT {
                return Err(format!("not all are {phase}:\n{}\n{}", self.progress()?, self.scene()?).into());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// `kubectl get nodemirrors`.
    pub(crate) fn progress(&self) -> io::Result<String> {
        Ok(self
            .cluster
            .plane
            .kubectl(&["get", "nodemirrors", "-o", "wide"])?
            .stdout)
    }

    fn scene(&self) -> io::Result<String> {
        let of_system = ["-n", "mirrorshift-system"];
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

    /// What containerd's folder holds, by node: every file with its text.
    pub(crate) fn files(&self) -> io::Result<BTreeMap<String, String>> {
        let script =
            "cd /etc/containerd; find . -type f | sort | while read -r file; do echo \"== $file\"; cat \"$file\"; done";
        let of_node = |(member, node): (&mirrorshift_tests::lab::cluster::Member, &mirrorshift_tests::lab::Node)| {
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

    /// The same processes, and every line that they wrote.
    pub(crate) fn workload_is_unbroken(&self) -> Result<(), Failed> {
        let now = self.workload()?;
        for (member, node) in self.cluster.members() {
            let (before, now) = (&self.works[&member.name], &now[&member.name]);
            assert_eq!(before.process, now.process, "{}", member.name);
            node.log_flows(&now.workload(), 20, Duration::from_mins(1))?;
        }
        Ok(())
    }

    /// How many slots were held at one time, at most, and how many were taken, by the API server's own record.
    pub(crate) fn held_at_once(&self, since: Mark) -> io::Result<(usize, usize)> {
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
