//! Clusters with nodes, pods and registries.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io};

use libtest_mimic::Failed;
use mirrorshift_tests::lab::cluster::{
    AuditEvent, Member, Mirrors, Part, PodContainer, Seen, UPSTREAM, containers, counting,
};
use mirrorshift_tests::lab::{Cluster, ClusterOptions, Clusters, Image, Node, Nodes};

use super::{figure, traces};

/// Longer than anything has ever taken.
const WAIT: Duration = Duration::from_mins(1);

/// Everything that the machine has of a cluster.
struct Belongings {
    folders: Vec<PathBuf>,
    groups: Vec<PathBuf>,
    processes: Vec<u32>,
}

impl Belongings {
    fn of(cluster: &Cluster) -> Result<Self, Failed> {
        let mut all = Self {
            folders: vec![cluster.plane.folder()],
            groups: cluster.plane.cgroups().to_vec(),
            processes: vec![cluster.plane.pid(Part::Etcd)?, cluster.plane.pid(Part::ApiServer)?],
        };
        for (_, node) in cluster.members() {
            all.folders.push(node.folder().to_owned());
            all.groups.extend(node.cgroups().iter().cloned());
            all.processes.push(node.init()?.try_into()?);
        }
        assert!(all.left()?.len() >= all.groups.len() + all.processes.len());
        Ok(all)
    }

    fn left(&self) -> io::Result<Vec<String>> {
        let of = |folder: &PathBuf| traces(folder, &self.groups, &self.processes);
        Ok(self.folders.iter().map(of).collect::<io::Result<Vec<_>>>()?.concat())
    }
}

/// Returns the counting container of a workload on each node, in the order of the nodes.
fn counting_containers(cluster: &Cluster, workload: &str) -> io::Result<Vec<PodContainer>> {
    let one = |node: &Node| -> io::Result<PodContainer> {
        let all = containers(node)?;
        let running: Vec<PodContainer> = all
            .into_iter()
            .filter(|container| container.pod.starts_with(workload) && container.process.is_some())
            .collect();
        match &running[..] {
            [container] => Ok(container.clone()),
            others => Err(io::Error::other(format!("{others:?}"))),
        }
    };
    cluster.members().map(|(_, node)| one(node)).collect()
}

/// Returns the requests of a node to the registries, without repetitions.
fn asked(cluster: &Cluster, since: &Seen, by: &str) -> io::Result<BTreeSet<(String, String)>> {
    let accesses = cluster.accesses(since)?;
    let of_the_node = accesses.iter().filter(|access| access.by == by);
    Ok(of_the_node
        .filter_map(|access| {
            let (_, thing) = access.manifest().or_else(|| access.blob())?;
            Some((access.at.clone(), thing.to_owned()))
        })
        .collect())
}

pub(super) fn nodes_run_pods_with_images_from_caches(clusters: &Clusters) -> Result<(), Failed> {
    let began = Instant::now();
    let mut cluster = clusters.up(&ClusterOptions::default())?;
    figure("a cluster of four nodes", began);
    let versions = "jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}";
    let versions = cluster.plane.kubectl(&["get", "nodes", "-o", versions])?.ok()?.stdout;
    let versions: Vec<&str> = versions.split(' ').collect();
    assert_eq!(versions.len(), 4, "{versions:?}");
    for (version, (member, _)) in versions.iter().zip(cluster.members()) {
        let version = version.trim_start_matches("containerd://").trim_start_matches('v');
        assert!(version.starts_with(&member.line), "{versions:?}");
    }

    images_are_pulled_from_caches(&cluster)?;
    pulls_fall_back(&mut cluster)?;
    images_are_imported_from_archives(&cluster)?;
    pods_reach_the_api_server(&cluster)?;
    pods_do_not_need_the_api_server(&mut cluster)?;
    pods_run_again_after_a_reset(&mut cluster)?;

    let belongings = Belongings::of(&cluster)?;
    let began = Instant::now();
    drop(cluster);
    figure("a cluster was removed", began);
    assert_eq!(belongings.left()?, Vec::<String>::new());
    Ok(())
}

/// Starts a workload on each node from an image that no node has.
fn images_are_pulled_from_caches(cluster: &Cluster) -> Result<(), Failed> {
    let image = cluster.push("library/one", "1", "one")?;
    let seen = cluster.seen()?;
    let began = Instant::now();
    cluster.plane.apply_text(&counting("one", "docker.io/library/one:1"))?;
    let ready = "--for=jsonpath={.status.numberReady}=4";
    let wait = ["wait", "daemonset/one", ready, "--timeout=120s"];
    cluster.plane.kubectl(&wait)?.ok()?;
    figure("a pod on each node", began);
    let running = counting_containers(cluster, "one")?;
    for ((Member { name, mirrors, .. }, node), container) in cluster.members().zip(&running) {
        node.log_flows(&container.workload(), 50, WAIT)?;
        let cache = mirrors.cache_of_docker_hub();
        let things = ["1", &image.config, &image.layer].map(|thing| (cache.to_owned(), thing.to_owned()));
        let asked = asked(cluster, &seen, name)?;
        let why = || io::Result::Ok(format!("{name} by {cache}: {:#?}", cluster.accesses(&seen)?));
        assert!(asked.is_superset(&things.into()), "{}", why()?);
        assert!(asked.iter().all(|(at, _)| at == cache), "{}", why()?);
    }
    // The caches pulled it from the upstream.
    let upstream = asked(cluster, &seen, "cache")?;
    assert!(upstream.contains(&(UPSTREAM.into(), image.layer)), "{upstream:#?}");
    Ok(())
}

