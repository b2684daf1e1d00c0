//! The rehearsal of a change: the node's own containerd runs in a sandbox with the old files, with the new files, and
//! with every mixture that a crash can leave.
//!
//! [`Rehearsal::new`] copies the files of each set into a folder of /run. [`Rehearsal::run`] has systemd start one
//! sandbox after another. [`inside`](in_sandbox::inside) is the program in the sandbox: it redirects every address and
//! name to the sandbox itself, listens at every port, records the requests, and starts containerd.
//! [`mirrorshift_plan::rehearsal::compare`] judges the reports.
//!
//! A rehearsal writes nothing on the node except that folder. The running containerd is not touched: its sockets, its
//! data and the plugins of NRI are not visible in the sandbox.

/// The properties of the running daemon that the sandbox copies.
pub(crate) mod daemon_config;
/// Errors of a rehearsal.
pub(crate) mod error;
/// The program in the sandbox.
pub(crate) mod in_sandbox;
/// The ports at which containerd may contact a host.
pub(crate) mod ports;
/// Folders that a sandbox must not share with the running containerd.
pub(crate) mod private_paths;
/// The request to the program in the sandbox, and its response.
pub(crate) mod request;
/// The transient unit of a sandbox.
pub(crate) mod sandbox;
/// Copies of the files in /run.
pub(crate) mod staging;
/// The sets of files.
pub(crate) mod variants;

use crate::facts::node_facts::Facts;
use crate::files::root::{Root, split};
use crate::rehearsal::daemon_config::DaemonConfig;
use crate::rehearsal::error::RehearsalError;
use crate::rehearsal::private_paths::{ConfiguredPaths, is_below};
use crate::rehearsal::request::{REQUEST_FILE, RESPONSE_FILE, SandboxRequest, SandboxResponse, SandboxTimeouts};
use crate::rehearsal::sandbox::SandboxUnit;
use crate::rehearsal::staging::StagingDir;
use crate::runtime::deadline;
use crate::systemd::bus::Bus;
use crate::systemd::error::BusError;
use mirrorshift_containerd::{Config, Entry, Tree, read};
use mirrorshift_plan::rehearsal::{Probe, SandboxReport, Variant};
use mirrorshift_plan::{NodeFiles, Plan};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The usual folder of containerd's configuration.
const ETC: &str = "/etc/containerd";
/// The time that systemd has to start and end a sandbox, in addition to the sandbox's own time limit.
const SYSTEMD_OVERHEAD: Duration = Duration::from_secs(10);

/// A change whose files are copied and ready to be rehearsed. The copies are removed when the value is dropped.
#[derive(Debug)]
pub struct Rehearsal {
    id: String,
    program: String,
    times: SandboxTimeouts,
    sandboxes: Vec<(Variant, SandboxUnit)>,
    /// Dropped last, because the sandboxes use its files.
    _staging: StagingDir,
}

impl Rehearsal {
    /// Prepares the rehearsal of `plan`.
    ///
    /// # Assumptions
    ///
    /// - `facts` were observed on the same machine.
    /// - `node` has the files from which the plan was made.
    /// - `command` runs a program that calls [`inside`](in_sandbox::inside) with its last argument.
    ///
    /// # Errors
    ///
    /// A required fact about the running containerd is unavailable, or the files cannot be copied.
    pub fn new(
        root: &Root,
        facts: &Facts,
        node: &NodeFiles<'_>,
        plan: &Plan,
        probes: &[Probe],
        command: &[String],
        times: SandboxTimeouts,
    ) -> Result<Self, RehearsalError> {
        if !root.is_live() {
            return Err(RehearsalError::NotLive);
        }
        let after = files_after(node.tree, plan);
        let (old, new) = (config(node, node.tree), config(node, &after));
        let mut settings = ConfiguredPaths::default();
        let mut configs = BTreeSet::from([node.config.to_owned()]);
        for config in new.iter().chain(&old) {
            settings.read(&config.document);
            configs.extend(config.document.files.iter().map(|file| file.path.clone()));
        }
        let daemon = DaemonConfig::from_facts(facts, &settings)?;
        let private = settings.private(root, &daemon.root, &daemon.state, &daemon.address)?;
        let homes = staging::homes(root, ETC, &plan.steps)?;
        let program = command.first().cloned().unwrap_or_default();
        let visible = visible(root, &private, &homes, [&program, &daemon.program], node.tree);

        let id = format!("{}-{}", std::process::id(), deadline::now().as_nanos());
        let staging = StagingDir::create(&id)?;
        let mut sandboxes = Vec::new();
        for (at, (variant, steps)) in variants::variants(&plan.steps, &configs).into_iter().enumerate() {
            let folder = staging.create_folder(&at.to_string())?;
            let mut read_only = visible.clone();
            for (number, home) in homes.iter().enumerate() {
                let copy = folder.join(format!("files-{number}"));
                staging::copy(root, home, &copy, &steps)?;
                read_only.push((copy.display().to_string(), home.clone()));
            }
            let shared = staging.create_folder(&format!("{at}/shared"))?;
            // A mixture that a crash leaves must only serve. Its routes are not compared, because no plan describes
            // them.
            let has_pulls = !matches!(variant, Variant::Prefix(_));
            let request = SandboxRequest {
                variant,
                daemon: daemon.clone(),
                images: probes
                    .iter()
                    .filter(|_| has_pulls)
                    .map(|probe| probe.image.clone())
                    .collect(),
                ports: ports::ports(plan, probes, [node.tree, &after]),
                times,
            };
            let path = shared.join(REQUEST_FILE);
            let text = serde_json::to_vec(&request)
                .map_err(|error| RehearsalError::io("write", path.display().to_string())(error.into()))?;
            staging::write(&path, &text)?;
            let shared = shared.display().to_string();
            let mut command = command.to_vec();
            command.push(shared.clone());
            let sandbox = SandboxUnit {
                command,
                private: private.clone(),
                inaccessible: settings.inaccessible(),
                read_only,
                shared,
            };
            sandboxes.push((variant, sandbox));
        }
        Ok(Self {
            id,
            program,
            times,
            sandboxes,
            _staging: staging,
        })
    }

