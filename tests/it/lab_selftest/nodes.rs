//! Tests of the lab's nodes: every release must boot, run containers that survive a restart, and show the failures
//! that the suite is about.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::node::{NODE_LINES, Workload};
use mirrorshift_tests::lab::{Containerd, Host, Image, Node, NodeOptions, Nodes, RequestTarget, Scene, normalise};
use mirrorshift_tests::{all_skipped, skipped};

/// The input of a case.
struct Case {
    nodes: Arc<Nodes>,
    containerd: Containerd,
}

type Run = fn(&Case) -> Result<(), Failed>;

const CASES: [(&str, Run); 8] = [
    ("boots", boots),
    ("restart_keeps_containers", restart_keeps_containers),
    ("both_settings_disable_only_cri", both_settings_disable_only_cri),
    ("reset_keeps_files", reset_keeps_files),
    ("reboot_stops_units", reboot_stops_units),
    ("systemd_takes_transient_units", systemd_takes_transient_units),
    ("pulls_are_recorded", pulls_are_recorded),
    (
        "disks_have_their_own_options_and_survive_a_reset",
        disks_have_their_own_options_and_survive_a_reset,
    ),
];

/// Cases that test the lab and not a containerd. Each runs on one release.
const OF_THE_LAB: [(&str, Run); 3] = [
    ("dropped_node_leaves_nothing", dropped_node_leaves_nothing),
    (
        "node_of_a_killed_test_is_cleaned_up",
        node_of_a_killed_test_is_cleaned_up,
    ),
    (
        "file_access_follows_links_inside_the_node",
        file_access_follows_links_inside_the_node,
    ),
];

/// Longer than CRI has ever taken to become ready.
const CRI: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A node waits half of the time.
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

    /// Boots a node with a workload whose counter has started.
    fn at_work(&self) -> io::Result<(Node, Workload)> {
        let node = self.boot(&NodeOptions::new(""))?;
        node.wait_cri(CRI)?;
        let workload = node.start_workload("one")?;
        node.log_flows(&workload, 20, CRI)?;
        Ok((node, workload))
    }
}

/// Returns a registry's `mirrors` table.
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
    // The requested containerd runs, and no unit failed.
    let version = node.run(&["containerd", "--version"])?.ok()?.stdout;
    assert_eq!(
        version.split_whitespace().nth(2),
        Some(case.containerd.printed.as_str())
    );
    let failed = node.run(&["systemctl", "--failed", "--no-legend", "--plain"])?.ok()?;
    assert_eq!(failed.stdout, "");
    assert_eq!(node.show("containerd.service", "NRestarts")?, "0");
    // Neither services of the node nor programs of a test may change the machine's clock or kernel modules.
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
            "process {process} lacks capabilities in its namespaces"
        );
    }
    Ok(())
}

fn restart_keeps_containers(case: &Case) -> Result<(), Failed> {
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

    // A container that is lost is detected, by its process and by its log.
    let kill = format!("kill -KILL {}", before[&workload.container].pid);
    node.run(&["sh", "-c", &kill])?.ok()?;
    node.until("the container does not end", CRI, || {
        Ok((node.pids()?.len() == 2).then_some(()))
    })?;
    let second = Duration::from_secs(1);
    assert!(
        node.log_flows(&workload, 1, second).is_err(),
        "the log of a killed container continues"
    );
    Ok(())
}

/// The unit is active and `systemctl restart` succeeds; only CRI shows that the node does not work.
fn both_settings_disable_only_cri(case: &Case) -> Result<(), Failed> {
    let node = case.boot(&NodeOptions::new(&mirror("docker.io", "http://mirror.test:5000")))?;
    node.wait_cri(CRI)?;
    let mut config = String::from_utf8(node.read("/etc/containerd/config.toml")?)?;
    config.push_str(CONFIG_PATH);
    node.write("/etc/containerd/config.toml", &config)?;
    node.run(&["systemctl", "restart", "containerd"])?.ok()?;
    let state = node.run(&["systemctl", "is-active", "containerd"])?.stdout;
    assert_eq!(state, "active\n");
    // containerd answers that there is no CRI service.
    let status = node.cri()?.status();
    let error = status.err().map_or_else(String::new, |error| error.to_string());
    assert!(error.contains("unknown service runtime.v1.RuntimeService"), "{error}");
    Ok(())
}

