//! The program on whole nodes, as an operator has it there: a node with live mirrors, and what must hold of it afterwards.

use crate::lab::node::{BASE, NODE_LINES, Process, Workload};
use crate::lab::{Containerd, Host, Image, Node, NodeOptions, Nodes, Scene, Thing, normalise};
use crate::skip::{all_skipped, skipped};
use crate::tool::{Ran, Tool};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

/// Longer than CRI has ever taken.
pub const CRI: Duration = Duration::from_secs(30);
/// The root of containerd's configuration.
pub const CONFIG: &str = "/etc/containerd/config.toml";
/// The drop-in of [`Case::two_files`].
pub const DROP_IN: &str = "/etc/containerd/conf.d/mirrors.toml";
/// Where the program is.
pub const PROGRAM: &str = "/usr/local/bin/mirrorshift";
/// The unit that it changes a node in.
pub const UNIT: &str = "mirrorshift-change.service";

/// While it is there, a containerd of [`Case::that_waits`] does not start.
const HOLD: &str = "/run/hold";

/// Live mirrors: of a wildcard and of one registry.
pub const MIRRORS: &str = r#"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."*"]
endpoint = ["http://mirror.test:5000"]

[plugins."io.containerd.grpc.v1.cri".registry.mirrors."quay.io"]
endpoint = ["http://10.0.20.10:5000"]
"#;

/// On which releases a trial runs.
#[derive(Clone, Copy, Debug)]
pub enum On {
    /// All of them.
    Every,
    /// These release lines.
    Only(&'static [&'static str]),
}

/// What a trial gets.
pub struct Case {
    /// Boots nodes.
    pub nodes: Arc<Nodes>,
    /// Theirs.
    pub containerd: Containerd,
    /// The program under test.
    pub program: Arc<PathBuf>,
}

/// How many nodes are tried at a time. Half of the time a node waits, and more would have two processors be late for moments that
/// trials want to meet.
const AT_A_TIME: usize = 3;

