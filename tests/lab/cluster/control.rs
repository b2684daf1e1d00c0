//! The control plane: a real etcd and a real kube-apiserver, and optionally the controllers and the scheduler.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use rustix::process::Signal;

use super::audit::{
    Audit, {self},
};
use super::keys::Keys;
use super::network;
use super::programs::Programs;
use super::site::{ClusterProcess, Site};
use crate::lab::node::{LabFolder, clean, until};
use crate::lab::scene::Front;
use crate::lab::{Lab, Missing, installed};
use crate::tool::Ran;

/// Time limit for a component to answer. The API server takes 3 s on an idle machine.
const READY: Duration = Duration::from_mins(2);
/// The pause between two checks.
const STEP: Duration = Duration::from_millis(50);

/// The ability to run control planes on this machine.
#[derive(Clone, Debug)]
pub struct ControlPlanes {
    helper: PathBuf,
    pub(super) programs: Programs,
}

/// Options of a control plane. etcd and the API server always run.
#[derive(Clone, Debug, Default)]
pub struct ControlOptions {
    /// Runs kube-controller-manager. Without it a namespace has no service account `default`, garbage is not
    /// collected and no `DaemonSet` creates pods.
    pub controllers: bool,
    /// Runs kube-scheduler.
    pub scheduler: bool,
    /// Further flags of the API server; the last of two flags with the same name takes effect.
    pub api_flags: Vec<String>,
}

/// A component of the control plane; each is a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Etcd,
    /// kube-apiserver, with RBAC, admission and audit.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
}

/// A running control plane in its own network. When it is dropped, its processes end and its files are removed.
///
/// All clients except pods reach the API server at [`ControlPlane::server`], always. Pods reach it at the address of
/// its service, behind a proxy whose behaviour [`ControlPlane::front`] sets.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they must end.
    pub(super) running: BTreeMap<Part, ClusterProcess>,
    pub(super) site: Site,
    pub(super) keys: Keys,
    pub(super) programs: Programs,
    options: ControlOptions,
}

impl ControlPlanes {
    /// Checks that control planes can run here, and ends those that earlier tests left behind. `helper` is the
    /// program `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a test.
    pub fn open(helper: impl Into<PathBuf>) -> Result<Self, Missing> {
        let helper = helper.into();
        Lab::open(&helper)?;
        installed(&["nsenter", "timeout"])?;
        let programs = Programs::find()?;
        clean().map_err(|error| Missing::Namespaces(error.to_string()))?;
        Ok(Self { helper, programs })
    }

    /// Starts an empty control plane, and returns when the API server is ready. An error contains the last output of
    /// the component that failed.
    pub fn up(&self, options: &ControlOptions) -> io::Result<ControlPlane> {
        self.among(options, 0)
    }

    /// Like [`ControlPlanes::up`], with addresses for this number of registries.
    pub(super) fn among(&self, options: &ControlOptions, registries: u8) -> io::Result<ControlPlane> {
        let folder = LabFolder::make("cluster")?;
        let keys = Keys::make(folder.path.join("keys"))?;
        fs::write(folder.path.join("audit.yaml"), audit::POLICY)?;
        let front = keys.server(&[&network::SERVICE.to_string(), "kubernetes.default.svc"])?;
        let mut plane = ControlPlane {
            running: BTreeMap::new(),
            site: Site::make(&self.helper, folder, front, registries)?,
            keys,
            programs: self.programs.clone(),
            options: options.clone(),
        };
        // etcd and the API server start together, because the API server waits for etcd.
        plane.spawn(Part::Etcd)?;
        plane.start(Part::ApiServer)?;
        for (part, wanted) in [
            (Part::Scheduler, options.scheduler),
            (Part::ControllerManager, options.controllers),
        ] {
            if wanted {
                plane.start(part)?;
            }
        }
        Ok(plane)
    }
}

impl ControlPlane {
    /// Starts a component that is not running, and waits until it serves requests.
    pub fn start(&mut self, part: Part) -> io::Result<()> {
        self.spawn(part)?;
        let what = format!("{part:?} is not ready");
        let answered = until(&what, (STEP, READY), || {
            if let Some(Err(ended)) = self.running.get_mut(&part).map(ClusterProcess::lives) {
                return Ok(Some(Err(ended)));
            }
            Ok(self.answers(part)?.then_some(Ok(())))
        });
        answered?
    }

    /// Kills a component, as a crash does. Its data stay.
    pub fn stop(&mut self, part: Part) {
        self.running.remove(&part);
    }