/// Checks that pods run without the API server, and that kubelets reconnect to it.
fn pods_do_not_need_the_api_server(cluster: &mut Cluster) -> Result<(), Failed> {
    let before = counting_containers(cluster, "one")?;
    cluster.plane.stop(Part::ApiServer);
    let mark = cluster.plane.audit().mark()?;
    for ((_, node), container) in cluster.members().zip(&before) {
        node.log_flows(&container.workload(), 50, WAIT)?;
    }
    cluster.plane.start(Part::ApiServer)?;
    cluster.ready()?;
    let after = counting_containers(cluster, "one")?;
    let processes = |all: &[PodContainer]| -> Vec<_> { all.iter().map(|one| (one.id.clone(), one.process)).collect() };
    assert_eq!(processes(&after), processes(&before));
    let by_kubelets = || -> io::Result<Option<()>> {
        let events = cluster.plane.audit().since(mark)?;
        let nodes: BTreeSet<&str> = events.iter().filter_map(AuditEvent::node).collect();
        Ok((nodes.len() == 4).then_some(()))
    };
    cluster
        .node("n24")?
        .until("kubelets do not reconnect", WAIT, by_kubelets)?;
    Ok(())
}

fn pods_run_again_after_a_reset(cluster: &mut Cluster) -> Result<(), Failed> {
    let old = counting_containers(cluster, "one")?.pop().ok_or("no container")?;
    let began = Instant::now();
    cluster.node_mut("n24")?.reset()?;
    let node = cluster.node("n24")?;
    let again = || -> io::Result<Option<()>> {
        let new = |one: &PodContainer| one.pod == old.pod && one.process.is_some() && one.id != old.id;
        Ok(containers(node)?.iter().any(new).then_some(()))
    };
    node.until("the pod does not run again", WAIT, again)?;
    figure("a pod was back after its node was reset", began);
    cluster.ready()?;
    Ok(())
}

/// Imports without a registry, as for the agent's own image.
fn images_are_imported_from_archives(cluster: &Cluster) -> Result<(), Failed> {
    const NAME: &str = "lab.test/imported:1";
    let folder = tempfile::tempdir()?;
    let node = cluster.node("n16")?;
    let script = format!(
        "tar -xf \"$1\" && sed -i 's#lab.test/tools:1#{NAME}#' manifest.json && tar -cf ../imported.tar -C . ."
    );
    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked)?;
    let made = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(node.path("/lab/tools.tar"))
        .current_dir(&unpacked)
        .status()?;
    assert!(made.success());
    let seen = cluster.seen()?;
    cluster.import("n16", &folder.path().join("imported.tar"), NAME)?;
    let run = [
        "run",
        "imported",
        "--image",
        NAME,
        "--image-pull-policy=Never",
        "--restart=Never",
    ];
    let there = r#"--overrides={"spec": {"nodeName": "n16"}}"#;
    cluster.plane.kubectl(&[&run[..], &[there]].concat())?.ok()?;
    let wait = ["wait", "pod/imported", "--for=condition=Ready", "--timeout=60s"];
    cluster.plane.kubectl(&wait)?.ok()?;
    assert!(asked(cluster, &seen, "n16")?.is_empty());
    Ok(())
}

/// An image that no mirror of the node serves is pulled from the upstream, and so is an image whose cache is down.
fn pulls_fall_back(cluster: &mut Cluster) -> Result<(), Failed> {
    let seen = cluster.seen()?;
    cluster.push("team/two", "2", "two")?;
    cluster.push("library/three", "3", "three")?;
    cluster.node("n24")?.cri()?.pull(&Image::new("quay.io/team/two:2"))?;
    cluster.stop_registry("hub");
    cluster
        .node("n24")?
        .cri()?
        .pull(&Image::new("docker.io/library/three:3"))?;
    cluster.start_registry("hub")?;
    let direct = asked(cluster, &seen, "n24")?;
    for tag in ["2", "3"] {
        assert!(direct.contains(&(UPSTREAM.into(), tag.into())), "{direct:#?}");
    }
    assert!(direct.iter().all(|(at, _)| at == UPSTREAM), "{direct:#?}");
    Ok(())
}

/// Checks the connection from a pod, at the address of the service and with the pod's token.
fn pods_reach_the_api_server(cluster: &Cluster) -> Result<(), Failed> {
    let names = ["get", "pods", "-l", "app=one", "-o", "name"];
    let pods = cluster.plane.kubectl(&names)?.ok()?.stdout;
    for pod in pods.lines() {
        let script = "nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT < /dev/null \
            && cat /var/run/secrets/kubernetes.io/serviceaccount/token";
        let token = cluster
            .plane
            .kubectl(&["exec", pod, "--", "/bin/sh", "-c", script])?
            .ok()?
            .stdout;
        let who = cluster
            .plane
            .kubectl_by(&token, &["auth", "whoami", "-o", "yaml"], "")?
            .ok()?
            .stdout;
        assert!(who.contains("authentication.kubernetes.io/node-name"), "{who}");
    }
    Ok(())
}

pub(super) fn cluster_of_a_killed_test_is_cleaned_up(clusters: &Clusters) -> Result<(), Failed> {
    for holders_too in [false, true] {
        let members = vec![
            Member::new("one", "2.4", Mirrors::Wildcard),
            Member::new("two", "1.6", Mirrors::Named),
        ];
        let options = ClusterOptions {
            members,
            ..ClusterOptions::default()
        };
        let cluster = clusters.up(&options)?;
        let belongings = Belongings::of(&cluster)?;
        cluster.abandon(holders_too)?;
        if holders_too {
            assert!(
                !belongings.left()?.is_empty(),
                "the cluster was cleaned up although its holder was killed"
            );
            Nodes::clean()?;
        }
        let deadline = Instant::now() + WAIT;
        while !belongings.left()?.is_empty() {
            assert!(Instant::now() < deadline, "{:#?}", belongings.left()?);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}
