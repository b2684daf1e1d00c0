//! The lab's nodes against themselves: before the suite changes one, every release must boot, run containers that outlive a
//! restart, and show the faults that the suite is about.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::node::{NODE_LINES, Workload};
use mirrorshift_tests::lab::{Containerd, Host, Image, Node, NodeOptions, Nodes, Scene, Thing, normalise};
use mirrorshift_tests::{all_skipped, skipped};

/// What a case gets.
struct Case {
    nodes: Arc<Nodes>,
    containerd: Containerd,
}

type Run = fn(&Case) -> Result<(), Failed>;

const CASES: [(&str, Run); 8] = [
    ("boots", boots),
    ("a_restart_keeps_containers", a_restart_keeps_containers),
    ("both_settings_kill_cri_alone", both_settings_kill_cri_alone),
    ("a_reset_keeps_files", a_reset_keeps_files),
    ("a_reboot_is_in_order", a_reboot_is_in_order),
    ("systemd_takes_transient_units", systemd_takes_transient_units),
    ("pulls_are_recorded", pulls_are_recorded),
    ("disks_are_their_own", disks_are_their_own),
];

/// Cases of the lab and not of a containerd: on one of them each.
const OF_THE_LAB: [(&str, Run); 3] = [
    ("nothing_is_left", nothing_is_left),
    ("a_dead_test_is_cleaned_up_after", a_dead_test_is_cleaned_up_after),
    (
        "files_follow_links_as_the_node_does",
        files_follow_links_as_the_node_does,
    ),
];

