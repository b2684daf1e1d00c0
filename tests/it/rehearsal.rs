//! The rehearsal of a change on nodes: systemd starts each node's own containerd in a sandbox, which reports the
//! hosts that it contacts. Mistakes in the new files are detected, and nothing on the node changes.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use libtest_mimic::Failed;
use mirrorshift_tests::lab::{Containerd, Node, NodeOptions, Nodes};
use mirrorshift_tests::run_example_on_nodes;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Longer than CRI has ever taken to become ready.
const CRI: Duration = Duration::from_secs(20);
const CONFIG: &str = "/etc/containerd/config.toml";
const PROGRAM: &str = "/usr/local/bin/rehearse";
/// The path of the file that the test stages.
const FILE: &str = "/root/staged";
/// An NRI plugin writes this file wherever it runs. It is the only file that a sandbox can write and that is visible
/// outside.
const CANARY: &str = "/dev/shm/canary";
/// A secret that must not appear anywhere.
const PASSWORD: &str = "hunter2";

/// A wildcard, a named registry with a path and a password, a runtime and a folder of drop-ins.
const LEGACY: &str = r#"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.gpu]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.gpu.options]
BinaryName = "/usr/bin/gpu-runtime"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."*"]
endpoint = ["http://10.0.20.10:5000"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."ghcr.io"]
endpoint = ["http://m.test:5010/v2/proxy", "https://s.test", "http://[fd00::7]:5020"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."m.test:5010".auth]
username = "user"
password = "hunter2"
"#;
/// IPv6 endpoints, which cannot be moved to hosts.toml on 1.x and are left out there.
const IPV6: &str = ", \"http://[fd00::7]:5020\"";

/// A proxy that containerd would contact instead of every registry, with a password that must not appear anywhere.
const PROXY: &str =
    "[Service]\nEnvironment=HTTP_PROXY=http://user:hunter2@proxy.test:5000 HTTPS_PROXY=http://proxy.test:5000\n";

/// Imports are the first line, because keys of the root table precede tables.
const IMPORTS: &str = "imports = [\"/etc/containerd/conf.d/*.toml\"]\n";
/// With this table and `mirrors`, the unit is active and CRI does not load.
const CONFIG_PATH: &str =
    "\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
/// A drop-in that replaces the whole CRI table on 1.x, and changes one key of a runtime on 2.x.
const SWALLOWS: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.gpu.options]\n\
    BinaryName = \"/usr/bin/another\"\n";
const OTHERS: &str = "server = \"https://ghcr.io\"\n[host.\"http://other.test:7777\"]\n";

fn main() -> ExitCode {
    run_example_on_nodes(env!("CARGO_BIN_EXE_lab-run"), "rehearsal", "rehearse", run)
}

fn run(nodes: &Nodes, containerd: &Containerd, program: &Path) -> Result<(), Failed> {
    let began = Instant::now();
    let two = containerd.version.starts_with("2.");
    let tables = if two {
        LEGACY.to_owned()
    } else {
        LEGACY.replace(IPV6, "")
    };
    let mut options = NodeOptions::new(&tables)
        .disk("/data", "size=64m")
        .disk("/noexec", "size=1m,noexec")
        .drop_in("containerd.service", "proxy", PROXY)
        .file("/etc/containerd/conf.d/00-nothing.toml", "version = 2\n");
    let text = format!("{IMPORTS}{}", String::from_utf8_lossy(&options.files[CONFIG]));
    options = options.file(CONFIG, &text);
    let node = nodes.boot(containerd, &options)?;
    node.wait_cri(CRI)?;
    let workload = node.start_workload("one")?;
    node.log_flows(&workload, 20, CRI)?;
    node.copy_in(program, PROGRAM)?;
    shell(
        &node,
        &format!(
            "mkdir -p /opt/nri/plugins; printf '#!/bin/sh\\necho ran >> {CANARY}\\n' > /opt/nri/plugins/10-canary; \
             chmod 755 /opt/nri/plugins/10-canary"
        ),
    )?;
    let config = node.read(CONFIG)?;
    let with = |more: &str| [&config[..], more.as_bytes()].concat();

    right_plan_agrees(&node, two)?;
    wrong_files_disagree(&node, &with(CONFIG_PATH))?;
    state_between_two_files_is_rehearsed(&node, &config, two)?;
    plan_that_repairs_cri_is_accepted(&node, &with(CONFIG_PATH))?;
    node.write(CONFIG, &config)?;
    failed_rehearsal_has_no_verdict(&node)?;
    leftovers_are_removed(&node)?;

    // No rehearsal interrupted a container.
    assert_eq!(node.counted(&workload)?.lost, 0, "a rehearsal interrupted a container");
    assert!(node.read(CANARY).is_err(), "an NRI plugin ran in a sandbox");
    other_data_folder_is_followed(&node, &config, two)?;
    let seconds = began.elapsed().as_secs_f32();
    eprintln!("containerd {}: rehearsed in {seconds:.1} s", containerd.version);
    Ok(())
}

