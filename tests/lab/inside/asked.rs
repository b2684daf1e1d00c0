//! Sends CRI requests from inside a virtual machine, because its socket is not reachable from outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use serde::Serialize;
use tonic::Status;

use crate::lab::cri::{Cri, Sandbox};
use crate::lab::node::{ContainerProcess, IMAGE};

/// Time limit for CRI's `Status`.
const STATUS: Duration = Duration::from_secs(10);
/// Time limit for everything else, on an emulated processor.
const WHOLE: Duration = Duration::from_secs(100);

/// Prints CRI's status.
pub(super) fn status(socket: &str) -> io::Result<()> {
    print(&ask(socket, STATUS, async |cri| to_io_result(cri.status().await))?)
}

/// Prints the main process of every running sandbox and container, by id.
pub(super) fn pids(socket: &str) -> io::Result<()> {
    let pids = ask(socket, WHOLE, async |cri| {
        let mut pids = BTreeMap::new();
        for id in to_io_result(cri.sandboxes().await)? {
            let one = to_io_result(cri.sandbox_status(&id).await)?;
            if one.state == 0 {
                pids.insert(id, process(one.pid)?);
            }
        }
        for id in to_io_result(cri.containers().await)? {
            let one = to_io_result(cri.container_status(&id).await)?;
            if one.state == 1 {
                pids.insert(id, process(one.pid)?);
            }
        }
        Ok(pids)
    })?;
    print(&pids)
}

/// Starts a sandbox in the machine's host network, and a container in it that waits until it is stopped. The image
/// must be present.
pub(super) fn workload(socket: &str, name: &str) -> io::Result<()> {
    let logs = format!("/var/log/pods/lab_{name}");
    let sandbox = Sandbox {
        name,
        host_network: true,
        logs: &logs,
    };
    ask(socket, WHOLE, async |cri| {
        // CRI learns of an image by an event.
        while !to_io_result(cri.has_image(IMAGE).await)? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let id = to_io_result(cri.run_sandbox(&sandbox).await)?;
        let command = ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000000000 & wait"];
        to_io_result(cri.run_container((&id, &sandbox), IMAGE, &command, "waits.log").await).map(drop)
    })
}

fn ask<T>(socket: &str, within: Duration, what: impl AsyncFnOnce(&mut Cri) -> io::Result<T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async {
        let mut cri = Cri::connect(PathBuf::from(socket)).await.map_err(io::Error::other)?;
        what(&mut cri).await
    };
    runtime.block_on(async { tokio::time::timeout(within, asked).await })?
}

fn process(pid: i32) -> io::Result<ContainerProcess> {
    ContainerProcess::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat"))?)
}

fn to_io_result<T>(answer: Result<T, Status>) -> io::Result<T> {
    answer.map_err(|status| io::Error::other(format!("CRI: {}", status.message())))
}

fn print(answer: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(io::stdout(), answer).map_err(Into::into)
}
