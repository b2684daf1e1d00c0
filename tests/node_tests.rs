//! Tests of the program on nodes, as an operator has it there: nodes with mirrors that are in use, and the checks of
//! a node after a change.

use crate::lab::node::{BASE, ContainerProcess, NODE_LINES, Workload};
use crate::lab::{Containerd, Host, Image, Node, NodeOptions, Nodes, RequestTarget, Scene, normalise};
use crate::skip::{all_skipped, skipped};
use crate::tool::{Ran, Tool};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

/// Longer than CRI has ever taken to become ready.
pub const CRI: Duration = Duration::from_secs(30);
/// The root file of containerd's configuration.
pub const CONFIG: &str = "/etc/containerd/config.toml";
/// The drop-in of [`NodeTestContext::two_files`].
pub const DROP_IN: &str = "/etc/containerd/conf.d/mirrors.toml";
/// The path of the program in a node.
pub const PROGRAM: &str = "/usr/local/bin/mirrorshift";
/// The unit that changes a node.
pub const UNIT: &str = "mirrorshift-change.service";

/// While this file exists, containerd does not start on a node of [`NodeTestContext::with_held_start`].
const HOLD: &str = "/run/hold";

/// Mirrors that are in use: of the wildcard and of one registry.
pub const MIRRORS: &str = r#"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."*"]
endpoint = ["http://mirror.test:5000"]

[plugins."io.containerd.grpc.v1.cri".registry.mirrors."quay.io"]
endpoint = ["http://10.0.20.10:5000"]
"#;

/// The release lines on which a test runs.
#[derive(Clone, Copy, Debug)]
pub enum ReleaseLines {
    All,
    Only(&'static [&'static str]),
}

/// The input of a test.
pub struct NodeTestContext {
    pub nodes: Arc<Nodes>,
    /// The containerd of its nodes.
    pub containerd: Containerd,
    pub program: Arc<PathBuf>,
}

/// The number of nodes that are tested at the same time. A node waits half of the time. With more nodes, two
/// processors would be too slow for tests that must act at a certain moment.
const AT_A_TIME: usize = 3;

