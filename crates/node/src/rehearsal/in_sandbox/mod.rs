//! The program in the sandbox: it redirects all addresses and names to the sandbox itself, starts containerd, queries
//! it, and writes down what it observed.

/// containerd as a child process.
pub(crate) mod daemon;
/// Name resolution: every name has one address.
pub(crate) mod names;
/// Routes: every address belongs to the sandbox.
pub(crate) mod network;
/// Pulls an image through CRI.
pub(crate) mod pull;
/// Recognises a request by the first bytes of a connection.
pub(crate) mod sniff;
/// Servers at every port, which record requests and have no images.
pub(crate) mod stubs;

use crate::rehearsal::in_sandbox::daemon::SandboxDaemon;
use crate::rehearsal::in_sandbox::stubs::Stubs;
use crate::rehearsal::request::{REQUEST_FILE, RESPONSE_FILE, SandboxRequest, SandboxResponse};
use mirrorshift_plan::rehearsal::{Effective, SandboxReport};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The reason why the program in the sandbox could not write a response.
#[derive(Debug, thiserror::Error)]
pub enum InSandboxError {
    /// The caller is not in a sandbox. Outside of one, the redirection would cut the machine off its network.
    #[error("this is not a sandbox of systemd: it shares the {0} of the machine")]
    NotASandbox(&'static str),
    /// The folder has no request, or the response cannot be written to it.
    #[error("cannot {action} in `{folder}`")]
    Folder {
        /// The operation, as a verb.
        action: &'static str,
        /// The path of the folder.
        folder: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Carries out the request in `folder`, and writes the response there.
///
/// # Assumptions
///
/// The caller runs in a unit that a [`Rehearsal`](crate::rehearsal::Rehearsal) has started. The network of that unit is
/// redirected to itself.
///
/// # Errors
///
/// The caller runs elsewhere, or the folder has no request. Every other failure is a response.
pub fn run_in_sandbox(folder: &Path) -> Result<(), InSandboxError> {
    for (namespace, what) in [("net", "network"), ("mnt", "mounts")] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}"));
        // An unreadable namespace counts as shared, because root in a sandbox can read both.
        if !matches!((of("self"), of("1")), (Ok(own), Ok(machine)) if own != machine) {
            return Err(InSandboxError::NotASandbox(what));
        }
    }
    let failed = |action| {
        let folder = folder.display().to_string();
        move |source| InSandboxError::Folder { action, folder, source }
    };
    let text = fs::read(folder.join(REQUEST_FILE)).map_err(failed("read a request"))?;
    let request: SandboxRequest =
        serde_json::from_slice(&text).map_err(|error| failed("read a request")(error.into()))?;
    let response = match carry_out(&request) {
        Ok(report) => SandboxResponse::Report(Box::new(report)),
        Err(error) => SandboxResponse::Failed(error.to_string()),
    };
    let text = serde_json::to_vec(&response).map_err(|error| failed("write a response")(error.into()))?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(folder.join(RESPONSE_FILE))
        .and_then(|mut file| file.write_all(&text))
        .map_err(failed("write a response"))
}

/// A part of the sandbox that could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
struct SetupError {
    action: &'static str,
    source: io::Error,
}

fn setup_error<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> SetupError {
    move |source| SetupError {
        action,
        source: source.into(),
    }
}

fn carry_out(request: &SandboxRequest) -> Result<SandboxReport, SetupError> {
    let start = Instant::now();
    network::route_all_to_loopback().map_err(setup_error("route every address to the sandbox"))?;
    names::resolve_all_to_loopback().map_err(setup_error("give every name an address"))?;
    let effective = daemon::dump(&request.daemon)
        .map_err(setup_error("run `containerd config dump`"))?
        .and_then(|dump| Effective::read(&dump).map_err(|error| error.to_string()));
    let mut daemon = SandboxDaemon::start(&request.daemon).map_err(setup_error("start containerd"))?;
    let startup = daemon.wait(request.times.start);
    let mut pulls = Vec::new();
    if startup.cri {
        // The stubs start after containerd, which may need one of these ports for itself.
        let stubs = Stubs::start(&request.ports).map_err(setup_error("listen at the ports of the registries"))?;
        for image in &request.images {
            pulls.push(pull::pull(&request.daemon.address, image, request.times.pull, &stubs));
        }
    }
    daemon.end();
    Ok(SandboxReport {
        variant: request.variant,
        plugins: startup.plugins,
        cri: startup.cri,
        silent: startup.silent,
        effective,
        pulls,
        took_ms: milliseconds(start.elapsed()),
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
