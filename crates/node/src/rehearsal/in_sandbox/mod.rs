//! What runs in the sandbox: it makes a network that leads nowhere else, starts containerd, asks it, and writes down what it
//! did.

/// containerd, as a child.
pub(crate) mod daemon;
/// Names, all of which lead to one address.
pub(crate) mod names;
/// Routes by which every address is the sandbox's own.
pub(crate) mod network;
/// CRI's call for an image.
pub(crate) mod pull;
/// What a client says first.
pub(crate) mod sniff;
/// Somebody at every port, who has nothing.
pub(crate) mod stubs;

use crate::rehearsal::in_sandbox::daemon::SandboxDaemon;
use crate::rehearsal::in_sandbox::stubs::Stubs;
use crate::rehearsal::request::{ANSWER, ORDER, SandboxRequest, SandboxResponse};
use mirrorshift_plan::rehearsal::{Effective, SandboxReport};
use std::fs;
use std::io::{
    Write, {self},
};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Why nothing could be written down.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// Called by hand, it would cut the machine off its network.
    #[error("this is not a sandbox of systemd's: it shares the {0} of the machine")]
    NotASandbox(&'static str),
    /// The folder that it was called with holds no order, or takes no answer.
    #[error("cannot {action} in `{folder}`")]
    Folder {
        /// A verb.
        action: &'static str,
        /// The folder.
        folder: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Does what the order in `folder` says, and leaves the answer there. Only for a unit that a
/// [`Rehearsal`](crate::rehearsal::Rehearsal) has started: its network is made to lead nowhere.
///
/// # Errors
///
/// When it is called anywhere else, or finds no order. All else is an answer.
pub fn inside(folder: &Path) -> Result<(), InsideError> {
    for (namespace, what) in [("net", "network"), ("mnt", "mounts")] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}"));
        // Whoever cannot tell is not the root of a sandbox either.
        if !matches!((of("self"), of("1")), (Ok(own), Ok(machine)) if own != machine) {
            return Err(InsideError::NotASandbox(what));
        }
    }
    let failed = |action| {
        let folder = folder.display().to_string();
        move |source| InsideError::Folder { action, folder, source }
    };
    let text = fs::read(folder.join(ORDER)).map_err(failed("read an order"))?;
    let order: SandboxRequest = serde_json::from_slice(&text).map_err(|error| failed("read an order")(error.into()))?;
    let answer = match carry_out(&order) {
        Ok(heard) => SandboxResponse::Heard(Box::new(heard)),
        Err(error) => SandboxResponse::Failed(error.to_string()),
    };
    let text = serde_json::to_vec(&answer).map_err(|error| failed("write an answer")(error.into()))?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(folder.join(ANSWER))
        .and_then(|mut file| file.write_all(&text))
        .map_err(failed("write an answer"))
}

/// Something that could not be made ready.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
struct NotReady {
    action: &'static str,
    source: io::Error,
}

fn not_ready<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> NotReady {
    move |source| NotReady {
        action,
        source: source.into(),
    }
}

fn carry_out(order: &SandboxRequest) -> Result<SandboxReport, NotReady> {
    let began = Instant::now();
    network::route_all_to_loopback().map_err(not_ready("make every address the sandbox's own"))?;
    names::resolve_all_to_loopback().map_err(not_ready("give every name an address"))?;
    let effective = daemon::dump(order)
        .map_err(not_ready("run `containerd config dump`"))?
        .and_then(|dump| Effective::read(&dump).map_err(|error| error.to_string()));
    let mut daemon = SandboxDaemon::start(order).map_err(not_ready("start containerd"))?;
    let up = daemon.wait(order.times.start);
    let mut pulls = Vec::new();
    if up.cri {
        // Later than containerd, which may want one of these ports for itself.
        let stubs = Stubs::start(&order.ports).map_err(not_ready("listen at the ports of the registries"))?;
        for image in &order.images {
            pulls.push(pull::pull(&order.address, image, order.times.pull, &stubs));
        }
    }
    daemon.end();
    Ok(SandboxReport {
        variant: order.variant,
        plugins: up.plugins,
        cri: up.cri,
        silent: up.silent,
        effective,
        pulls,
        took_ms: milliseconds(began.elapsed()),
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