fn reset_keeps_files(case: &Case) -> Result<(), Failed> {
    let options = NodeOptions::new("").drop_in("containerd.service", "marked", "[Service]\nEnvironment=MARKED=1\n");
    let mut node = case.boot(&options)?;
    node.wait_cri(CRI)?;
    let workload = node.start_workload("one")?;
    node.log_flows(&workload, 20, CRI)?;
    node.write("/etc/kept", "kept")?;
    node.write("/run/gone", "gone")?;
    let (boot, init) = (boot_of(&node)?, node.init()?);

    node.crash()?;
    assert!(!Path::new(&format!("/proc/{init}")).exists(), "init still runs");
    assert_eq!(node.read("/etc/kept")?, b"kept", "files are there while it is down");
    assert!(node.run(&["true"]).is_err(), "a program ran while the node was down");
    let began = Instant::now();
    node.start()?;
    figure(case, "booted again", began);

    node.wait_cri(CRI)?;
    assert_eq!(node.read("/etc/kept")?, b"kept");
    assert!(node.read("/run/gone").is_err(), "`/run` was kept over a reset");
    assert_ne!(boot_of(&node)?, boot);
    assert_eq!(node.show("containerd.service", "Environment")?, "MARKED=1");
    assert_eq!(node.pids()?.len(), 0, "containers were kept over a reset");
    // CRI knows the old sandboxes, and the node runs new ones.
    assert_eq!(node.cri()?.ids()?.0, [workload.sandbox]);
    node.start_sandbox("two", false)?;
    assert_eq!(node.pids()?.len(), 1);
    // A reset by one call.
    node.reset()?;
    node.wait_cri(CRI)?;
    Ok(())
}

fn boot_of(node: &Node) -> io::Result<Vec<u8>> {
    node.read("/proc/sys/kernel/random/boot_id")
}

fn reboot_stops_units(case: &Case) -> Result<(), Failed> {
    let (mut node, _) = case.at_work()?;
    let init = node.init()?;
    let began = Instant::now();
    node.reboot()?;
    figure(case, "rebooted", began);
    assert_ne!(node.init()?, init);
    node.wait_cri(CRI)?;
    assert_eq!(node.pids()?.len(), 0);
    // systemd stopped the units, which does not happen at a reset.
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
    // A separate network, which is not the pods' network either.
    assert_eq!(links.lines().count(), 1, "{links}");
    assert!(links.contains(" lo: "), "{links}");
    // D-Bus is also reachable from outside, for a client in another namespace.
    assert!(node.path("/run/dbus/system_bus_socket").exists());
    Ok(())
}

/// Compares the requests of a running node before and after a change of its files.
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
        let asked = asks.get(&(image.to_owned(), RequestTarget::Tag("1".into())));
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
    // The registries keep running when the node is reset.
    node.reset()?;
    node.wait_cri(CRI)?;
    assert_eq!(asked(&mut node, "ghcr.io/live/four:1")?.len(), 1);
    Ok(())
}

fn disks_have_their_own_options_and_survive_a_reset(case: &Case) -> Result<(), Failed> {
    let options = NodeOptions::new("")
        .disk("/etc/containerd", "size=64k")
        .disk("/var/lib/tool", "size=1m,noexec");
    let mut node = case.boot(&options)?;
    // The disk has the folder's contents.
    node.wait_cri(CRI)?;
    assert!(
        node.write("/etc/containerd/big", vec![0; 128 * 1024]).is_err(),
        "the size of the disk is not limited"
    );
    node.run(&["rm", "/etc/containerd/big"])?.ok()?;
    node.copy_in(Path::new("/bin/true"), "/var/lib/tool/true")?;
    node.copy_in(Path::new("/bin/true"), "/opt/true")?;
    assert_eq!(node.run(&["/opt/true"])?.code, 0);
    assert_eq!(
        node.run(&["/var/lib/tool/true"])?.code,
        126,
        "a program ran from a noexec disk"
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

/// Returns what the machine still has of a node: mounts, control groups, processes and its folder.
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

fn dropped_node_leaves_nothing(case: &Case) -> Result<(), Failed> {
    let (node, _) = case.at_work()?;
    let (folder, groups, init) = (node.folder().to_owned(), node.cgroups().to_vec(), node.init()?);
    assert!(!groups.is_empty());
    let while_it_runs = traces(&folder, &groups, init)?;
    // The groups, the folder and init are found now; a mount never is.
    assert_eq!(while_it_runs.len(), groups.len() + 2, "{while_it_runs:#?}");
    drop(node);
    assert_eq!(traces(&folder, &groups, init)?, Vec::<String>::new());
    Ok(())
}

fn node_of_a_killed_test_is_cleaned_up(case: &Case) -> Result<(), Failed> {
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
        // A process that has ended exists until its new parent waits for it.
        let gone = || {
            if holder_too {
                Nodes::clean()?;
            }
            Ok(traces(&folder, &groups, init)?.is_empty().then_some(()))
        };
        living.until("the node is not cleaned up", CRI, gone)?;
        // The node of a running test is not touched.
        living.run(&["true"])?.ok()?;
    }
    Ok(())
}

fn file_access_follows_links_inside_the_node(case: &Case) -> Result<(), Failed> {
    let node = case.boot(&NodeOptions::new("").file("/srv/there", "the node's"))?;
    node.run(&["ln", "-s", "/srv", "/etc/link"])?.ok()?;
    assert_eq!(node.read("/etc/link/there")?, b"the node's");
    node.write("/etc/link/new", "new")?;
    assert_eq!(node.read("/srv/new")?, b"new");
    assert!(!Path::new("/srv/new").exists(), "the file was written on the machine");
    assert_eq!(fs::read(node.path("/srv/new"))?, b"new");
    Ok(())
}