/// Checks a right plan, with the table of contacted hosts.
fn right_plan_agrees(node: &Node, two: bool) -> Result<(), Failed> {
    let said = rehearse(node, &[], 0)?;
    let mut ghcr = vec!["http://m.test:5010/v2/proxy for ghcr.io", "https://s.test:443"];
    if two {
        ghcr.push("http://[fd00::7]:5020/v2 for ghcr.io");
    }
    ghcr.push("https://ghcr.io:443");
    let table = [
        ("ghcr.io", ghcr),
        (
            "docker.io",
            vec![
                "http://10.0.20.10:5000/v2 for docker.io",
                "https://registry-1.docker.io:443",
            ],
        ),
        (
            "any other registry",
            vec![
                "http://10.0.20.10:5000/v2 for unnamed.invalid",
                "https://unnamed.invalid:443",
            ],
        ),
    ];
    for variant in ["before", "after"] {
        for (registry, wanted) in &table {
            assert_eq!(asked(&said, variant, registry), *wanted, "{variant}: {registry}");
        }
    }
    assert_eq!(variants(&said), ["before", "after"]);
    Ok(())
}

/// Checks new files with mistakes, each with one of the three answers.
fn wrong_files_disagree(node: &Node, both: &[u8]) -> Result<(), Failed> {
    node.write(FILE, both)?;
    let said = rehearse(node, &["stage", CONFIG, FILE], 3)?;
    disagrees(&said, "cri-dead", "with the new files CRI does not load")?;
    node.write(FILE, "[plugins.\n")?;
    let said = rehearse(node, &["stage", CONFIG, FILE], 3)?;
    disagrees(&said, "cri-dead", "containerd: ")?;
    disagrees(&said, "no-configuration", "with the new files")?;

    node.write(FILE, OTHERS)?;
    let path = "/etc/containerd/certs.d/ghcr.io/hosts.toml";
    let said = rehearse(node, &["stage", path, FILE], 3)?;
    disagrees(
        &said,
        "route",
        "containerd tries http://other.test:7777/v2 for ghcr.io, then https://ghcr.io:443 for images of ghcr.io",
    )?;
    assert_eq!(asked(&said, "after", "ghcr.io").len(), 2);

    node.write(FILE, SWALLOWS)?;
    let path = "/etc/containerd/conf.d/99-gpu.toml";
    let said = rehearse(node, &["stage", path, FILE], 3)?;
    disagrees(&said, "setting", "runtimes.gpu")
}

/// Mirrors in the root file and in a drop-in: the state between the replacement of the two files is rehearsed as
/// well.
fn state_between_two_files_is_rehearsed(node: &Node, config: &[u8], two: bool) -> Result<(), Failed> {
    // On 1.x the drop-in's table replaces that of the root file, whose mirrors are ignored.
    if !two {
        return Ok(());
    }
    let drop_in = "/etc/containerd/conf.d/50-mirrors.toml";
    node.write(
        drop_in,
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"quay.io\"]\nendpoint = [\"http://q.test:5030\"]\n",
    )?;
    let said = rehearse(node, &[], 0)?;
    assert_eq!(variants(&said), ["before", "{\"prefix\":1}", "after"]);
    assert_eq!(
        asked(&said, "after", "quay.io"),
        ["http://q.test:5030/v2 for quay.io", "https://quay.io:443"]
    );
    assert_eq!(node.read(CONFIG)?, config);
    shell(node, &format!("rm {drop_in}"))
}

