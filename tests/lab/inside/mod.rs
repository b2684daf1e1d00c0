//! The part of the lab that runs in its own namespaces: registries on loopback addresses, and one containerd after
//! another that pulls from them. It reads a task from standard input and writes a report to standard output.

mod accept; // accepts connections
mod answer; // answers of a registry
mod asked; // CRI requests inside a virtual machine
mod daemon; // one containerd from start to end
mod front; // the proxy in front of an API server
pub(super) mod hold; // the namespaces of a node
mod root; // the private root of a containerd
mod server; // listeners that record
pub(super) mod site; // the network of a cluster
mod tls; // server and client certificates

use std::collections::BTreeMap;
use std::io::{
    Read, Write, {self},
};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use self::daemon::Daemon;
use self::root::Plan;
use self::server::{Desk, Server};
use super::content::repository;
use super::pki::Pki;
use super::scene::{Behaviour, Host, Pull, Round, RoundReport, Scene, Task, Wire};

/// The exit status of the lab's own failures, like that of `env` and `timeout`.
pub const FAILED: u8 = 125;
/// Time limit of one pull. containerd's own limits are longer, so a pull that reaches this limit is reported as such.
const PULL: Duration = Duration::from_mins(1);

/// The main function of `lab-run`. With `enter`, becomes containerd in a private root; with `hold` or `site`, keeps
/// the namespaces of a node or a cluster; with `cri`, `pids` or `workload` and a socket, sends a CRI request; without
/// arguments, executes one task. An error is a failure of the lab; what containerd does is part of the report.
pub fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["enter", ..] => return Err(root::enter()),
        ["hold", ..] => return hold::main(),
        ["site", ..] => return site::main(),
        ["cri", socket] => return asked::status(socket),
        ["pids", socket] => return asked::pids(socket),
        ["workload", socket, name] => return asked::workload(socket, name),
        _ => {}
    }
    let mut json = Vec::new();
    io::stdin().read_to_end(&mut json)?;
    let task: Task = serde_json::from_slice(&json)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The task has a time limit whatever a containerd does, so that its caller does not wait forever.
    let pulls: u32 = task
        .rounds
        .iter()
        .map(|round| u32::try_from(round.images.len()).unwrap_or(u32::MAX))
        .sum();
    let rounds = u32::try_from(task.rounds.len()).unwrap_or(u32::MAX);
    let within = daemon::START.saturating_mul(rounds.saturating_mul(2)) + PULL.saturating_mul(pulls);
    let reports = runtime.block_on(async { tokio::time::timeout(within, perform(&task)).await })??;
    io::stdout().write_all(&serde_json::to_vec(&reports)?)
}

async fn perform(task: &Task) -> io::Result<Vec<RoundReport>> {
    let addresses = addresses(&task.scene);
    network(&addresses)?;
    let desk = Arc::new(Desk::default());
    for host in &task.scene.hosts {
        listen(&task.pki, host, addresses[host.address()], &desk).await?;
    }
    let hosts = hosts_file(&addresses);
    let mut reports = Vec::new();
    for round in &task.rounds {
        let plan = Plan {
            program: task.program.display().to_string(),
            files: round.files.clone(),
            hosts: hosts.clone(),
            system_pool: task.pki.trusted.cert.clone(),
        };
        reports.push(run(round, &plan, &desk).await?);
    }
    Ok(reports)
}

async fn run(round: &Round, plan: &Plan, desk: &Desk) -> io::Result<RoundReport> {
    let mut daemon = Daemon::start(plan).await?;
    let (boot, cri) = daemon.wait().await?;
    let mut pulls = Vec::new();
    if let Some(mut cri) = cri {
        for image in &round.images {
            desk.turn_to(&image.reference, &repository(&image.reference));
            let error = cri.pull(image, PULL).await.err();
            pulls.push(Pull {
                image: image.reference.clone(),
                error,
            });
        }
    }
    let log = daemon.stop().await?;
    Ok(RoundReport {
        boot,
        pulls,
        requests: desk.take(),
        log,
    })
}

async fn listen(pki: &Pki, host: &Host, address: IpAddr, desk: &Arc<Desk>) -> io::Result<()> {
    if host.behaviour == Behaviour::Dead {
        return Ok(());
    }
    let tls = match host.wire {
        Wire::Http => None,
        Wire::Tls(cert) => Some(tls::config(host.address(), cert, pki)?),
    };
    let clients = tls::clients(pki)?;
    Server {
        host: host.clone(),
        tls,
        clients,
        desk: Arc::clone(desk),
    }
    .listen(address)
    .await
}

/// Returns the address of each host by name: the name itself if it is an address, a loopback address otherwise. Each
/// name has its own address, so that two may use the same port.
pub(super) fn addresses(scene: &Scene) -> BTreeMap<String, IpAddr> {
    let mut addresses = BTreeMap::new();
    // The addresses begin at 127.77.0.1.
    let mut next = u32::from(Ipv4Addr::new(127, 77, 0, 0));
    for host in &scene.hosts {
        addresses
            .entry(host.address().to_owned())
            .or_insert_with_key(|name| match name.parse() {
                Ok(address) => address,
                Err(_) if name == "localhost" => Ipv4Addr::LOCALHOST.into(),
                Err(_) => {
                    next += 1;
                    Ipv4Addr::from(next).into()
                }
            });
    }
    addresses
}

pub(super) fn hosts_file(addresses: &BTreeMap<String, IpAddr>) -> String {
    let named = addresses
        .iter()
        .filter(|(name, _)| *name != "localhost" && name.parse::<IpAddr>().is_err());
    let lines: Vec<String> = named.map(|(name, address)| format!("{address} {name}\n")).collect();
    format!("127.0.0.1 localhost\n{}", lines.concat())
}

/// Enables the loopback interface, which is down in a new network namespace, and adds every literal address of the
/// scene to it.
fn network(addresses: &BTreeMap<String, IpAddr>) -> io::Result<()> {
    let literal = addresses.values().filter(|address| !address.is_loopback());
    let lines: Vec<String> = literal
        .map(|address| match address {
            IpAddr::V4(address) => format!("address add {address}/32 dev lo\n"),
            IpAddr::V6(address) => format!("address add {address}/128 dev lo nodad\n"),
        })
        .collect();
    ip(&format!("link set lo up\n{}", lines.concat()))
}

/// Runs `ip` with these commands, one per line.
fn ip(lines: &str) -> io::Result<()> {
    batch(&mut Command::new("ip"), lines)
}

fn batch(ip: &mut Command, lines: &str) -> io::Result<()> {
    let mut ip = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = ip.stdin.take() {
        stdin.write_all(lines.as_bytes())?;
    }
    let status = ip.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("`ip`: {status}")))
    }
}
