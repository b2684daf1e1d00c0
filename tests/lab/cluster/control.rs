//! The control plane: a real etcd and a real kube-apiserver, with the controllers and the scheduler where they are asked for.

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
use super::site::{Process, Site};
use crate::lab::node::{Folder, clean, until};
use crate::lab::scene::Front;
use crate::lab::{Lab, Missing, installed};
use crate::tool::Ran;

/// How long a part may take until it answers. The API server takes 3 s on an idle machine.
const READY: Duration = Duration::from_mins(2);
/// Between two looks.
const STEP: Duration = Duration::from_millis(50);

/// A lab that can run control planes here.
#[derive(Clone, Debug)]
pub struct ControlPlanes {
    helper: PathBuf,
    pub(super) programs: Programs,
}

/// What a control plane has beside etcd and the API server.
#[derive(Clone, Debug, Default)]
pub struct ControlOptions {
    /// The controllers: without them a namespace has no service account `default`, nothing is collected as garbage and no
    /// `DaemonSet` makes pods.
    pub controllers: bool,
    /// The scheduler.
    pub scheduler: bool,
    /// Further flags of the API server; of two with one name the last counts.
    pub api_flags: Vec<String>,
}

/// A part of it, each a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Where all is kept.
    Etcd,
    /// kube-apiserver, with RBAC, admission and audit.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
}

/// A control plane that is up, in a network of its own. Dropped, it ends and leaves nothing.
///
/// Everybody but pods finds the API server at [`ControlPlane::server`], always. Pods find it by the address of its service,
/// and between the two stands what [`ControlPlane::front`] says.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they must end.
    pub(super) running: BTreeMap<Part, Process>,
    pub(super) site: Site,
    pub(super) keys: Keys,
    pub(super) programs: Programs,
    options: ControlOptions,
}

impl ControlPlanes {
    /// `helper` is the program `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a test. Ends what earlier tests have left.
    ///
    /// # Errors
    ///
    /// With the reason why no control plane can run.
    pub fn open(helper: impl Into<PathBuf>) -> Result<Self, Missing> {
        let helper = helper.into();
        Lab::open(&helper)?;
        installed(&["nsenter", "timeout"])?;
        let programs = Programs::find()?;
        clean().map_err(|error| Missing::Namespaces(error.to_string()))?;
        Ok(Self { helper, programs })
    }

    /// A control plane with nothing in it yet; the API server is ready.
    ///
    /// # Errors
    ///
    /// When a part does not come up; its last words are in the message.
    pub fn up(&self, options: &ControlOptions) -> io::Result<ControlPlane> {
        self.among(options, 0)
    }

    /// The same with addresses for so many registries.
    pub(super) fn among(&self, options: &ControlOptions, registries: u8) -> io::Result<ControlPlane> {
        let folder = Folder::make("cluster")?;
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
        // The API server waits for etcd by itself.
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
    /// Starts a part that is not running. etcd and the API server answer when this returns, and controllers work.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(&mut self, part: Part) -> io::Result<()> {
        self.spawn(part)?;
        let what = format!("{part:?} is not ready");
        let answered = until(&what, (STEP, READY), || {
            if let Some(Err(ended)) = self.running.get_mut(&part).map(Process::lives) {
                return Ok(Some(Err(ended)));
            }
            Ok(self.answers(part)?.then_some(Ok(())))
        });
        answered?
    }

    /// Ends a part at once, as a crash does. What it had stored is there when it is started again.
    pub fn stop(&mut self, part: Part) {
        self.running.remove(&part);
    }

