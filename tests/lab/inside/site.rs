//! What a cluster stands in: a network with a bridge, and the front of its API server. Lives as long as its test keeps its
//! standard input open, and ends what belongs to the cluster when the test has ended without a word.

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
pub(in crate::lab) struct Site {
    /// The cluster's folder.
    pub(in crate::lab) folder: PathBuf,
    /// The bridge, and its addresses with their lengths.
    pub(in crate::lab) bridge: (String, Vec<String>),
    /// Where the front listens, whom it stands for, and its certificate.
    pub(in crate::lab) front: (SocketAddr, SocketAddr, Pair),
}

/// What the test asks for, a line each.
#[derive(Serialize, Deserialize)]
pub(in crate::lab) enum SiteOrder {
    /// From now on the front does this. The answer is how many requests it has answered by itself since the last order.
    Front(Front),
    /// The test ends as it should, and cleans up by itself. Every holder knows this word.
    End,
}

/// Reads the site, makes it, answers once with nothing, then serves orders.
pub(super) fn main() -> io::Result<()> {
    let mut lines = io::stdin().lines();
    let first = lines.next().ok_or_else(|| io::Error::other("no site"))??;
    let site: Site = serde_json::from_str(&first)?;
    let (bridge, addresses) = &site.bridge;
    let addresses: Vec<String> = addresses
        .iter()
        .map(|address| format!("address add {address} dev {bridge}\n"))
        .collect();
    // An address of its own: a bridge would take that of one of its wires, and change it as they come and go.
    super::ip(&format!(
        "link set lo up\nlink add {bridge} address 02:00:00:00:00:01 type bridge\n{}link set {bridge} up\n",
        addresses.concat()
    ))?;
    // Of this network alone.
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