/// Checks that a plan is not refused because CRI does not load with the old files, if it repairs that.
fn plan_that_repairs_cri_is_accepted(node: &Node, both: &[u8]) -> Result<(), Failed> {
    node.write(CONFIG, both)?;
    let said = rehearse(node, &[], 0)?;
    let cri = |at: usize| said["variants"][at]["cri"].as_bool();
    assert_eq!((cri(0), cri(1)), (Some(false), Some(true)));
    // A plan that does not repair it is refused.
    node.write(FILE, both)?;
    let said = rehearse(node, &["stage", CONFIG, FILE], 3)?;
    disagrees(&said, "cri-dead", "with the new files")
}

/// Checks that a failure of the rehearsal itself is reported as such, without a verdict.
fn failed_rehearsal_has_no_verdict(node: &Node) -> Result<(), Failed> {
    let script = |path: &str, text: &str| {
        node.write(path, format!("#!/bin/sh\n{text}\n"))?;
        shell(node, &format!("chmod 755 {path}"))
    };
    script("/noexec/program", "true")?;
    script("/usr/local/bin/slow", "exec sleep 60")?;
    script("/usr/local/bin/silent", "exit 7")?;
    for (program, words) in [
        (
            "/noexec/program",
            "systemd cannot execute `/noexec/program` in the sandbox",
        ),
        ("/usr/local/bin/slow", "gave no answer within 3 s"),
        ("/usr/local/bin/silent", "ended as `exit-code` (7) without an answer"),
    ] {
        let before = state(node)?;
        let ran = node.run(&[PROGRAM, "as", program])?;
        if ran.code != 1 || !ran.stderr.contains(words) {
            return Err(format!("{program}: {} {}{}", ran.code, ran.stdout, ran.stderr).into());
        }
        unchanged(node, &before, program)?;
    }
    // Started by hand, it would disconnect the node from its network.
    let ran = node.run(&[PROGRAM, "inside", "/root"])?;
    assert!(ran.code == 1 && ran.stderr.contains("not a sandbox"), "{}", ran.stderr);
    Ok(())
}

/// Checks that the next rehearsal removes what a killed one left, and keeps the files of other programs.
fn leftovers_are_removed(node: &Node) -> Result<(), Failed> {
    shell(
        node,
        "mkdir -p /run/mirrorshift/rehearsal-1-1/0; echo x > /run/mirrorshift/rehearsal-1-1/0/x; \
         echo y > /run/mirrorshift/other",
    )?;
    let ran = node.run(&[PROGRAM])?.ok()?;
    assert!(ran.stdout.contains("\"disagreements\": []"), "{}", ran.stdout);
    let left = node.run(&["ls", "/run/mirrorshift"])?.ok()?.stdout;
    assert_eq!(left, "other\n");
    shell(node, "rm -r /run/mirrorshift")
}

/// A containerd with another data folder: a sandbox that ignored it would wait for the lock of the running one. Its
/// restart runs the NRI plugin on releases with NRI enabled, which shows that the plugin works.
fn other_data_folder_is_followed(node: &Node, config: &[u8], two: bool) -> Result<(), Failed> {
    node.write(CONFIG, [b"root = \"/data/containerd\"\n", config].concat())?;
    shell(node, "systemctl restart containerd")?;
    node.wait_cri(CRI)?;
    assert_eq!(node.read(CANARY).is_ok(), two, "whether a restart runs NRI's plugins");
    // As on a node with systemd-resolved: in the sandbox the link has no target until one is created.
    shell(node, "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")?;
    let sung = node.read(CANARY).unwrap_or_default();
    let said = rehearse(node, &[], 0)?;
    assert_eq!(variants(&said), ["before", "after"]);
    assert_eq!(
        node.read(CANARY).unwrap_or_default(),
        sung,
        "an NRI plugin ran in a sandbox"
    );
    Ok(())
}

