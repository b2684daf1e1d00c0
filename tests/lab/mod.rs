//! The lab: real containerds that pull from registries that record every request.
//!
//! A [`Round`] is a node's files and the images to pull. The rounds of one [`Scene`] run in one set of namespaces,
//! each with a containerd that starts with an empty disk. `compare(&rounds[0], &rounds[1])` shows the difference
//! between before and after. `tests/lab/prepare` installs the containerds; registries, names, certificates and file
//! systems belong to the lab. The lab never changes the machine's `/etc`, `/run`, `/var` or network, and contacts no
//! host outside.

pub mod cluster; // Kubernetes clusters
pub mod containerd; // the containerds in the cache
pub mod content; // the images that registries serve
mod cri; // CRI requests
pub mod inside; // the part that runs in namespaces
pub mod machine; // virtual machines, whose power can be cut
pub mod node; // nodes: containers with systemd and containerd
pub mod normalise; // the comparison of recorded requests
pub mod pki; // authorities and certificates
pub mod scene; // jobs and reports as values

use std::collections::BTreeSet;
use std::io::{
    Write, {self},
};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub use self::cluster::{Cluster, ClusterOptions, Clusters, ControlOptions, ControlPlane, ControlPlanes};
pub use self::containerd::{Containerd, LINES, cache};
pub use self::content::{by_digest, repository};
pub use self::cri::Ready;
pub use self::machine::{CutOff, Ended, Frozen, MachineOptions, VirtualMachine, VirtualMachines};
pub use self::node::{Node, NodeOptions, Nodes};
pub use self::normalise::{RequestSummary, RequestTarget, RequestsByTarget, compare, normalise};
pub use self::pki::Pki;
pub use self::scene::{
    Behaviour, Boot, Cert, Files, Front, Guard, Host, Http, Image, Login, Pull, Request, Round, RoundReport, Scene,
    What, Wire,
};

/// The number of tasks that run at the same time. On a small machine, more would make starts so slow that they look
/// like failures.
const AT_A_TIME: usize = 3;

/// The reason why the lab cannot run here. A test is then reported as skipped, never as passed.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// Namespaces and mounts need root.
    #[error("not root")]
    Root,
    /// A program of iproute2 or util-linux is missing.
    #[error("`{0}` is not installed")]
    Program(&'static str),
    /// The system does not allow namespaces, as in many containers.
    #[error("no namespaces here: {0}")]
    Namespaces(String),
    /// The system does not allow a container with an init, as in many nested containers.
    #[error("no nodes here: {0}")]
    Nspawn(String),
    /// `tests/lab/prepare` was not run, or could not build the root.
    #[error("no root file system for nodes at `{0}` (`tests/lab/prepare` builds it)")]
    NodeRoot(PathBuf),
    /// The files of earlier machines cannot be removed.
    #[error("no virtual machines here: {0}")]
    Machine(String),
    /// `tests/lab/prepare` was not run, or could not build the image.
    #[error("no image of virtual machines at `{0}` (`tests/lab/prepare` builds it)")]
    MachineImage(PathBuf),
    /// The cache is older than the lab's nodes.
    #[error("`{0}` is missing (`tests/lab/prepare` installs it)")]
    Part(PathBuf),
    /// `tests/lab/prepare` was not run, or could not install this release.
    #[error("no containerd {line} in `{cache}` (`tests/lab/prepare` installs it)")]
    Containerd {
        line: String,
        /// The cache folder that was searched.
        cache: PathBuf,
    },
}

