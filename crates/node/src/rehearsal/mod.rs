//! A change before it is made: the node's own containerd, started in a sandbox with the old files, with the new ones and with
//! whatever a crash may leave in between.
//!
//! [`Rehearsal::new`] puts the files of each set in a folder of /run, [`Rehearsal::run`] has systemd start one sandbox after
//! the other, and [`inside`] is what runs in it: a network in which every address is the sandbox's own and every name leads
//! there, somebody on every port who writes down who was asked and has nothing, and containerd itself. What was heard is for
//! [`mirrorshift_plan::rehearsal::judge`].
//!
//! Nothing of the node is written but that folder, and nothing of the running containerd is touched: its sockets, its data and
//! NRI's plugins are out of the sandbox's reach.

/// The running daemon, as its double must be.
pub(crate) mod daemon_config;
/// Why it could not be done.
pub(crate) mod error;
/// What runs in the sandbox.
pub(crate) mod in_sandbox;
/// Where somebody may be asked.
pub(crate) mod ports;
/// Places that the two must not share.
pub(crate) mod private_paths;
/// What goes in and what comes out.
pub(crate) mod request;
/// What systemd makes of it.
pub(crate) mod sandbox;
/// Their copies in /run.
pub(crate) mod staging;
/// Sets of files.
pub(crate) mod variants;

use crate::facts::node_facts::Facts;
use crate::files::root::{Root, split};
use crate::rehearsal::daemon_config::DaemonConfig;
use crate::rehearsal::error::RehearsalError;
use crate::rehearsal::private_paths::{ConfiguredPaths, is_below};
use crate::rehearsal::request::{ANSWER, ORDER, SandboxRequest, SandboxResponse, SandboxTimeouts};
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
use std::path::PathBuf;
use std::time::Duration;

/// Where containerd's own files are by custom, and the rest of what they name.
const ETC: &str = "/etc/containerd";
/// What systemd's own work around the sandbox may take.
const AROUND: Duration = Duration::from_secs(10);

/// A change whose files are ready to be tried. Dropped, these copies are gone.
#[derive(Debug)]
pub struct Rehearsal {
    id: String,
    program: String,
    times: SandboxTimeouts,
    sandboxes: Vec<(Variant, SandboxUnit)>,
    /// Goes last.
    _stage: StagingDir,
}

impl Rehearsal {
    /// Makes ready what the rehearsal of `plan` needs. `facts` are of the same machine, and `node` holds the files that the
    /// plan was made from; `command` is the program with the words after which it calls [`inside`] with its last word. systemd
    /// must be able to execute it.
    ///
    /// # Errors
    ///
    /// When the running containerd is not known well enough to be rehearsed, or the copies cannot be made.
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
        let after = after(node.tree, plan);
        let (old, new) = (config(node, node.tree), config(node, &after));
        let mut settings = ConfiguredPaths::default();
        let mut configs = BTreeSet::from([node.config.to_owned()]);
        for config in new.iter().chain(&old) {
            settings.read(&config.document);
            configs.extend(config.document.files.iter().map(|file| file.path.clone()));
        }
        let subject = DaemonConfig::of(facts, &settings)?;
        let private = settings.private(root, &subject.root, &subject.state, &subject.address)?;
        let homes = staging::homes(root, ETC, &plan.steps)?;
        let program = command.first().cloned().unwrap_or_default();
        let visible = visible(root, &private, &homes, [&program, &subject.program], node.tree);

        let id = format!("{}-{}", std::process::id(), deadline::now().as_nanos());
        let stage = StagingDir::make(&id)?;
        let mut sandboxes = Vec::new();
        for (at, (variant, steps)) in variants::variants(&plan.steps, &configs).into_iter().enumerate() {
            let folder = stage.folder(&at.to_string())?;
            let mut read_only = visible.clone();
            for (number, home) in homes.iter().enumerate() {
                let copy = folder.join(format!("files-{number}"));
                staging::copy(root, home, &copy, &steps)?;
                read_only.push((copy.display().to_string(), home.clone()));
            }
            let shared = stage.folder(&format!("{at}/shared"))?;
            // What a crash leaves behind is to serve; who is asked then is nobody's plan.
            let asks = !matches!(variant, Variant::Prefix(_));
            let order = SandboxRequest {
                variant,
                program: subject.program.clone(),
                config: subject.config.clone(),
                root: subject.root.clone(),
                state: subject.state.clone(),
                address: subject.address.clone(),
                directory: subject.directory.clone(),
                environment: subject.environment.clone(),
                images: probes
                    .iter()
                    .filter(|_| asks)
                    .map(|probe| probe.image.clone())
                    .collect(),
                ports: ports::ports(plan, probes, [node.tree, &after]),
                times,
            };
            let path = shared.join(ORDER);
            let text = serde_json::to_vec(&order)
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
            _stage: stage,
        })
    }

    /// Tries each set of files, the old ones first. A containerd that does not come up is an answer, not an error.
    ///
    /// # Errors
    ///
    /// When a sandbox gave no answer. Those that were started have ended.
    pub fn run(self, bus: &Bus) -> Result<Vec<SandboxReport>, RehearsalError> {
        let mut heard = Vec::new();
        for (at, (variant, sandbox)) in self.sandboxes.into_iter().enumerate() {
            let unit = format!("mirrorshift-rehearsal-{}-{at}.service", self.id);
            let answer = PathBuf::from(&sandbox.shared).join(ANSWER);
            let properties = sandbox.properties(&self.times);
            match bus.start_transient(&unit, &properties, self.times.whole + AROUND) {
                Ok(()) | Err(BusError::Job { .. } | BusError::Unseen { .. }) => {}
                Err(late @ BusError::Late { .. }) => {
                    // What is told is that it was late; systemd ends it in any case.
                    bus.stop(&unit, AROUND).ok();
                    return Err(late.into());
                }
                Err(error) => return Err(error.into()),
            }
            let ended = bus.ended(&unit)?;
            heard.push(answered(variant, &answer, &self.program, ended, self.times.whole)?);
        }
        Ok(heard)
    }
}

/// What a sandbox left behind, or why it left nothing.
fn answered(
    variant: Variant,
    answer: &std::path::Path,
    program: &str,
    (result, status): (String, u64),
    within: Duration,
) -> Result<SandboxReport, RehearsalError> {
    let text = fs::read(answer).ok();
    match text.and_then(|text| serde_json::from_slice(&text).ok()) {
        Some(SandboxResponse::Heard(heard)) => Ok(*heard),
        Some(SandboxResponse::Failed(said)) => Err(RehearsalError::Inside { variant, said }),
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

/// The files as the plan leaves them, as far as they were read.
fn after(tree: &Tree, plan: &Plan) -> Tree {
    let mut tree = tree.clone();
    for step in &plan.steps {
        let entry = step.content.clone().map_or(Entry::Absent, Entry::File);
        let (folder, name) = split(&step.path);
        // A new drop-in is found by a pattern.
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

/// Files that would be hidden by the sandbox's own empty folders, and what is needed of them there: the programs, and what
/// the configuration names.
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
        .filter(|path| split(path).0 != "/" && staging::stands(root, path))
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    paths.into_iter().map(|path| (path.clone(), path)).collect()
}