    /// Stops a component with `SIGSTOP`: it accepts connections and never answers.
    pub fn freeze(&self, part: Part) -> io::Result<()> {
        self.process(part)?.signal(Signal::STOP)
    }

    /// Continues a component that was frozen.
    pub fn thaw(&self, part: Part) -> io::Result<()> {
        self.process(part)?.signal(Signal::CONT)
    }

    /// The process id of a component, as the test's machine sees it.
    pub fn pid(&self, part: Part) -> io::Result<u32> {
        Ok(self.process(part)?.pid())
    }

    /// Changes how the API server behaves towards pods, and closes their connections. Returns the number of requests
    /// that the proxy has answered itself since the last change.
    pub fn front(&mut self, front: Front) -> io::Result<u64> {
        self.site.front(front)
    }

    /// Runs kubectl as an administrator, for at most three minutes. The exit code is 124 after a timeout.
    pub fn kubectl(&self, arguments: &[&str]) -> io::Result<Ran> {
        self.kubectl_with(arguments, "")
    }

    /// Like [`ControlPlane::kubectl`], with text on standard input, as for `apply -f -`.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> io::Result<Ran> {
        let config = format!("--kubeconfig={}", self.kubeconfig().display());
        self.call_kubectl(&[&config], arguments, input)
    }

    /// Runs kubectl with this token, at the address that pods use.
    pub fn kubectl_by(&self, token: &str, arguments: &[&str], input: &str) -> io::Result<Ran> {
        let server = format!("--server=https://{}", network::SERVICE);
        let authority = format!("--certificate-authority={}", self.keys.path("ca.crt").display());
        let token = format!("--token={token}");
        self.call_kubectl(
            &["--kubeconfig=/dev/null", &server, &authority, &token],
            arguments,
            input,
        )
    }

    /// Applies a file or a folder, with kustomize if the folder has a kustomization.
    pub fn apply(&self, path: &Path) -> io::Result<Ran> {
        let kind = if path.join("kustomization.yaml").exists() {
            "-k"
        } else {
            "-f"
        };
        let path = path.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
        self.kubectl(&["apply", kind, path])?.ok()
    }

    /// Applies manifests that are given as text.
    pub fn apply_text(&self, manifests: &str) -> io::Result<Ran> {
        self.kubectl_with(&["apply", "-f", "-"], manifests)?.ok()
    }

    /// An administrator's kubeconfig with embedded certificates. It works only in the cluster's network: see
    /// [`ControlPlane::inside`] and [`ControlPlane::command`].
    pub fn kubeconfig(&self) -> PathBuf {
        self.keys.path("admin")
    }

    pub fn server(&self) -> String {
        network::api_server()
    }

    /// The PEM certificate of the authority that signed the API server's certificate.
    pub fn authority(&self) -> &str {
        self.keys.authority()
    }

    /// Calls a function in a thread that is in the cluster's network, as are all threads that it starts. So a client
    /// of the API server works there as on a machine of the cluster.
    pub fn inside<T: Send>(&self, call: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.site.inside(call)
    }

    /// A command that runs in the cluster's network. The caller must end it.
    pub fn command(&self, program: &Path) -> Command {
        self.site.command(program)
    }

    pub fn audit(&self) -> Audit {
        Audit {
            path: self.site.path("audit.log"),
        }
    }

    /// The cluster's folder in the cache. Its subfolder `log` has the output of each component.
    pub fn folder(&self) -> PathBuf {
        self.site.path("")
    }

    /// The cluster's control groups, one per hierarchy. Those of nodes are not under them.
    pub fn cgroups(&self) -> &[PathBuf] {
        self.site.cgroups()
    }

    fn process(&self, part: Part) -> io::Result<&ClusterProcess> {
        let running = self.running.get(&part);
        running.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, format!("{part:?} is not running")))
    }

    fn call_kubectl(&self, credentials: &[&str], arguments: &[&str], input: &str) -> io::Result<Ran> {
        // The discovery cache must not be shared with another cluster or with the user.
        let cache = format!("--cache-dir={}", self.site.path("kubectl").display());
        let arguments: Vec<&str> = credentials
            .iter()
            .chain(&[cache.as_str()])
            .chain(arguments)
            .copied()
            .collect();
        self.site.run(&self.programs.kubectl, &arguments, input)
    }

    fn answers(&self, part: Part) -> io::Result<bool> {
        let listens = |address, port| {
            self.inside(|| TcpStream::connect_timeout(&SocketAddr::from((address, port)), STEP).is_ok())
        };
        match part {
            Part::Etcd => listens(Ipv4Addr::LOCALHOST, 2379),
            // kubectl costs more than a check of the port.
            Part::ApiServer => Ok(listens(network::PLANE, network::API_PORT)?
                && self.kubectl(&["get", "--raw=/readyz", "--request-timeout=5s"])?.code == 0),
            // The controller manager gives up when the API server stops before it has started, so its start is
            // checked.
            Part::ControllerManager => {
                let made = ["wait", "serviceaccount/default", "--for=create", "--timeout=10s"];
                Ok(self.kubectl(&made)?.code == 0)
            }
            // The scheduler retries.
            Part::Scheduler => Ok(true),
        }
    }

    fn spawn(&mut self, part: Part) -> io::Result<()> {
        if self.running.contains_key(&part) {
            return Err(io::Error::other(format!("{part:?} is already running")));
        }
        let (name, command) = match part {
            Part::Etcd => ("etcd", self.etcd()),
            Part::ApiServer => ("kube-apiserver", self.api_server()),
            Part::ControllerManager => ("kube-controller-manager", self.controller_manager()),
            Part::Scheduler => (
                "kube-scheduler",
                self.client_of_it(&self.programs.scheduler, "scheduler"),
            ),
        };
        let process = self.site.start(name, &command)?;
        self.running.insert(part, process);
        Ok(())
    }

    fn etcd(&self) -> Command {
        let mut etcd = Command::new(&self.programs.etcd);
        etcd.arg("--data-dir").arg(self.site.path("etcd"));
        etcd.args(["--log-level=warn", "--initial-cluster=default=http://127.0.0.1:2380"]);
        // The data need not survive a crash of the test's machine.
        etcd.arg("--unsafe-no-fsync");
        for (flags, port) in [
            (["--listen-client-urls", "--advertise-client-urls"], 2379),
            (["--listen-peer-urls", "--initial-advertise-peer-urls"], 2380),
        ] {
            for flag in flags {
                etcd.arg(format!("{flag}=http://127.0.0.1:{port}"));
            }
        }
        etcd
    }

    fn api_server(&self) -> Command {
        let key = |file: &str| self.keys.path(file).display().to_string();
        let own = |file: &str| self.site.path(file).display().to_string();
        let mut server = Command::new(&self.programs.api_server);
        for (flag, value) in [
            ("etcd-servers", "http://127.0.0.1:2379".to_owned()),
            ("advertise-address", network::PLANE.to_string()),
            ("secure-port", network::API_PORT.to_string()),
            ("service-cluster-ip-range", network::SERVICES.into()),
            ("tls-cert-file", key("api-server.crt")),
            ("tls-private-key-file", key("api-server.key")),
            ("client-ca-file", key("ca.crt")),
            ("kubelet-client-certificate", key("to-kubelets.crt")),
            ("kubelet-client-key", key("to-kubelets.key")),
            ("kubelet-preferred-address-types", "InternalIP".into()),
            ("service-account-issuer", "https://kubernetes.default.svc".into()),
            ("service-account-key-file", key("accounts.crt")),
            ("service-account-signing-key-file", key("accounts.key")),
            ("authorization-mode", "Node,RBAC".into()),
            ("enable-admission-plugins", "NodeRestriction".into()),
            ("allow-privileged", "true".into()),
            ("audit-policy-file", own("audit.yaml")),
            ("audit-log-path", own("audit.log")),
            // With these settings an event is in the log before its request is answered, and always in the same file.
            ("audit-log-mode", "blocking-strict".into()),
            ("audit-log-maxsize", "4000".into()),
            ("cert-dir", own("certs")),
        ] {
            server.arg(format!("--{flag}={value}"));
        }
        server.args(&self.options.api_flags);
        server
    }

    fn controller_manager(&self) -> Command {
        let mut manager = self.client_of_it(&self.programs.controller_manager, "controller-manager");
        let key = |file: &str| self.keys.path(file).display().to_string();
        manager.arg("--use-service-account-credentials");
        manager.arg(format!("--service-account-private-key-file={}", key("accounts.key")));
        manager.arg(format!("--root-ca-file={}", key("ca.crt")));
        manager
    }

    /// A component that has no replica, so that it needs no leader election.
    fn client_of_it(&self, program: &Path, name: &str) -> Command {
        let mut client = Command::new(program);
        let config = self.keys.path(name).display().to_string();
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            client.arg(format!("--{flag}={config}"));
        }
        client.arg(format!("--cert-dir={}", self.site.path("certs").display()));
        client.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        client
    }
}
