//! Findings: settings in a node's files that a containerd release rejects, silently ignores, or will stop supporting.
//!
//! Each finding has a location, the effect on containerd, and a remedy. A module per subject searches for its findings;
//! nothing here decides what to edit. `catalogue` has the names and severities, and `upgrade` compares two releases.

/// The table of all findings, with name and severity.
pub(crate) mod catalogue;
/// `config_path` and the folders that it names.
pub(crate) mod config_path;
/// A CRI plugin that does not load, and deprecated settings.
pub(crate) mod cri;
/// Endpoints of mirrors.
pub(crate) mod endpoints;
/// Files, imports and drop-ins.
pub(crate) mod files;
/// The type `Finding`, and the input and output of every search.
pub(crate) mod finding;
/// Hosts directories.
pub(crate) mod hosts;
/// Registry settings in tables that this release does not read.
pub(crate) mod inactive_tables;
/// Keys in registry tables that have no effect.
pub(crate) mod keys;
/// The registry settings in effect, by release.
pub(crate) mod live;
/// Files that keep the daemon from starting.
pub(crate) mod refused;
/// Lists and quoted words in the texts of findings.
pub(crate) mod shown;
/// TLS settings in `configs`.
pub(crate) mod tls;
/// Differences between two releases for the same files.
pub(crate) mod upgrade;

#[cfg(test)]
pub(crate) mod cases;
#[cfg(test)]
mod tests;

pub use crate::findings::catalogue::{FindingId, Severity};
pub use crate::findings::finding::Finding;
pub use crate::findings::upgrade::{ReleaseView, upgrade};

use crate::config::Config;
use crate::document::load::LoadError;
use crate::findings::finding::{FinderInput, FindingSink};
use crate::rules::Rule;
use crate::tree::Tree;
use crate::version::Version;

/// Returns the findings for the files that `reading` was read from, worst first, then in the order of the files.
///
/// `reading` is the outcome of [`crate::config::read`] with the same tree and version, when no file was missing. The same
/// input gives the same findings in the same order.
pub fn findings(reading: &Result<Config, Box<LoadError>>, tree: &Tree, version: &Version) -> Vec<Finding> {
    let mut found = FindingSink::default();
    version_findings(version, &mut found);
    match reading {
        Err(error) => refused::find(error, tree, version, &mut found),
        Ok(config) => {
            let input = FinderInput {
                config,
                registry: &config.registry,
                tree,
                version,
            };
            files::find(&input, &mut found);
            inactive_tables::find(&input, &mut found);
            cri::find(&input, &mut found);
            config_path::find(&input, &mut found);
            hosts::find(&input, &mut found);
            keys::find(&input, &mut found);
            endpoints::find(&input, &mut found);
            tls::find(&input, &mut found);
        }
    }
    found.sorted()
}

fn version_findings(version: &Version, found: &mut FindingSink) {
    if version.is_newer_than_known() {
        found.add(
            FindingId::NewerThanKnown,
            None,
            format!("containerd {version} is newer than every release that Mirrorshift was tested with."),
            "Mirrorshift applies the rules of the newest release that it knows.",
            "Use a newer release of Mirrorshift, or compare `plan` with what the node really pulls.",
        );
    }
    if version.has(Rule::LosesSandboxAddresses) {
        found.add(
            FindingId::RestartLosesAddresses,
            None,
            format!("containerd {version} has a bug in the recovery of running pods."),
            "A restart loses the addresses of running pods (containerd issue 7843).",
            "Upgrade containerd to 1.6.14 or newer before you restart it for any other reason.",
        );
    }
}
