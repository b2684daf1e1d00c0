//! The lab's clusters against themselves: before the suite rolls something out in one, its parts must work, fail as they are
//! told to, and go without a trace.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::all_skipped;
use mirrorshift_tests::lab::cluster::{AuditEvent, Cluster, ClusterOptions, Clusters, ControlOptions, ControlPlane};
use mirrorshift_tests::lab::cluster::{
    Mark, Member, Mirrors, Part, PodContainer, Seen, UPSTREAM, containers, counting,
};
use mirrorshift_tests::lab::{Front, Image, Node, Nodes};

/// Longer than anything has ever taken.
const WAIT: Duration = Duration::from_mins(1);

type Run = fn(&Clusters) -> Result<(), Failed>;

const CASES: [(&str, Run); 6] = [
    ("a_control_plane_keeps_what_it_is_told", keeps_what_it_is_told),
    ("a_control_plane_writes_down_who_asked", writes_down_who_asked),
    ("a_front_is_what_it_is_told", front_is_what_it_is_told),
    ("nothing_is_left_of_a_control_plane", nothing_is_left_of_a_control_plane),
    ("nodes_run_pods_that_come_by_caches", nodes_run_pods_that_come_by_caches),
    ("a_dead_test_is_cleaned_up_after", a_dead_test_is_cleaned_up_after),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let clusters = match Clusters::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(clusters) => Arc::new(clusters),
        Err(why) => return all_skipped("cluster", &why.to_string()),
    };
    let trials = CASES.map(|(name, run)| {
        let clusters = Arc::clone(&clusters);
        Trial::test(format!("cluster::{name}"), move || run(&clusters))
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
fn figure(what: &str, since: Instant) {
    eprintln!("{what} in {:.1} s", since.elapsed().as_secs_f32());
}

/// A control plane of etcd and the API server alone.
fn bare(clusters: &Clusters) -> io::Result<ControlPlane> {
    let began = Instant::now();
    let plane = clusters.planes().up(&ControlOptions::default())?;
    figure("a control plane", began);
    Ok(plane)
}

/// A namespace with a service account that may do anything to leases and to nothing else, and the account's token.
const LOCKER: &str = "apiVersion: v1
kind: Namespace
metadata: {name: lab}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: locker, namespace: lab}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: locker, namespace: lab}
rules: [{apiGroups: [coordination.k8s.io], resources: [leases], verbs: ['*']}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: locker, namespace: lab}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: locker}
subjects: [{kind: ServiceAccount, name: locker, namespace: lab}]
";

const LEASE: &str = "apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: slot-0, namespace: lab}
spec: {holderIdentity: one}
";

fn token(plane: &ControlPlane) -> io::Result<String> {
    plane.apply_text(LOCKER)?;
    let token = plane.kubectl(&["create", "token", "locker", "-n", "lab"])?.ok()?;
    Ok(token.stdout.trim().to_owned())
}

fn keeps_what_it_is_told(clusters: &Clusters) -> Result<(), Failed> {
    let mut plane = clusters.planes().up(&ControlOptions {
        controllers: true,
        ..ControlOptions::default()
    })?;
    let version = plane.kubectl(&["version"])?.ok()?.stdout;
    assert_eq!(version.matches("v1.34.").count(), 2, "{version}");
    plane.apply_text(LEASE.replace("lab", "default").as_str())?;

    // Without its API server there is nobody to ask, and with it all is as before.
    plane.stop(Part::ApiServer);
    assert!(plane.pid(Part::ApiServer).is_err());
    assert_ne!(plane.kubectl(&["get", "lease", "slot-0"])?.code, 0);
    let began = Instant::now();
    plane.start(Part::ApiServer)?;
    figure("the API server again", began);
    plane.kubectl(&["get", "lease", "slot-0"])?.ok()?;

    // One that is held takes connections and says nothing.
    plane.freeze(Part::ApiServer)?;
    let silent = plane.kubectl(&["get", "lease", "slot-0", "--request-timeout=1s"])?;
    assert_ne!(silent.code, 0, "{}", silent.stdout);
    plane.thaw(Part::ApiServer)?;
    plane.kubectl(&["get", "lease", "slot-0"])?.ok()?;

    // The controllers found it again: they make what every namespace has.
    plane.kubectl(&["create", "namespace", "late"])?.ok()?;
    let wait = [
        "wait",
        "--for=create",
        "serviceaccount/default",
        "-n",
        "late",
        "--timeout=60s",
    ];
    plane.kubectl(&wait)?.ok()?;
    Ok(())
}