/// Longer than CRI has ever taken.
const CRI: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Half of the time a node waits.
    arguments.test_threads.get_or_insert(NODE_LINES.len());
    let nodes = match Nodes::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(nodes) => Arc::new(nodes),
        Err(why) => return all_skipped("nodes", &why.to_string()),
    };
    let mut trials = Vec::new();
    for line in NODE_LINES {
        let newest = line == NODE_LINES[NODE_LINES.len() - 1];
        let of_the_lab = if newest { &OF_THE_LAB[..] } else { &[] };
        for &(name, run) in CASES.iter().chain(of_the_lab) {
            let name = format!("nodes::{line}::{name}");
            trials.push(match Nodes::containerd(line) {
                Ok(containerd) => {
                    let nodes = Arc::clone(&nodes);
                    Trial::test(name, move || run(&Case { nodes, containerd }))
                }
                Err(why) => skipped(&name, &why.to_string()),
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
fn figure(case: &Case, what: &str, since: Instant) {
    let took = since.elapsed().as_secs_f32();
    eprintln!("containerd {}: {what} in {took:.2} s", case.containerd.version);
}

impl Case {
    fn boot(&self, options: &NodeOptions) -> io::Result<Node> {
        self.nodes.boot(&self.containerd, options)
    }

    /// A node with a workload that has begun to count.
    fn at_work(&self) -> io::Result<(Node, Workload)> {
        let node = self.boot(&NodeOptions::new(""))?;
        node.wait_cri(CRI)?;
        let workload = node.start_workload("one")?;
        node.log_flows(&workload, 20, CRI)?;
        Ok((node, workload))
    }
}

/// A registry's `mirrors` table.
fn mirror(registry: &str, endpoint: &str) -> String {
    format!("[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"{registry}\"]\nendpoint = [\"{endpoint}\"]\n")
}

const CONFIG_PATH: &str =
    "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";

fn boots(case: &Case) -> Result<(), Failed> {
    let began = Instant::now();
    let node = case.boot(&NodeOptions::new(""))?;
    figure(case, "booted", began);
    let ready = node.wait_cri(CRI)?.status()?;
    figure(case, "CRI was ready", began);
    assert!(ready.network, "no CNI configuration");
    // The program that runs is the one that was asked for, and nothing failed on the way.
    let version = node.run(&["containerd", "--version"])?.ok()?.stdout;
    assert_eq!(
        version.split_whitespace().nth(2),
        Some(case.containerd.printed.as_str())
    );
    let failed = node.run(&["systemctl", "--failed", "--no-legend", "--plain"])?.ok()?;
    assert_eq!(failed.stdout, "");
    assert_eq!(node.show("containerd.service", "NRestarts")?, "0");
    // Neither the machine's clock nor its modules are a node's to change: not its services', nor of what a test runs in it.
    for process in ["1", "self"] {
        let bits = node
            .run(&["sed", "-n", "s/^CapBnd:\t//p", &format!("/proc/{process}/status")])?
            .ok()?
            .stdout;
        let bits = u64::from_str_radix(bits.trim(), 16)?;
        for (name, bit) in [("CAP_SYS_MODULE", 16), ("CAP_SYS_TIME", 25)] {
            assert_eq!(bits >> bit & 1, 0, "process {process} has {name}");
        }
        assert_eq!(
            bits >> 21 & 1,
            1,
            "process {process} is no administrator of its namespaces"
        );
    }
    Ok(())
}

fn a_restart_keeps_containers(case: &Case) -> Result<(), Failed> {
    let (node, workload) = case.at_work()?;
    node.start_sandbox("two", true)?;
    let before = node.pids()?;
    assert_eq!(before.len(), 3, "{before:?}");
    let invocation = node.show("containerd.service", "InvocationID")?;

    let began = Instant::now();
    node.run(&["systemctl", "restart", "containerd"])?.ok()?;
    figure(case, "restarted", began);
    node.wait_cri(CRI)?;
    figure(case, "CRI was ready after a restart", began);

    assert_ne!(node.show("containerd.service", "InvocationID")?, invocation);
    assert_eq!(node.pids()?, before);
    node.log_flows(&workload, 100, CRI)?;

    // A container that is lost shows, by its process and by its log.
    let kill = format!("kill -KILL {}", before[&workload.container].pid);
    node.run(&["sh", "-c", &kill])?.ok()?;
    node.until("the container does not end", CRI, || {
        Ok((node.pids()?.len() == 2).then_some(()))
    })?;
    let second = Duration::from_secs(1);
    assert!(node.log_flows(&workload, 1, second).is_err(), "a dead container counts");
    Ok(())
}

/// The unit is active and `systemctl restart` succeeds; only CRI says that the node is lost.
fn both_settings_kill_cri_alone(case: &Case) -> Result<(), Failed> {
    let node = case.boot(&NodeOptions::new(&mirror("docker.io", "http://mirror.test:5000")))?;
    node.wait_cri(CRI)?;
    let mut config = String::from_utf8(node.read("/etc/containerd/config.toml")?)?;
    config.push_str(CONFIG_PATH);
    node.write("/etc/containerd/config.toml", &config)?;
    node.run(&["systemctl", "restart", "containerd"])?.ok()?;
    let state = node.run(&["systemctl", "is-active", "containerd"])?.stdout;
    assert_eq!(state, "active\n");
    // It answers, and what it says is that there is no CRI.
    let status = node.cri()?.status();
    let error = status.err().map_or_else(String::new, |error| error.to_string());
    assert!(error.contains("unknown service runtime.v1.RuntimeService"), "{error}");
    Ok(())
}

fn a_reset_keeps_files(case: &Case) -> Result<(), Failed> {
    let options = NodeOptions::new("").drop_in("containerd.service", "marked", "[Service]\nEnvironment=MARKED=1\n");
    let mut node = case.boot(&options)?;
    node.wait_cri(CRI)?;
    let workload = node.start_workload("one")?;
    node.log_flows(&workload, 20, CRI)?;
    node.write("/etc/kept", "kept")?;
    node.write("/run/gone", "gone")?;
    let (boot, init) = (boot_of(&node)?, node.init()?);

    node.crash()?;
    assert!(!Path::new(&format!("/proc/{init}")).exists(), "init lives");
    assert_eq!(node.read("/etc/kept")?, b"kept", "files are there while it is down");
    assert!(node.run(&["true"]).is_err(), "runs while it is down");
    let began = Instant::now();
    node.start()?;
    figure(case, "booted again", began);

    node.wait_cri(CRI)?;
    assert_eq!(node.read("/etc/kept")?, b"kept");
    assert!(node.read("/run/gone").is_err(), "`/run` outlives a reset");
    assert_ne!(boot_of(&node)?, boot);
    assert_eq!(node.show("containerd.service", "Environment")?, "MARKED=1");
    assert_eq!(node.pids()?.len(), 0, "containers outlive a reset");
    // CRI knows what was, and the node runs new ones.
    assert_eq!(node.cri()?.ids()?.0, [workload.sandbox]);
    node.start_sandbox("two", false)?;
    assert_eq!(node.pids()?.len(), 1);
    // And the short way.
    node.reset()?;
    node.wait_cri(CRI)?;
    Ok(())
}

fn boot_of(node: &Node) -> io::Result<Vec<u8>> {
    node.read("/proc/sys/kernel/random/boot_id")
}

fn a_reboot_is_in_order(case: &Case) -> Result<(), Failed> {
    let (mut node, _) = case.at_work()?;
    let init = node.init()?;
    let began = Instant::now();
    node.reboot()?;
    figure(case, "rebooted", began);
    assert_ne!(node.init()?, init);
    node.wait_cri(CRI)?;
    assert_eq!(node.pids()?.len(), 0);
    // It was told to stop, which a reset never does.
    let journal = node
        .run(&["journalctl", "-b", "-1", "-u", "containerd", "-o", "cat"])?
        .ok()?;
    assert!(journal.stdout.contains("Stopped"), "{}", journal.stdout);
    Ok(())
}

fn systemd_takes_transient_units(case: &Case) -> Result<(), Failed> {
    let node = case.boot(&NodeOptions::new(""))?;
    let start = [
        "busctl",
        "--",
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        "try.service",
        "fail",
        "4",
        "Type",
        "s",
        "oneshot",
        "RemainAfterExit",
        "b",
        "true",
        "PrivateNetwork",
        "b",
        "true",
        "ExecStart",
        "a(sasb)",
        "1",
        "/bin/sh",
        "3",
        "/bin/sh",
        "-c",
        "ip -o link > /var/lib/links",
        "false",
        "0",
    ];
    node.run(&start)?.ok()?;
    let done = || Ok((node.show("try.service", "ActiveState")? == "active").then_some(()));
    node.until("the unit does not run", CRI, done)?;
    let links = String::from_utf8(node.read("/var/lib/links")?)?;
    // A network of its own: not the one in which pods have theirs.
    assert_eq!(links.lines().count(), 1, "{links}");
    assert!(links.contains(" lo: "), "{links}");
    // The bus is reached from outside too, as another namespace's client would.
    assert!(node.path("/run/dbus/system_bus_socket").exists());
    Ok(())
}

/// Routes on a live node, before and after a change of its files.
fn pulls_are_recorded(case: &Case) -> Result<(), Failed> {
    let scene = Scene::upstreams()
        .with(Host::http("mirror.test:5000"))
        .with(Host::http("10.0.20.10:5000"));
    let options = NodeOptions::new(&mirror("quay.io", "http://mirror.test:5000")).scene(scene);
    let mut node = case.boot(&options)?;
    node.wait_cri(CRI)?;
    let asked = |node: &mut Node, image: &str| -> Result<Vec<String>, Failed> {
        let (pulled, requests) = node.pull(&Image::new(image))?;
        pulled?;
        let asks = normalise(&requests);
        let asked = asks.get(&(image.to_owned(), Thing::Tag("1".into())));
        Ok(asked.into_iter().flatten().map(ToString::to_string).collect())
    };
    let by_mirror = |name: &str| [format!("http://mirror.test:5000/v2/{name}/manifests/1?ns=quay.io")];
    assert_eq!(asked(&mut node, "quay.io/live/one:1")?, by_mirror("live/one"));
    let upstream = "https://ghcr.io:443/v2/live/two/manifests/1 host=ghcr.io sni=ghcr.io";
    assert_eq!(asked(&mut node, "ghcr.io/live/two:1")?, [upstream]);

    let folder = "/etc/containerd/certs.d/quay.io";
    node.run(&["mkdir", "-p", folder])?.ok()?;
    node.write(&format!("{folder}/hosts.toml"), "[host.\"http://10.0.20.10:5000\"]\n")?;
    let base = mirrorshift_tests::lab::node::BASE;
    node.write("/etc/containerd/config.toml", format!("{base}{CONFIG_PATH}"))?;
    node.run(&["systemctl", "restart", "containerd"])?.ok()?;
    node.wait_cri(CRI)?;
    assert_eq!(
        asked(&mut node, "quay.io/live/three:1")?,
        ["http://10.0.20.10:5000/v2/live/three/manifests/1?ns=quay.io"]
    );
    // The registries outlive the node's resets.
    node.reset()?;
    node.wait_cri(CRI)?;
    assert_eq!(asked(&mut node, "ghcr.io/live/four:1")?.len(), 1);
    Ok(())
}

fn disks_are_their_own(case: &Case) -> Result<(), Failed> {
    let options = NodeOptions::new("")
        .disk("/etc/containerd", "size=64k")
        .disk("/var/lib/tool", "size=1m,noexec");
    let mut node = case.boot(&options)?;
    // What the folder had is on its disk.
    node.wait_cri(CRI)?;
    assert!(
        node.write("/etc/containerd/big", vec![0; 128 * 1024]).is_err(),
        "there is no end to the disk"
    );
    node.run(&["rm", "/etc/containerd/big"])?.ok()?;
    node.copy_in(Path::new("/bin/true"), "/var/lib/tool/true")?;
    node.copy_in(Path::new("/bin/true"), "/opt/true")?;
    assert_eq!(node.run(&["/opt/true"])?.code, 0);
    assert_eq!(
        node.run(&["/var/lib/tool/true"])?.code,
        126,
        "runs from a disk that forbids it"
    );
    node.reset()?;
    node.wait_cri(CRI)?;
    assert_eq!(
        node.run(&["/var/lib/tool/true"])?.code,
        126,
        "the disk was lost by a reset"
    );
    Ok(())
}

/// What the machine has of a node: mounts, control groups, processes, and its folder.
fn traces(folder: &Path, groups: &[PathBuf], init: i32) -> io::Result<Vec<String>> {
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
    if Path::new(&format!("/proc/{init}")).exists() {
        found.push(format!("process {init}"));
    }
    Ok(found)
}

fn nothing_is_left(case: &Case) -> Result<(), Failed> {
    let (node, _) = case.at_work()?;
    let (folder, groups, init) = (node.folder().to_owned(), node.cgroups().to_vec(), node.init()?);
    assert!(!groups.is_empty());
    let while_it_runs = traces(&folder, &groups, init)?;
    // Its groups, its folder and its init, and no mount even now.
    assert_eq!(while_it_runs.len(), groups.len() + 2, "{while_it_runs:#?}");
    drop(node);
    assert_eq!(traces(&folder, &groups, init)?, Vec::<String>::new());
    Ok(())
}

fn a_dead_test_is_cleaned_up_after(case: &Case) -> Result<(), Failed> {
    for holder_too in [false, true] {
        let (node, _) = case.at_work()?;
        let living = case.boot(&NodeOptions::new(""))?;
        let (folder, groups, init) = (node.folder().to_owned(), node.cgroups().to_vec(), node.init()?);
        node.abandon(holder_too)?;
        if holder_too {
            assert!(
                !traces(&folder, &groups, init)?.is_empty(),
                "nobody was there to clean up"
            );
        }
        // A process that has ended is there until its new parent looks.
        let gone = || {
            if holder_too {
                Nodes::clean()?;
            }
            Ok(traces(&folder, &groups, init)?.is_empty().then_some(()))
        };
        living.until("the node is not cleaned up", CRI, gone)?;
        // The node of a living test is left alone.
        living.run(&["true"])?.ok()?;
    }
    Ok(())
}

fn files_follow_links_as_the_node_does(case: &Case) -> Result<(), Failed> {
    let node = case.boot(&NodeOptions::new("").file("/srv/there", "the node's"))?;
    node.run(&["ln", "-s", "/srv", "/etc/link"])?.ok()?;
    assert_eq!(node.read("/etc/link/there")?, b"the node's");
    node.write("/etc/link/new", "new")?;
    assert_eq!(node.read("/srv/new")?, b"new");
    assert!(!Path::new("/srv/new").exists(), "it was written on the machine");
    assert_eq!(fs::read(node.path("/srv/new"))?, b"new");
    Ok(())
}