/// A failure of the lab. A failure of containerd is part of the report instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two images of one repository in a round.
    #[error("`{0}` is pulled twice in one round, and its blobs would be fetched once")]
    Repository(String),
    /// The certificates could not be created.
    #[error("cannot make certificates")]
    Pki(#[from] rcgen::Error),
    /// `lab-run` could not be started, or its pipes failed.
    #[error("cannot talk to `lab-run`")]
    Io(#[from] io::Error),
    /// The output of `lab-run` is not a report.
    #[error("the answer of `lab-run` is not a report")]
    Report(#[from] serde_json::Error),
    /// `lab-run` ended with an error.
    #[error("`lab-run` failed: {0}")]
    Inside(String),
}

/// A job: one containerd, one scene, and rounds with different files.
#[derive(Clone, Debug)]
pub struct Job {
    pub containerd: Containerd,
    /// The registries around the node.
    pub scene: Scene,
    /// The node's files and pulls. Each round starts with an empty disk.
    pub rounds: Vec<Round>,
}

/// The ability to run jobs on this machine.
#[derive(Debug)]
pub struct Lab {
    helper: PathBuf,
    pki: Pki,
}

impl Lab {
    /// Creates a lab with new certificates. `helper` is the program `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a
    /// test.
    pub fn open(helper: impl Into<PathBuf>) -> Result<Self, Missing> {
        if !rustix::process::geteuid().is_root() {
            return Err(Missing::Root);
        }
        installed(&["ip", "unshare"])?;
        let tried = namespaced("true")
            .output()
            .map_err(|error| Missing::Namespaces(error.to_string()))?;
        if !tried.status.success() {
            return Err(Missing::Namespaces(
                String::from_utf8_lossy(&tried.stderr).trim().into(),
            ));
        }
        let pki = Pki::generate().map_err(|error| Missing::Namespaces(error.to_string()))?;
        Ok(Self {
            helper: helper.into(),
            pki,
        })
    }

    /// The certificates that files may refer to; see [`Pki::fill`].
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Runs a job, and returns a report for each round in order. An error is a failure of the lab, never of
    /// containerd.
    pub fn run(&self, job: &Job) -> Result<Vec<RoundReport>, Error> {
        for round in &job.rounds {
            let mut seen = BTreeSet::new();
            if let Some(twice) = round
                .images
                .iter()
                .map(|image| repository(&image.reference))
                .find(|name| !seen.insert(name.clone()))
            {
                return Err(Error::Repository(twice));
            }
        }
        let mut rounds = job.rounds.clone();
        for bytes in rounds.iter_mut().flat_map(|round| round.files.values_mut()) {
            *bytes = self.pki.fill(bytes);
        }
        let task = scene::Task {
            program: job.containerd.program.clone(),
            pki: self.pki.clone(),
            scene: job.scene.clone(),
            rounds,
        };
        let mut child = namespaced(&self.helper)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // `lab-run` reads all of its task before it writes, so the two cannot block each other.
            stdin.write_all(&serde_json::to_vec(&task)?)?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(Error::Inside(String::from_utf8_lossy(&output.stderr).trim().into()));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs many jobs, several at the same time. The results are in the order of the jobs.
    pub fn run_all(&self, jobs: &[Job]) -> Vec<Result<Vec<RoundReport>, Error>> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME.min(jobs.len()) {
                scope.spawn(|| {
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(job) = jobs.get(i) else { break };
                        let result = self.run(job);
                        results
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .push((i, result));
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.sort_by_key(|(i, _)| *i);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Starts a containerd with each set of files, without a pull. The results are in the order of the sets; a set
    /// that the lab cannot run has the error in its place.
    pub fn boots(&self, containerd: &Containerd, sets: &[Files]) -> Vec<Result<Boot, Error>> {
        let jobs: Vec<Job> = sets
            .iter()
            .map(|files| Job {
                containerd: containerd.clone(),
                scene: Scene::default(),
                rounds: vec![Round {
                    files: files.clone(),
                    images: Vec::new(),
                }],
            })
            .collect();
        let first = |reports: Vec<RoundReport>| {
            reports
                .into_iter()
                .next()
                .map(|report| report.boot)
                .ok_or_else(|| Error::Inside("no report".into()))
        };
        self.run_all(&jobs)
            .into_iter()
            .map(|result| result.and_then(first))
            .collect()
    }
}

/// Checks that these programs are in the system's folders.
fn installed(programs: &[&'static str]) -> Result<(), Missing> {
    let there = |program: &str| {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|dir| Path::new(dir).join(program).exists())
    };
    match programs.iter().find(|program| !there(program)) {
        None => Ok(()),
        Some(program) => Err(Missing::Program(program)),
    }
}

/// A command in new mount, network and process namespaces. The program is the first process of its namespace, so
/// whatever it started ends with it.
fn namespaced(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
        "--",
    ]);
    command.arg(program);
    command
}
