//! The namespaces of a cluster: a network with a bridge, and the proxy in front of its API server. The process runs
//! as long as its test keeps its standard input open, and ends what belongs to the cluster when the test ended
//! without the order to end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{fs, future, io, thread};

use serde::{Deserialize, Serialize};

use super::front;
use super::hold::{answer, clean_up};
use crate::lab::pki::Pair;
use crate::lab::scene::Front;

/// A cluster's network before anything runs in it.
#[derive(Serialize, Deserialize)]
pub(in crate::lab) struct SiteSpec {
    pub(in crate::lab) folder: PathBuf,
    /// The bridge, and its addresses with prefix lengths.
    pub(in crate::lab) bridge: (String, Vec<String>),
    /// The address where the proxy listens, the address of the API server, and the proxy's certificate.
    pub(in crate::lab) front: (SocketAddr, SocketAddr, Pair),
}

/// An order of the test, one per line.
#[derive(Serialize, Deserialize)]
pub(in crate::lab) enum SiteOrder {
    /// Sets the behaviour of the proxy. The answer is the number of requests that it has answered itself since the
    /// last order.
    Front(Front),
    /// The test ends normally, and cleans up itself. Every holder understands this order.
    End,
}

/// Reads the site, creates it, answers once with an empty list, then executes orders.
pub(super) fn main() -> io::Result<()> {
    let mut lines = io::stdin().lines();
    let first = lines.next().ok_or_else(|| io::Error::other("no site"))??;
    let site: SiteSpec = serde_json::from_str(&first)?;
    let (bridge, addresses) = &site.bridge;
    let addresses: Vec<String> = addresses
        .iter()
        .map(|address| format!("address add {address} dev {bridge}\n"))
        .collect();
    // The bridge has a fixed MAC address. Otherwise it would take that of one of its ports, and change it when ports
    // are added or removed.
    super::ip(&format!(
        "link set lo up\nlink add {bridge} address 02:00:00:00:00:01 type bridge\n{}link set {bridge} up\n",
        addresses.concat()
    ))?;
    // The setting belongs to this network namespace only.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let (listen, server, pair) = &site.front;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let front = runtime.block_on(front::start(*listen, *server, pair))?;
    thread::spawn(move || runtime.block_on(future::pending::<()>()));
    answer(&())?;
    for line in lines {
        match serde_json::from_str(&line?)? {
            SiteOrder::Front(behaviour) => answer(&front.turn(behaviour))?,
            SiteOrder::End => return Ok(()),
        }
    }
    clean_up(&site.folder)
}