/// A trial: its name, its releases, what it does.
pub type Entry = (&'static str, On, fn(&Case) -> Result<(), Failed>);

/// The main function of a test of the program on nodes. `helper` is the program `lab-run`.
#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
pub fn on_live_nodes(helper: &str, test: &str, entries: &[Entry]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let nodes = match Nodes::open(helper) {
        Ok(nodes) => Arc::new(nodes),
        Err(why) => return all_skipped(test, &why.to_string()),
    };
    let program = match Tool::program().and_then(small) {
        Ok(program) => Arc::new(program),
        Err(error) => {
            eprintln!("there is no program to try: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for &(name, on, run) in entries {
        for line in NODE_LINES {
            if matches!(on, On::Only(lines) if !lines.contains(&line)) {
                continue;
            }
            let name = format!("{test}::{line}::{name}");
            trials.push(match Nodes::containerd(line) {
                Ok(containerd) => {
                    let case = Case {
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

/// The program without what only a debugger reads: it is copied into every node, and once more by itself.
///
/// # Errors
///
/// When it cannot be made.
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

impl Case {
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

    /// Options for a node whose containerd does not start while [`Live::hold_start`] says so.
    pub fn that_waits() -> NodeOptions {
        let waits = format!("[Service]\nExecStartPre=/bin/sh -c 'while [ -e {HOLD} ]; do sleep 0.02; done'\n");
        Self::legacy().drop_in("containerd.service", "waits", &waits)
    }

    /// Options for a node with mirrors in the root file and in a drop-in: on 1.x the drop-in's count as a whole, on 2.x both
    /// are merged.
    pub fn two_files() -> NodeOptions {
        let files = Live::in_two_files();
        let with = |options: NodeOptions, (path, text): &(&str, String)| options.file(path, text);
        files.iter().fold(Self::legacy(), with)
    }

    /// Boots a node with the program on it and a container that counts.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn boot(&self, options: &NodeOptions) -> Result<Live, Failed> {
        let live = self.boot_bare(options)?;
        Ok(live.with_workload("counts")?)
    }

    /// The same without a container: one whose CRI may be dead.
    ///
    /// # Errors
    ///
    /// When it does not boot.
    pub fn boot_bare(&self, options: &NodeOptions) -> Result<Live, Failed> {
        let node = self.nodes.boot(&self.containerd, options)?;
        node.copy_in(&self.program, PROGRAM)?;
        let old = node.read(CONFIG)?;
        Ok(Live {
            node,
            old,
            pids: BTreeMap::new(),
            workload: None,
        })
    }
}

/// A node that the program is tried on.
pub struct Live {
    /// The node.
    pub node: Node,
    /// Its config.toml before.
    pub old: Vec<u8>,
    /// The processes of its containers before.
    pub pids: BTreeMap<String, Process>,
    /// The container that counts.
    pub workload: Option<Workload>,
}

impl Live {
    /// Starts the container that counts, once CRI is ready. One of an earlier boot keeps its name.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn with_workload(mut self, name: &str) -> io::Result<Self> {
        self.start_workload(name)?;
        Ok(self)
    }

    /// The same for one that is in use.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_workload(&mut self, name: &str) -> io::Result<()> {
        self.node.wait_cri(CRI)?;
        let workload = self.node.start_workload(name)?;
        self.node.log_flows(&workload, 20, CRI)?;
        self.pids = self.node.pids()?;
        self.workload = Some(workload);
        Ok(())
    }

    /// Lets no containerd start on a node of [`Case::that_waits`], until [`Live::let_start`] or a reset: so long a change that
    /// restarts it has not settled, however late a trial comes.
    ///
    /// # Errors
    ///
    /// When that cannot be said.
    pub fn hold_start(&self) -> io::Result<()> {
        self.node.write(HOLD, "")
    }

    /// The end of [`Live::hold_start`].
    ///
    /// # Errors
    ///
    /// When that cannot be said.
    pub fn let_start(&self) -> Result<(), Failed> {
        self.node.run(&["rm", HOLD])?.ok()?;
        Ok(())
    }

    /// Waits until config.toml has its new bytes.
    ///
    /// # Errors
    ///
    /// When it gets none.
    pub fn until_in_force(&self) -> io::Result<()> {
        self.node.until("the new files are never in force", CRI, || {
            Ok((self.node.read(CONFIG)? != self.old).then_some(()))
        })
    }

    /// Runs the program.
    ///
    /// # Errors
    ///
    /// When it cannot be run at all.
    pub fn run(&self, arguments: &[&str]) -> io::Result<Ran> {
        self.node.run(&[&[PROGRAM], arguments].concat())
    }

    /// Runs `migrate --yes`, and fails unless it ends with `code`.
    ///
    /// # Errors
    ///
    /// With all that was written.
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

    /// Migrates once and goes back, so that there is an order to run again under a tracer.
    ///
    /// # Errors
    ///
    /// When either fails.
    pub fn learn_order(&self) -> Result<(), Failed> {
        self.migrate(0, &[])?;
        self.keep_order()?;
        self.run(&["rollback", "--yes"])?.ok()?;
        self.serves("learnt the order")?;
        self.is_old("learnt the order")
    }

    /// Keeps the order of the last run.
    ///
    /// # Errors
    ///
    /// When there was none.
    pub fn keep_order(&self) -> Result<(), Failed> {
        let keep = "cp /run/mirrorshift/$(cat /run/mirrorshift/last)/order.json /root/order.json";
        self.node.run(&["sh", "-ec", keep])?.ok()?;
        Ok(())
    }

    /// Starts the change of [`Live::learn_order`] again, as its unit is started, but under `strace` with these arguments, and
    /// `owned` by systemd or not; `properties` are of the unit. The run's name.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
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

    /// Waits until the unit of a change and whoever undoes it have ended, and forgets the unit; how it ended, in systemd's
    /// word.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn over(&self) -> Result<String, Failed> {
        self.node.until("the change does not end", CRI * 4, || {
            let state = self.node.show(UNIT, "ActiveState")?;
            Ok((state == "failed" || state == "inactive").then_some(()))
        })?;
        let result = self.node.show(UNIT, "Result")?;
        self.node.run(&["systemctl", "reset-failed", UNIT])?;
        Ok(result)
    }

    /// The same for a traced one; the exit code that was told.
    ///
    /// # Errors
    ///
    /// When it does not end, or tells nothing.
    pub fn traced_end(&self, run: &str) -> Result<i64, Failed> {
        self.over()?;
        self.told(run)
    }

    /// The exit code that a run that is over has told, or whoever came after it.
    ///
    /// # Errors
    ///
    /// When nothing was told.
    pub fn told(&self, run: &str) -> Result<i64, Failed> {
        let end = self.node.read(&format!("/run/mirrorshift/{run}/end.json"))?;
        let end: serde_json::Value = serde_json::from_slice(&end)?;
        Ok(end["exit"].as_i64().unwrap_or(-1))
    }

    /// CRI is ready, the processes of all containers are the same, the counting one goes on, no guard and no unit is left,
    /// and no copy beside config.toml.
    ///
    /// # Errors
    ///
    /// With what is not so.
    pub fn serves(&self, why: &str) -> Result<(), Failed> {
        self.node.wait_cri(CRI).map_err(|error| format!("{why}: {error}"))?;
        if self.node.pids()? != self.pids {
            return Err(format!("{why}: containers have other processes").into());
        }
        if let Some(workload) = &self.workload {
            self.node
                .log_flows(workload, 20, CRI)
                .map_err(|error| format!("{why}: {error}"))?;
        }
        self.nothing_is_left(why)
    }

    /// No guard is left.
    ///
    /// # Errors
    ///
    /// When it stays.
    pub fn no_guard_is_left(&self, why: &str) -> Result<(), Failed> {
        let look = "ls -d /etc/systemd/system/mirrorshift* /etc/systemd/system/containerd.service.wants /run/mirrorshift-armed";
        self.gone(&format!("{why}: a guard is left"), look)
    }

    /// The last words of the change's unit.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn words(&self) -> io::Result<String> {
        let words = ["journalctl", "-q", "-o", "cat", "-n", "30", "-u", "mirrorshift-change"];
        Ok(self.node.run(&words)?.stdout)
    }

    /// Waits until a script that looks for something prints nothing.
    fn gone(&self, why: &str, look: &str) -> Result<(), Failed> {
        let mut left = String::new();
        let gone = self.node.until("", CRI, || {
            left = self.node.run(&["sh", "-c", look])?.stdout;
            Ok(left.trim().is_empty().then_some(()))
        });
        gone.map_err(|error| format!("{why}: {error}\n{left}").into())
    }

    /// No guard and no unit is left, and no copy beside config.toml. The package's unit is no part of a change.
    ///
    /// # Errors
    ///
    /// With what is left.
    pub fn nothing_is_left(&self, why: &str) -> Result<(), Failed> {
        let look = "ls -d /etc/systemd/system/mirrorshift* /etc/systemd/system/containerd.service.wants 2>/dev/null; \
            ls -A /etc/containerd | grep '[.]new$'; \
            systemctl list-units --all --no-legend 'mirrorshift*' | grep -v 'mirrorshift-migrate[.]'";
        self.gone(&format!("{why}: something of a change is left"), look)
    }

    /// config.toml holds its old bytes, exactly.
    ///
    /// # Errors
    ///
    /// With what it holds.
    pub fn is_old(&self, why: &str) -> Result<(), Failed> {
        let now = self.node.read(CONFIG)?;
        if now == self.old {
            return Ok(());
        }
        Err(format!("{why}: config.toml is\n{}", String::from_utf8_lossy(&now)).into())
    }

    /// config.toml has `config_path` and no mirrors.
    ///
    /// # Errors
    ///
    /// With what it holds.
    pub fn is_new(&self, why: &str) -> Result<(), Failed> {
        let now = String::from_utf8_lossy(&self.node.read(CONFIG)?).into_owned();
        if now.contains("config_path") && !now.contains("mirrors") {
            return Ok(());
        }
        Err(format!("{why}: config.toml is\n{now}").into())
    }

    /// The phase in the journal, as `status` has it.
    ///
    /// # Errors
    ///
    /// When `status` fails.
    pub fn phase(&self) -> Result<String, Failed> {
        let ran = self.run(&["status", "--output", "json"])?;
        let document: serde_json::Value = serde_json::from_str(&ran.stdout)?;
        Ok(document["phase"].as_str().unwrap_or_default().to_owned())
    }

    /// Who is asked for the manifest of an image that the node does not have.
    ///
    /// # Errors
    ///
    /// When it cannot be pulled.
    pub fn asked(&mut self, image: &str) -> Result<Vec<String>, Failed> {
        let (pulled, requests) = self.node.pull(&Image::new(image))?;
        pulled?;
        let asks = normalise(&requests);
        let asked = asks.get(&(image.to_owned(), Thing::Tag("1".into())));
        Ok(asked.into_iter().flatten().map(ToString::to_string).collect())
    }

    /// [`MIRRORS`] in the root file and in a drop-in.
    pub fn in_two_files() -> [(&'static str, String); 2] {
        let (wildcard, named) = MIRRORS.split_at(MIRRORS.rfind("[plugins").unwrap_or(0));
        let root = format!("imports = [\"{DROP_IN}\"]\n{}", Self::config(wildcard));
        [(CONFIG, root), (DROP_IN, Self::config(named))]
    }

    /// A configuration of a node, with these tables after what every node needs.
    pub fn config(tables: &str) -> String {
        format!("{BASE}{tables}")
    }
}