    /// Holds a part as it is: it takes connections and says nothing.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn freeze(&self, part: Part) -> io::Result<()> {
        self.process(part)?.signal(Signal::STOP)
    }

    /// Lets a part that was frozen go on.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn thaw(&self, part: Part) -> io::Result<()> {
        self.process(part)?.signal(Signal::CONT)
    }

    /// The number of a part's process in the machine.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn pid(&self, part: Part) -> io::Result<u32> {
        Ok(self.process(part)?.pid())
    }

    /// What the API server is like to pods from now on. Connections to it by the address of its service are cut off. How many
    /// requests the front has answered by itself since the last turn.
    ///
    /// # Errors
    ///
    /// When the lab does not answer.
    pub fn front(&mut self, front: Front) -> io::Result<u64> {
        self.site.front(front)
    }

    /// Runs kubectl as an administrator, for at most three minutes.
    ///
    /// # Errors
    ///
    /// When it cannot be run at all. How it ended is in the answer; 124 is for one that took too long.
    pub fn kubectl(&self, arguments: &[&str]) -> io::Result<Ran> {
        self.kubectl_with(arguments, "")
    }

    /// The same with this on its standard input: `apply -f -`.
    ///
    /// # Errors
    ///
    /// As [`ControlPlane::kubectl`].
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> io::Result<Ran> {
        let config = format!("--kubeconfig={}", self.kubeconfig().display());
        self.call_kubectl(&[&config], arguments, input)
    }

    /// Runs kubectl as whoever has this token, by the address that pods use.
    ///
    /// # Errors
    ///
    /// As [`ControlPlane::kubectl`].
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

    /// Applies a folder, by kustomize where it has a kustomization, or a file.
    ///
    /// # Errors
    ///
    /// With what kubectl says when something is refused.
    pub fn apply(&self, path: &Path) -> io::Result<Ran> {
        let kind = if path.join("kustomization.yaml").exists() {
            "-k"
        } else {
            "-f"
        };
        let path = path
            .to_str()
            .ok_or_else(|| io::Error::other("a path that is no text"))?;
        self.kubectl(&["apply", kind, path])?.ok()
    }

    /// Applies what a text says.
    ///
    /// # Errors
    ///
    /// With what kubectl says when something is refused.
    pub fn apply_text(&self, manifests: &str) -> io::Result<Ran> {
        self.kubectl_with(&["apply", "-f", "-"], manifests)?.ok()
    }

    /// An administrator's kubeconfig, with all in it. It is of use in the cluster's network alone: see
    /// [`ControlPlane::inside`] and [`ControlPlane::command`].
    pub fn kubeconfig(&self) -> PathBuf {
        self.keys.path("admin")
    }

    /// The API server's URL.
    pub fn server(&self) -> String {
        network::api_server()
    }

    /// The certificate of the authority that the API server's certificate is of, PEM.
    pub fn authority(&self) -> &str {
        self.keys.authority()
    }

    /// Calls a function in a thread whose network is the cluster's, as that of every thread is which this one starts: a client
    /// of the API server works there as it would on a machine of the cluster.
    ///
    /// # Errors
    ///
    /// When the network cannot be entered.
    pub fn inside<T: Send>(&self, call: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.site.inside(call)
    }

    /// A program of the machine that runs in the cluster's network. Whoever starts it has to end it.
    pub fn command(&self, program: &Path) -> Command {
        self.site.command(program)
    }

    /// What the API server was asked for.
    pub fn audit(&self) -> Audit {
        Audit {
            path: self.site.path("audit.log"),
        }
    }

    /// The cluster's folder in the cache. `log` in it has what each part wrote.
    pub fn folder(&self) -> PathBuf {
        self.site.path("")
    }

    /// The cluster's control groups, one in each hierarchy. Those of nodes are not below them.
    pub fn cgroups(&self) -> &[PathBuf] {
        self.site.cgroups()
    }

    fn process(&self, part: Part) -> io::Result<&Process> {
        let running = self.running.get(&part);
        running.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, format!("{part:?} is not running")))
    }

    fn call_kubectl(&self, who: &[&str], arguments: &[&str], input: &str) -> io::Result<Ran> {
        // What it has found out of the API is not the next cluster's, nor the user's.
        let cache = format!("--cache-dir={}", self.site.path("kubectl").display());
        let arguments: Vec<&str> = who.iter().chain(&[cache.as_str()]).chain(arguments).copied().collect();
        self.site.run(&self.programs.kubectl, &arguments, input)
    }

    fn answers(&self, part: Part) -> io::Result<bool> {
        let listens = |address, port| {
            self.inside(|| TcpStream::connect_timeout(&SocketAddr::from((address, port)), STEP).is_ok())
        };
        match part {
            Part::Etcd => listens(Ipv4Addr::LOCALHOST, 2379),
            // kubectl costs more than a look at the port.
            Part::ApiServer => Ok(listens(network::PLANE, network::API_PORT)?
                && self.kubectl(&["get", "--raw=/readyz", "--request-timeout=5s"])?.code == 0),
            // It gives up when the API server goes away before it has begun, so it is seen to have begun.
            Part::ControllerManager => {
                let made = ["wait", "serviceaccount/default", "--for=create", "--timeout=10s"];
                Ok(self.kubectl(&made)?.code == 0)
            }
            // It has patience.
            Part::Scheduler => Ok(true),
        }
    }

    fn spawn(&mut self, part: Part) -> io::Result<()> {
        if self.running.contains_key(&part) {
            return Err(io::Error::other(format!("{part:?} is running already")));
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
        // No crash of the machine is to be outlived.
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
            // An event is in the log before its request is answered, and in one file however many there are.
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

    /// A program that is alone, so need not be elected.
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