/// Rehearses, and checks that nothing on the node has changed.
fn rehearse(node: &Node, words: &[&str], code: i32) -> Result<Value, Failed> {
    let before = state(node)?;
    let command: Vec<&str> = [PROGRAM].iter().chain(words).copied().collect();
    let ran = node.run(&command)?;
    let said: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    if ran.code != code {
        let why = format!("{:#}{}", said["disagreements"], ran.stderr);
        return Err(format!("{words:?} ended with {}, not {code}: {why}", ran.code).into());
    }
    unchanged(node, &before, &format!("{words:?}"))?;
    assert!(
        !ran.stdout.contains(PASSWORD) && !ran.stderr.contains(PASSWORD),
        "{words:?}"
    );
    let journal = node.run(&["journalctl", "--no-pager", "--identifier=mirrorshift-rehearsal"])?;
    assert!(!journal.stdout.contains(PASSWORD), "{words:?}");
    Ok(said)
}

/// Everything that a rehearsal must not change, one line each: containerd and its containers, sockets under /run and
/// files in /etc with their inodes, mounts, routes, units, and the rehearsal's folder.
fn state(node: &Node) -> Result<BTreeSet<String>, Failed> {
    let looked = node
        .run(&[
            "sh",
            "-c",
            "find /run -type s -printf '%i %p\\n'; find /etc -printf '%i %m %s %T@ %p\\n'; cat /proc/1/mountinfo; \
             systemctl list-units --all --plain --no-legend 'mirrorshift-*'; \
             ls -d /run/mirrorshift 2>/dev/null; ip -4 -o route show table all",
        ])?
        .ok()?
        .stdout;
    assert!(looked.contains(" /run/containerd/containerd.sock\n"), "{looked}");
    let mut state: BTreeSet<String> = looked.lines().map(str::to_owned).collect();
    state.insert(node.show("containerd.service", "InvocationID")?);
    state.insert(format!("{:?}", node.pids()?));
    Ok(state)
}

/// Returns the lines that were added or removed.
fn unchanged(node: &Node, before: &BTreeSet<String>, after: &str) -> Result<(), Failed> {
    let now = state(node)?;
    let changed: Vec<&String> = before.symmetric_difference(&now).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!("after {after}: {changed:#?}").into())
}

fn variants(said: &Value) -> Vec<String> {
    let name = |variant: &Value| match &variant["variant"] {
        Value::String(name) => name.clone(),
        other => other.to_string(),
    };
    said["variants"].as_array().into_iter().flatten().map(name).collect()
}

/// Returns the hosts that were contacted for a registry's images with the files `variant`.
fn asked(said: &Value, variant: &str, registry: &str) -> Vec<String> {
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let texts = |value: &Value| {
        all(value)
            .iter()
            .filter_map(|text| Some(text.as_str()?.to_owned()))
            .collect()
    };
    all(&said["variants"])
        .iter()
        .filter(|one| one["variant"] == variant)
        .flat_map(|one| all(&one["asked"]))
        .find(|pull| pull["registry"] == registry)
        .map(|pull| texts(&pull["asked"]))
        .unwrap_or_default()
}

fn disagrees(said: &Value, id: &str, words: &str) -> Result<(), Failed> {
    let all = said["disagreements"].as_array().into_iter().flatten();
    let is_it = |one: &Value| one["id"] == id && one["said"].as_str().is_some_and(|text| text.contains(words));
    if all.clone().any(is_it) {
        return Ok(());
    }
    Err(format!("not `{id}` with `{words}`: {:#}", said["disagreements"]).into())
}

fn shell(node: &Node, script: &str) -> Result<(), Failed> {
    node.run(&["sh", "-c", script])?.ok()?;
    Ok(())
}
