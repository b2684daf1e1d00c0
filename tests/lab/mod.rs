//! The lab: real containerds that pull from registries that write down who asked them for what.
//!
//! A [`Round`] is a node's files and images to pull; rounds of one [`Scene`] run in one set of namespaces, each with a
//! containerd that starts from an empty disk. `before == after` is `compare(&rounds[0], &rounds[1])`. The containerds
//! come from `tests/lab/prepare`; registries, names, certificates and file systems are the lab's own. It never touches
//! the machine's `/etc`, `/run`, `/var` or network, and asks nothing of the outside.

pub mod cluster; // a whole Kubernetes
pub mod containerd; // which containerds the cache holds
pub mod content; // the images that registries serve
mod cri; // CRI's calls
pub mod inside; // the part that runs in namespaces
pub mod machine; // whole systems with a kernel, whose power can be cut
pub mod node; // whole systems with containerd in them
pub mod normalise; // what of the requests counts
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
pub use self::machine::{CutOff, Ended, Frozen, Machine, MachineOptions, Machines};
pub use self::node::{Node, NodeOptions, Nodes};
pub use self::normalise::{Asked, Asks, Thing, compare, normalise};
pub use self::pki::Pki;
pub use self::scene::{
    Behaviour, Boot, Cert, Files, Front, Guard, Host, Http, Image, Login, Pull, Request, Round, RoundReport, Scene,
    What, Wire,
};

/// How many tasks run at a time: more than the processors of a small machine would make starts slow enough to look like
/// failures.
const AT_A_TIME: usize = 3;

/// Why the lab cannot run here. For a test this is a reason to say that it was skipped, never to pass.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// Namespaces and mounts need it.
    #[error("not root")]
    Root,
    /// A program of iproute2 or util-linux.
    #[error("`{0}` is not installed")]
    Program(&'static str),
    /// The system forbids it, as containers often do.
    #[error("no namespaces here: {0}")]
    Namespaces(String),
    /// A container with an init, as containers in containers often are.
    #[error("no nodes here: {0}")]
    Nspawn(String),
    /// `tests/lab/prepare` was not run, or could not make it.
    #[error("no root for nodes at `{0}` (`tests/lab/prepare` makes it)")]
    NodeRoot(PathBuf),
    /// Files of earlier machines, which cannot be removed.
    #[error("no machines here: {0}")]
    Machine(String),
    /// `tests/lab/prepare` was not run, or could not make it.
    #[error("no machine at `{0}` (`tests/lab/prepare` makes it)")]
    MachineImage(PathBuf),
    /// The cache is from before nodes.
    #[error("`{0}` is missing (`tests/lab/prepare` fetches it)")]
    Part(PathBuf),
    /// `tests/lab/prepare` was not run, or could not get this one.
    #[error("no containerd {line} in `{cache}` (`tests/lab/prepare` fetches it)")]
    Containerd {
        /// The release line.
        line: String,
        /// The cache folder that was searched.
        cache: PathBuf,
    },
}

/// Why a run tells nothing: the lab's own failures. What containerd does wrong is in the report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two images of one repository in a round.
    #[error("`{0}` is pulled twice in one round, and its blobs would be fetched once")]
    Repository(String),
    /// The certificates could not be made.
    #[error("cannot make certificates")]
    Pki(#[from] rcgen::Error),
    /// The program in the namespaces could not be started or spoken to.
    #[error("cannot talk to `lab-run`")]
    Io(#[from] io::Error),
    /// What it says is no report.
    #[error("`lab-run` answers something that is no report")]
    Report(#[from] serde_json::Error),
    /// It ended with an error of its own.
    #[error("`lab-run` failed: {0}")]
    Inside(String),
}

/// What to run: one containerd, one scene, and rounds that differ by their files.
#[derive(Clone, Debug)]
pub struct Job {
    /// The containerd.
    pub containerd: Containerd,
    /// The world around the node.
    pub scene: Scene,
    /// The node's files and pulls, each time on an empty disk.
    pub rounds: Vec<Round>,
}

/// A lab that can run here.
#[derive(Debug)]
pub struct Lab {
    helper: PathBuf,
    pki: Pki,
}

impl Lab {
    /// A lab with fresh certificates. `helper` is the program `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a test.
    ///
    /// # Errors
    ///
    /// With the reason why nothing can run here.
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

    /// The certificates that files may name; see [`Pki::fill`].
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Runs a job: a report for each round, in order.
    ///
    /// # Errors
    ///
    /// When the lab fails, never for what containerd does.
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
            // It reads all of its task before it writes anything, so this cannot wait for each other.
            stdin.write_all(&serde_json::to_vec(&task)?)?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(Error::Inside(String::from_utf8_lossy(&output.stderr).trim().into()));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs many jobs, some at a time. Results are in the order of the jobs.
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

    /// How a containerd takes each of several sets of files, without a pull. Results are in the order of the sets.
    ///
    /// # Errors
    ///
    /// A set that the lab itself cannot run has the error in its own place.
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

/// Whether these programs are where a system has them.
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

/// A program in mount, network and process namespaces of its own. It is the first process of its namespace, so whatever
/// it started ends with it.
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
