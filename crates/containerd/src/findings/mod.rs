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
/// Registry settings in tables that this release does not read.
pub(crate) mod dormant;
/// Endpoints of mirrors.
pub(crate) mod endpoints;
/// Files, imports and drop-ins.
pub(crate) mod files;
/// Hosts directories.
pub(crate) mod hosts;
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
pub use crate::findings::upgrade::{ReleaseView, upgrade};

use crate::config::Config;
use crate::document::load::LoadError;
use crate::registry::Registry;
use crate::route::SourceLocation;
use crate::rules::Rule;
use crate::toml::value::{Table, Value};
use crate::tree::Tree;
use crate::version::Version;

/// A setting in a node's files that an operator should know about.
///
/// The texts are sentences. They never contain a password, token or header value, nor the user-info or query of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind of finding.
    pub id: FindingId,
    /// The severity in this case; usually [`FindingId::severity`].
    pub severity: Severity,
    /// The location, or `None` if the finding is not about a file.
    pub place: Option<SourceLocation>,
    /// The setting that was found.
    pub what: String,
    /// The behaviour of containerd.
    pub effect: String,
    /// An instruction for the operator.
    pub remedy: String,
}

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
            dormant::find(&input, &mut found);
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

/// The input of every search for findings.
struct FinderInput<'a> {
    config: &'a Config,
    registry: &'a Registry,
    tree: &'a Tree,
    version: &'a Version,
}

impl<'a> FinderInput<'a> {
    /// Returns the `registry` table in effect.
    fn live_registry(&self) -> Option<&'a Table> {
        let document = &self.config.document;
        document.field(document.live()?, "registry")?.as_table()
    }

    /// Returns the value at `path` in the `registry` table in effect.
    fn value(&self, path: &[&str]) -> Option<&'a Value> {
        let (last, tables) = path.split_last()?;
        let mut table = self.live_registry()?;
        for key in tables {
            table = self.config.document.field(table, key)?.as_table()?;
        }
        self.config.document.field(table, last)
    }

    /// Returns the location of `config_path`, or `None` if containerd sets it by default.
    fn written_path(&self) -> Option<&'a SourceLocation> {
        self.config.registry.config_path.as_ref()?.place.as_ref()
    }

    /// Returns the location of [`FinderInput::value`].
    fn place(&self, path: &[&str]) -> Option<SourceLocation> {
        self.value(path).map(|value| self.config.document.place(value))
    }
}

/// Collects findings.
#[derive(Default)]
struct FindingSink(Vec<Finding>);

impl FindingSink {
    /// Adds a finding of the usual severity.
    fn add(
        &mut self,
        id: FindingId,
        place: Option<SourceLocation>,
        what: impl Into<String>,
        effect: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add_as(id.severity(), id, place, what, effect, remedy);
    }

    /// Adds a finding that is more or less severe than usual.
    fn add_as(
        &mut self,
        severity: Severity,
        id: FindingId,
        place: Option<SourceLocation>,
        what: impl Into<String>,
        effect: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Finding {
            id,
            severity,
            place,
            what: what.into(),
            effect: effect.into(),
            remedy: remedy.into(),
        });
    }

    /// Returns the findings in the order that [`findings`] promises, without duplicates.
    fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by(|left, right| {
            let key = |finding: &Finding| (finding.severity, finding.place.clone(), finding.id);
            key(left).cmp(&key(right)).then_with(|| left.what.cmp(&right.what))
        });
        self.0.dedup();
        self.0
    }
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