fn writes_down_who_asked(clusters: &Clusters) -> Result<(), Failed> {
    let plane = bare(clusters)?;
    let token = token(&plane)?;
    let mark = plane.audit().mark()?;
    plane.kubectl_by(&token, &["create", "-f", "-"], LEASE)?.ok()?;
    let refused = plane.kubectl_by(&token, &["get", "secrets", "-n", "lab"], "")?;
    assert!(refused.stderr.contains("Forbidden"), "{}", refused.stderr);

    let events = plane.audit().since(mark)?;
    let asked = |verb: &str, resource: &str| -> Vec<&AuditEvent> {
        let asked = |event: &&AuditEvent| event.verb == verb && event.object_ref.resource == resource;
        events.iter().filter(asked).collect()
    };
    let [created] = asked("create", "leases")[..] else {
        return Err(format!("{events:#?}").into());
    };
    assert_eq!(created.code(), Some(201));
    assert_eq!(created.user.username, "system:serviceaccount:lab:locker");
    assert_eq!(created.request_object["spec"]["holderIdentity"], "one");
    let [listed] = asked("list", "secrets")[..] else {
        return Err(format!("{events:#?}").into());
    };
    assert_eq!(listed.code(), Some(403));
    assert!(listed.request_object.is_null(), "bodies of what is no lock");
    assert!(plane.audit().since(Mark::default())?.len() > events.len());

    // The admission policy that the project stands on is there.
    let kinds = plane.kubectl(&[
        "api-resources",
        "--api-group=admissionregistration.k8s.io",
        "-o",
        "name",
    ])?;
    assert!(kinds.stdout.contains("validatingadmissionpolicies"), "{}", kinds.stdout);
    Ok(())
}

fn front_is_what_it_is_told(clusters: &Clusters) -> Result<(), Failed> {
    let mut plane = bare(clusters)?;
    let token = token(&plane)?;
    let ask = |plane: &ControlPlane| {
        let began = Instant::now();
        let ran = plane.kubectl_by(&token, &["get", "leases", "-n", "lab", "--request-timeout=2s"], "")?;
        io::Result::Ok((ran, began.elapsed()))
    };
    ask(&plane)?.0.ok()?;
    plane.front(Front::Answers(500))?;
    let (ran, _) = ask(&plane)?;
    assert!(ran.stderr.contains("the lab says so"), "{}", ran.stderr);
    assert_ne!(
        plane.front(Front::Answers(429))?,
        0,
        "nothing was answered by the front"
    );
    assert_ne!(ask(&plane)?.0.code, 0);
    // It was told to come again, and did.
    assert!(
        plane.front(Front::Open)? > 1,
        "a client that was told to wait asked once"
    );
    for silent in [Front::Hangs, Front::Refuses] {
        plane.front(silent)?;
        let (ran, _) = ask(&plane)?;
        assert_ne!(ran.code, 0, "{silent:?}");
        // Everybody else is served.
        plane.kubectl(&["get", "leases", "-n", "lab"])?.ok()?;
    }
    plane.front(Front::Slow(300))?;
    let (ran, took) = ask(&plane)?;
    // At least a greeting and an answer.
    assert!(took > Duration::from_millis(600) || ran.code != 0, "{took:?}");
    assert_eq!(plane.front(Front::Open)?, 0);
    ask(&plane)?.0.ok()?;

    // A client in a test finds the API server too: in the cluster's network, which leads nowhere else.
    let address: SocketAddr = plane.server().trim_start_matches("https://").parse()?;
    assert!(plane.inside(|| TcpStream::connect(address).is_ok())?);
    let links = plane.command(Path::new("ip")).args(["-o", "link"]).output()?.stdout;
    let links = String::from_utf8(links)?;
    let links: Vec<&str> = links.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(links, ["lo", "lab0"]);
    Ok(())
}