    /// Runs one sandbox for each set of files, beginning with the old files. A containerd that does not start is a
    /// report, not an error.
    ///
    /// # Errors
    ///
    /// A sandbox gave no answer. All sandboxes that were started have ended.
    pub fn run(self, bus: &Bus) -> Result<Vec<SandboxReport>, RehearsalError> {
        let mut reports = Vec::new();
        for (at, (variant, sandbox)) in self.sandboxes.into_iter().enumerate() {
            let unit = format!("mirrorshift-rehearsal-{}-{at}.service", self.id);
            let response = PathBuf::from(&sandbox.shared).join(RESPONSE_FILE);
            let properties = sandbox.properties(&self.times);
            match bus.start_transient(&unit, &properties, self.times.whole + SYSTEMD_OVERHEAD) {
                Ok(()) | Err(BusError::Job { .. } | BusError::ResultMissed { .. }) => {}
                Err(late @ BusError::Late { .. }) => {
                    // A failure to stop is not reported instead of the missed deadline; systemd ends the unit at its
                    // limit anyway.
                    bus.stop(&unit, SYSTEMD_OVERHEAD).ok();
                    return Err(late.into());
                }
                Err(error) => return Err(error.into()),
            }
            let ended = bus.exit_result(&unit)?;
            reports.push(read_response(
                variant,
                &response,
                &self.program,
                ended,
                self.times.whole,
            )?);
        }
        Ok(reports)
    }
}

/// Reads the response of a sandbox that has ended, or returns the reason why there is none.
fn read_response(
    variant: Variant,
    response: &Path,
    program: &str,
    (result, status): (String, u64),
    within: Duration,
) -> Result<SandboxReport, RehearsalError> {
    let text = fs::read(response).ok();
    match text.and_then(|text| serde_json::from_slice(&text).ok()) {
        Some(SandboxResponse::Report(report)) => Ok(*report),
        Some(SandboxResponse::Failed(message)) => Err(RehearsalError::Inside { variant, message }),
        None if result == "timeout" => Err(RehearsalError::Late { variant, within }),
        None if result == "exit-code" && status == 203 => Err(RehearsalError::NotExecutable(program.to_owned())),
        None if result == "exit-code" && (200..=243).contains(&status) => Err(RehearsalError::NoSandbox(status)),
        None => Err(RehearsalError::NoAnswer {
            variant,
            result,
            status,
        }),
    }
}

/// Returns the files that were read, as the plan changes them.
fn files_after(tree: &Tree, plan: &Plan) -> Tree {
    let mut tree = tree.clone();
    for step in &plan.steps {
        let entry = step.content.clone().map_or(Entry::Absent, Entry::File);
        let (folder, name) = split(&step.path);
        // A new drop-in must be in the listing of its folder, because an import pattern finds it there.
        if let (Some(Entry::Folder(names)), Entry::File(_)) = (tree.get(folder), &entry)
            && !names.iter().any(|other| other == name)
        {
            let mut names = names.clone();
            names.push(name.to_owned());
            names.sort();
            tree.insert(folder, Entry::Folder(names));
        }
        tree.insert(step.path.clone(), entry);
    }
    tree
}

fn config(node: &NodeFiles<'_>, tree: &Tree) -> Option<Config> {
    read(node.version, node.config, tree).outcome.ok()
}

/// Returns the files that the sandbox's empty folders would hide although it needs them: the two programs, and every
/// file that the configuration names. Each is paired with its path in the sandbox, which is the same.
fn visible(
    root: &Root,
    private: &[String],
    homes: &[String],
    programs: [&String; 2],
    tree: &Tree,
) -> Vec<(String, String)> {
    let read = tree.iter().filter_map(|(path, entry)| match entry {
        Entry::File(_) => Some(path),
        _ => None,
    });
    let mut paths: Vec<String> = programs
        .into_iter()
        .map(String::as_str)
        .chain(read)
        .filter(|path| private.iter().any(|folder| is_below(path, folder)))
        .filter(|path| !homes.iter().any(|home| is_below(path, home)))
        .filter(|path| split(path).0 != "/" && staging::exists(root, path))
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    paths.into_iter().map(|path| (path.clone(), path)).collect()
}