/// A test: its name, its release lines, its function.
pub type NodeTest = (&'static str, ReleaseLines, fn(&NodeTestContext) -> Result<(), Failed>);

/// The main function of a test of the program on nodes. `helper` is the program `lab-run`.
#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
pub fn run_node_tests(helper: &str, test: &str, entries: &[NodeTest]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let nodes = match Nodes::open(helper) {
        Ok(nodes) => Arc::new(nodes),
        Err(why) => return all_skipped(test, &why.to_string()),
    };
    let program = match Tool::program().and_then(small) {
        Ok(program) => Arc::new(program),
        Err(error) => {
            eprintln!("the program cannot be built: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for &(name, on, run) in entries {
        for line in NODE_LINES {
            if matches!(on, ReleaseLines::Only(lines) if !lines.contains(&line)) {
                continue;
            }
            let name = format!("{test}::{line}::{name}");
            trials.push(match Nodes::containerd(line) {
                Ok(containerd) => {
                    let case = NodeTestContext {
                        nodes: Arc::clone(&nodes),
                        containerd,
                        program: Arc::clone(&program),
                    };
                    Trial::test(name, move || run(&case))
                }
                Err(why) => skipped(&name, &why.to_string()),
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Returns a copy of the program without debug information, because it is copied to every node and copies itself once
/// more.
pub fn small(program: &Path) -> io::Result<PathBuf> {
    let small = program.with_extension("small");
    let new = program.with_extension(format!("small-{}", std::process::id()));
    let ran = Command::new("strip").arg("-o").arg(&new).arg(program).status()?;
    if !ran.success() {
        return Err(io::Error::other("`strip` failed"));
    }
    std::fs::rename(new, &small)?;
    Ok(small)
}

impl NodeTestContext {
    /// Options for a node whose configuration has [`MIRRORS`], with the registries of both.
    pub fn legacy() -> NodeOptions {
        NodeOptions::new(MIRRORS).scene(Self::registries())
    }

    /// The registries around a node: upstreams, and the two mirrors of [`MIRRORS`].
    pub fn registries() -> Scene {
        Scene::upstreams()
            .with(Host::http("mirror.test:5000"))
            .with(Host::http("10.0.20.10:5000"))
    }

    /// Options for a node whose containerd does not start after [`TestNode::hold_start`].
    pub fn with_held_start() -> NodeOptions {
        let waits = format!("[Service]\nExecStartPre=/bin/sh -c 'while [ -e {HOLD} ]; do sleep 0.02; done'\n");
        Self::legacy().drop_in("containerd.service", "waits", &waits)
    }

    /// Options for a node with mirrors in the root file and in a drop-in. On 1.x the drop-in's table replaces that of
    /// the root file; on 2.x both are merged.
    pub fn two_files() -> NodeOptions {
        let files = TestNode::mirrors_in_two_files();
        let with = |options: NodeOptions, (path, text): &(&str, String)| options.file(path, text);
        files.iter().fold(Self::legacy(), with)
    }

    /// Boots a node with the program and a counting container.
    pub fn boot(&self, options: &NodeOptions) -> Result<TestNode, Failed> {
        let test_node = self.boot_bare(options)?;
        Ok(test_node.with_workload("counts")?)
    }

    /// Boots a node with the program and without a container, for a node whose CRI may not serve.
    pub fn boot_bare(&self, options: &NodeOptions) -> Result<TestNode, Failed> {
        let node = self.nodes.boot(&self.containerd, options)?;
        node.copy_in(&self.program, PROGRAM)?;
        let old = node.read(CONFIG)?;
        Ok(TestNode {
            node,
            old,
            pids: BTreeMap::new(),
            workload: None,
        })
    }
}

/// A node on which the program is tested.
pub struct TestNode {
    pub node: Node,
    /// The original contents of config.toml.
    pub old: Vec<u8>,
    /// The processes of its containers before the change.
    pub pids: BTreeMap<String, ContainerProcess>,
    /// The counting container.
    pub workload: Option<Workload>,
}

impl TestNode {
    /// Starts the counting container, once CRI is ready. The container of an earlier boot keeps its name.
    pub fn with_workload(mut self, name: &str) -> io::Result<Self> {
        self.start_workload(name)?;
        Ok(self)
    }

    /// Like [`TestNode::with_workload`], for a node that is borrowed.
    pub fn start_workload(&mut self, name: &str) -> io::Result<()> {
        self.node.wait_cri(CRI)?;
        let workload = self.node.start_workload(name)?;
        self.node.log_flows(&workload, 20, CRI)?;
        self.pids = self.node.pids()?;
        self.workload = Some(workload);
        Ok(())
    }

    /// Keeps containerd from starting on a node of [`NodeTestContext::with_held_start`], until [`TestNode::let_start`] or a
    /// reset. Until then a change that restarts it has not settled, however slow the test is.
    pub fn hold_start(&self) -> io::Result<()> {
        self.node.write(HOLD, "")
    }

    /// Ends [`TestNode::hold_start`].
    pub fn let_start(&self) -> Result<(), Failed> {
        self.node.run(&["rm", HOLD])?.ok()?;
        Ok(())
    }

    /// Waits until config.toml has new contents.
    pub fn wait_until_files_are_new(&self) -> io::Result<()> {
        self.node.until("the new files are never in force", CRI, || {
            Ok((self.node.read(CONFIG)? != self.old).then_some(()))
        })
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> io::Result<Ran> {
        self.node.run(&[&[PROGRAM], arguments].concat())
    }

    /// Runs `migrate --yes`, and fails unless its exit code is `code`. The error contains the output and the journal.
    pub fn migrate(&self, code: i32, more: &[&str]) -> Result<Ran, Failed> {
        let ran = self.run(&[&["migrate", "--yes"], more].concat())?;
        if ran.code == code {
            return Ok(ran);
        }
        let journal = self.node.run(&["journalctl", "-b", "-n", "60", "--no-pager"])?.stdout;
        Err(format!(
            "migrate ended with {} and not {code}\n{}{}\n{journal}",
            ran.code, ran.stdout, ran.stderr
        )
        .into())
    }

    /// Migrates and rolls back, so that the change request can be run again under `strace`.
    pub fn record_request(&self) -> Result<(), Failed> {
        self.migrate(0, &[])?;
        self.keep_request()?;
        self.run(&["rollback", "--yes"])?.ok()?;
        self.serves("after the first run")?;
        self.is_old("after the first run")
    }

    /// Keeps the change request of the last run.
    pub fn keep_request(&self) -> Result<(), Failed> {
        let keep = "cp /run/mirrorshift/$(cat /run/mirrorshift/last)/order.json /root/order.json";
        self.node.run(&["sh", "-ec", keep])?.ok()?;
        Ok(())
    }

    /// Runs the change request of [`TestNode::record_request`] again like its unit does, but under `strace` with these
    /// arguments. With `owned`, systemd undoes the change if it fails. `properties` are properties of the unit.
    /// Returns the run's name.
    pub fn traced(&self, arguments: &[&str], properties: &[&str], owned: bool) -> Result<String, Failed> {
        let run = format!(
            "traced-{}",
            self.node
                .run(&["cat", "/proc/sys/kernel/random/uuid"])?
                .ok()?
                .stdout
                .trim()
        );
        let mut order: serde_json::Value = serde_json::from_slice(&self.node.read("/root/order.json")?)?;
        order["id"] = run.clone().into();
        let folder = format!("/run/mirrorshift/{run}");
        self.node.run(&["mkdir", &folder])?.ok()?;
        self.node
            .write(&format!("{folder}/order.json"), serde_json::to_vec(&order)?)?;
        self.node.write("/run/mirrorshift/last", &run)?;
        let copy = "/var/lib/mirrorshift/bin/mirrorshift";
        let undo = format!("--property=ExecStopPost={copy} undo-unsettled {run}");
        let unit = format!("--unit={UNIT}");
        let mut own = vec!["systemd-run", &unit, "--property=KillSignal=SIGKILL"];
        if owned {
            own.extend(["--property=TimeoutStopSec=120", &undo]);
        }
        let properties: Vec<String> = properties.iter().map(|one| format!("--property={one}")).collect();
        let properties: Vec<&str> = properties.iter().map(String::as_str).collect();
        let trace = ["strace", "-f", "-qq", "-o", "/root/trace"];
        let command = [copy, "change", &run];
        self.node
            .run(&[&own[..], &properties, &trace, arguments, &command].concat())?
            .ok()?;
        Ok(run)
    }

    /// Waits until the unit of a change and its undo have ended, and resets the unit. Returns systemd's `Result` of
    /// the unit.
    pub fn wait_until_unit_ended(&self) -> Result<String, Failed> {
        self.node.until("the change does not end", CRI * 4, || {
            let state = self.node.show(UNIT, "ActiveState")?;
            Ok((state == "failed" || state == "inactive").then_some(()))
        })?;
        let result = self.node.show(UNIT, "Result")?;
        self.node.run(&["systemctl", "reset-failed", UNIT])?;
        Ok(result)
    }

    /// Waits for the end of a traced run, and returns the reported exit code.
    pub fn wait_for_traced_exit_code(&self, run: &str) -> Result<i64, Failed> {
        self.wait_until_unit_ended()?;
        self.reported_exit_code(run)
    }

    /// Returns the exit code that a run that has ended, or its undo, has reported.
    pub fn reported_exit_code(&self, run: &str) -> Result<i64, Failed> {
        let end = self.node.read(&format!("/run/mirrorshift/{run}/end.json"))?;
        let end: serde_json::Value = serde_json::from_slice(&end)?;
        Ok(end["exit"].as_i64().unwrap_or(-1))
    }

    /// Checks that CRI is ready, that the processes of all containers are the same, that the container that counts
    /// continues, and that no boot guard, unit or staged file is left.
    pub fn serves(&self, why: &str) -> Result<(), Failed> {
        self.node.wait_cri(CRI).map_err(|error| format!("{why}: {error}"))?;
        if self.node.pids()? != self.pids {
            return Err(format!("{why}: the processes of containers changed").into());
        }
        if let Some(workload) = &self.workload {
            self.node
                .log_flows(workload, 20, CRI)
                .map_err(|error| format!("{why}: {error}"))?;
        }
        self.nothing_is_left(why)
    }

    /// Checks that no boot guard is left.
    pub fn no_guard_is_left(&self, why: &str) -> Result<(), Failed> {
        let look = "ls -d /etc/systemd/system/mirrorshift* /etc/systemd/system/containerd.service.wants /run/mirrorshift-armed";
        self.wait_until_empty(&format!("{why}: a guard is left"), look)
    }

    /// Returns the last lines of the log of the change's unit.
    pub fn unit_log(&self) -> io::Result<String> {
        let words = ["journalctl", "-q", "-o", "cat", "-n", "30", "-u", "mirrorshift-change"];
        Ok(self.node.run(&words)?.stdout)
    }

    /// Waits until a script prints nothing.
    fn wait_until_empty(&self, why: &str, look: &str) -> Result<(), Failed> {
        let mut left = String::new();
        let gone = self.node.until("", CRI, || {
            left = self.node.run(&["sh", "-c", look])?.stdout;
            Ok(left.trim().is_empty().then_some(()))
        });
        gone.map_err(|error| format!("{why}: {error}\n{left}").into())
    }

    /// Checks that no boot guard, unit or staged file is left. The package's unit is not part of a change.
    pub fn nothing_is_left(&self, why: &str) -> Result<(), Failed> {
        let look = "ls -d /etc/systemd/system/mirrorshift* /etc/systemd/system/containerd.service.wants 2>/dev/null; \
            ls -A /etc/containerd | grep '[.]new$'; \
            systemctl list-units --all --no-legend 'mirrorshift*' | grep -v 'mirrorshift-migrate[.]'";
        self.wait_until_empty(&format!("{why}: something of a change is left"), look)
    }

    /// Checks that config.toml is the original file.
    pub fn is_old(&self, why: &str) -> Result<(), Failed> {
        let now = self.node.read(CONFIG)?;
        if now == self.old {
            return Ok(());
        }
        Err(format!("{why}: config.toml is\n{}", String::from_utf8_lossy(&now)).into())
    }

    /// Checks that config.toml has `config_path` and no mirrors.
    pub fn is_new(&self, why: &str) -> Result<(), Failed> {
        let now = String::from_utf8_lossy(&self.node.read(CONFIG)?).into_owned();
        if now.contains("config_path") && !now.contains("mirrors") {
            return Ok(());
        }
        Err(format!("{why}: config.toml is\n{now}").into())
    }

    /// Returns the phase in the journal, as `status` prints it.
    pub fn phase(&self) -> Result<String, Failed> {
        let ran = self.run(&["status", "--output", "json"])?;
        let document: serde_json::Value = serde_json::from_str(&ran.stdout)?;
        Ok(document["phase"].as_str().unwrap_or_default().to_owned())
    }

    /// Pulls an image that the node does not have, and returns the requests for its manifest.
    pub fn asked(&mut self, image: &str) -> Result<Vec<String>, Failed> {
        let (pulled, requests) = self.node.pull(&Image::new(image))?;
        pulled?;
        let asks = normalise(&requests);
        let asked = asks.get(&(image.to_owned(), RequestTarget::Tag("1".into())));
        Ok(asked.into_iter().flatten().map(ToString::to_string).collect())
    }

    /// Returns [`MIRRORS`] split into the root file and a drop-in.
    pub fn mirrors_in_two_files() -> [(&'static str, String); 2] {
        let (wildcard, named) = MIRRORS.split_at(MIRRORS.rfind("[plugins").unwrap_or(0));
        let root = format!("imports = [\"{DROP_IN}\"]\n{}", Self::config(wildcard));
        [(CONFIG, root), (DROP_IN, Self::config(named))]
    }

    /// Returns a configuration that has these tables after the settings that every node needs.
    pub fn config(tables: &str) -> String {
        format!("{BASE}{tables}")
    }
}