/// What the machine has of a cluster: mounts, control groups, processes, and its folder.
fn traces(folder: &Path, groups: &[PathBuf], processes: &[u32]) -> io::Result<Vec<String>> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<String> = mounts
        .lines()
        .filter(|line| line.contains(name))
        .map(str::to_owned)
        .collect();
    let folders = groups.iter().map(PathBuf::as_path).chain([folder]);
    found.extend(
        folders
            .filter(|path| path.exists())
            .map(|path| path.display().to_string()),
    );
    for process in processes {
        if Path::new(&format!("/proc/{process}")).exists() {
            found.push(format!("process {process}"));
        }
    }
    Ok(found)
}

fn nothing_is_left_of_a_control_plane(clusters: &Clusters) -> Result<(), Failed> {
    let plane = clusters.planes().up(&ControlOptions {
        controllers: true,
        scheduler: true,
        ..ControlOptions::default()
    })?;
    let parts = [Part::Etcd, Part::ApiServer, Part::ControllerManager, Part::Scheduler];
    let processes = parts
        .map(|part| plane.pid(part))
        .into_iter()
        .collect::<io::Result<Vec<u32>>>()?;
    let (folder, groups) = (plane.folder(), plane.cgroups().to_vec());
    // Its groups, its folder, its processes, and no mount even now.
    let now = traces(&folder, &groups, &processes)?;
    assert_eq!(now.len(), groups.len() + 1 + processes.len(), "{now:#?}");
    let began = Instant::now();
    drop(plane);
    figure("a control plane was gone", began);
    assert_eq!(traces(&folder, &groups, &processes)?, Vec::<String>::new());
    Ok(())
}

/// The counting container of a workload on each node, in the nodes' order.
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

/// Everything that a node asked a registry for, each thing once.
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

fn nodes_run_pods_that_come_by_caches(clusters: &Clusters) -> Result<(), Failed> {
    let began = Instant::now();
    let mut cluster = clusters.up(&ClusterOptions::default())?;
    figure("a cluster of four nodes", began);
    let versions = cluster
        .plane
        .kubectl(&[
            "get",
            "nodes",
            "-o",
            "jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}",
        ])?
        .ok()?
        .stdout;
    let lines: Vec<&str> = versions
        .split(' ')
        .map(|version| version.trim_start_matches("containerd://"))
        .collect();
    for (line, (member, _)) in lines.iter().zip(cluster.members()) {
        assert!(line.trim_start_matches('v').starts_with(&member.line), "{versions}");
    }
    assert_eq!(lines.len(), 4, "{versions}");

    // A workload on each, from an image that none has.
    let image = cluster.push("library/one", "1", "one")?;
    let seen = cluster.seen()?;
    let began = Instant::now();
    cluster.plane.apply_text(&counting("one", "docker.io/library/one:1"))?;
    let rolled_out = ["rollout", "status", "daemonset/one", "--timeout=120s"];
    let count = [
        "wait",
        "daemonset/one",
        "--for=jsonpath={.status.numberReady}=4",
        "--timeout=120s",
    ];
    cluster.plane.kubectl(&count)?.ok()?;
    cluster.plane.kubectl(&rolled_out)?.ok()?;
    figure("a pod on each node", began);
    let running = counting_containers(&cluster, "one")?;
    for ((_, node), container) in cluster.members().zip(&running) {
        node.log_flows(&container.workload(), 50, WAIT)?;
    }
    for (Member { name, mirrors, .. }, _) in cluster.members() {
        let cache = mirrors.cache_of_docker_hub();
        let things = ["1", &image.config, &image.layer].map(|thing| (cache.to_owned(), thing.to_owned()));
        let asked = asked(&cluster, &seen, name)?;
        assert!(
            asked.is_superset(&things.into()),
            "{name} by {cache}: {:#?}",
            cluster.accesses(&seen)?
        );
        let caches: BTreeSet<&str> = asked.iter().map(|(at, _)| at.as_str()).collect();
        assert_eq!(caches, [cache].into(), "{name}");
    }
    // The caches had it from the upstream.
    let upstream = asked(&cluster, &seen, "cache")?;
    assert!(
        upstream.contains(&(UPSTREAM.into(), image.layer.clone())),
        "{upstream:#?}"
    );
    pulls_fall_back(&mut cluster)?;

    // Nothing of a node's work is the API server's.
    let mark = cluster.plane.audit().mark()?;
    cluster.plane.stop(Part::ApiServer);
    for ((_, node), container) in cluster.members().zip(&running) {
        node.log_flows(&container.workload(), 50, WAIT)?;
    }
    cluster.plane.start(Part::ApiServer)?;
    cluster.ready()?;
    let after = counting_containers(&cluster, "one")?;
    let processes = |all: &[PodContainer]| -> Vec<_> { all.iter().map(|one| (one.id.clone(), one.process)).collect() };
    assert_eq!(processes(&after), processes(&running));

    // Each kubelet has found it again, and the log says so.
    let by_kubelets = || -> io::Result<Option<()>> {
        let events = cluster.plane.audit().since(mark)?;
        let nodes: BTreeSet<&str> = events.iter().filter_map(AuditEvent::node).collect();
        Ok((nodes.len() == 4).then_some(()))
    };
    let (_, any) = cluster.members().next().ok_or("no node")?;
    any.until("kubelets do not come back", WAIT, by_kubelets)?;
    pods_reach_the_api_server(&cluster)?;

    // A node that is reset comes back with its pods, and its files are as they were.
    let began = Instant::now();
    cluster.node_mut("n24")?.reset()?;
    let node = cluster.node("n24")?;
    let again = || -> io::Result<Option<()>> {
        let old = running.last().map(|container| container.id.as_str());
        let new = |container: &PodContainer| container.process.is_some() && Some(container.id.as_str()) != old;
        Ok(containers(node)?.iter().any(new).then_some(()))
    };
    node.until("no pod comes back", WAIT, again)?;
    figure("a node was back with its pods after a reset", began);
    cluster.ready()?;
    Ok(())
}

/// What is not behind a node's mirrors comes from the upstream itself, and so does what is while its cache is away.
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

/// From a pod, by the address of its service and with its own token.
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

fn a_dead_test_is_cleaned_up_after(clusters: &Clusters) -> Result<(), Failed> {
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
        let mut groups = cluster.plane.cgroups().to_vec();
        let mut processes = vec![cluster.plane.pid(Part::ApiServer)?];
        for (_, node) in cluster.members() {
            groups.extend(node.cgroups().iter().cloned());
            processes.push(node.init()?.try_into()?);
        }
        let folders = cluster.abandon(holders_too)?;
        let left = || -> io::Result<Vec<String>> {
            let of = |folder: &PathBuf| traces(folder, &groups, &processes);
            Ok(folders.iter().map(of).collect::<io::Result<Vec<_>>>()?.concat())
        };
        if holders_too {
            assert!(!left()?.is_empty(), "nobody was there to clean up");
            Nodes::clean()?;
        }
        // A process that has ended is there until its new parent looks.
        let deadline = Instant::now() + WAIT;
        while !left()?.is_empty() {
            assert!(Instant::now() < deadline, "{:#?}", left()?);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}
