//! What a containerd refuses, ignores without a word or will stop supporting in a node's files, each with its place, what
//! containerd does about it, and the remedy.

/// Every finding there is, with its name and severity.
pub(crate) mod catalogue;
/// `config_path` and the folders it names.
pub(crate) mod config_path;
/// CRI that does not load, and what is deprecated.
pub(crate) mod cri;
/// Registry settings that stand where this release does not look.
pub(crate) mod dormant;
/// Hosts that mirrors send pulls to.
pub(crate) mod endpoints;
/// Files, imports and drop-ins.
pub(crate) mod files;
/// Hosts directories.
pub(crate) mod hosts;
/// Names in registry tables that mean nothing to containerd.
pub(crate) mod keys;
/// Which registry settings are in force, and on which releases.
pub(crate) mod live;
/// Files that the daemon does not start with.
pub(crate) mod refused;
/// What may be shown of a URL.
pub(crate) mod shown;
/// `configs.<host>.tls`.
pub(crate) mod tls;
/// What an upgrade breaks or changes.
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

/// One thing that an operator should know about a node's files.
///
/// Its texts are sentences. They never hold a password, token or header value, and of a URL no user-info and no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of finding it is.
    pub id: FindingId,
    /// How bad it is here: as a rule [`FindingId::severity`].
    pub severity: Severity,
    /// Where it stands; nothing when it is about no file.
    pub place: Option<SourceLocation>,
    /// What was found.
    pub what: String,
    /// What containerd does about it.
    pub effect: String,
    /// What to do about it.
    pub remedy: String,
}

/// What `version` makes of the files that `reading` was read from, worst first, and in the order of the files.
///
/// `reading` is the outcome of [`crate::config::read`] with the same tree and version, once nothing was missing. The same input gives
/// the same findings in the same order.
pub fn findings(reading: &Result<Config, Box<LoadError>>, tree: &Tree, version: &Version) -> Vec<Finding> {
    let mut found = FindingSink::default();
    about_version(version, &mut found);
    match reading {
        Err(error) => refused::find(error, tree, version, &mut found),
        Ok(config) => {
            let look = FinderInput {
                config,
                registry: &config.registry,
                tree,
                version,
            };
            files::find(&look, &mut found);
            dormant::find(&look, &mut found);
            cri::find(&look, &mut found);
            config_path::find(&look, &mut found);
            hosts::find(&look, &mut found);
            keys::find(&look, &mut found);
            endpoints::find(&look, &mut found);
            tls::find(&look, &mut found);
        }
    }
    found.sorted()
}

/// What the findings are looked for in.
struct FinderInput<'a> {
    config: &'a Config,
    registry: &'a Registry,
    tree: &'a Tree,
    version: &'a Version,
}

impl<'a> FinderInput<'a> {
    /// The live `registry` table.
    fn live_registry(&self) -> Option<&'a Table> {
        let document = &self.config.document;
        document.field(document.live()?, "registry")?.as_table()
    }

    /// What stands at `path` below the live `registry` table.
    fn value(&self, path: &[&str]) -> Option<&'a Value> {
        let (last, tables) = path.split_last()?;
        let mut table = self.live_registry()?;
        for key in tables {
            table = self.config.document.field(table, key)?.as_table()?;
        }
        self.config.document.field(table, last)
    }

    /// Where `config_path` stands, when somebody wrote the value in force.
    fn written_path(&self) -> Option<&'a SourceLocation> {
        self.config.registry.config_path.as_ref()?.place.as_ref()
    }

    /// Where [`Look::value`] stands.
    fn place(&self, path: &[&str]) -> Option<SourceLocation> {
        self.value(path).map(|value| self.config.document.place(value))
    }
}

/// The findings so far.
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

    /// Adds a finding that is worse or milder than its kind usually is.
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

    /// In the order that is promised, without repetitions.
    fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by(|one, two| {
            let key = |finding: &Finding| (finding.severity, finding.place.clone(), finding.id);
            key(one).cmp(&key(two)).then_with(|| one.what.cmp(&two.what))
        });
        self.0.dedup();
        self.0
    }
}

fn about_version(version: &Version, found: &mut FindingSink) {
    if version.is_newer_than_known() {
        found.add(
            FindingId::NewerThanKnown,
            None,
            format!("containerd {version} is newer than any release that this tool was checked against."),
            "It is read by the rules of the newest release that is known.",
            "Use a newer release of this tool, or compare `plan` with what the node really pulls.",
        );
    }
    if version.has(Rule::LosesSandboxAddresses) {
        found.add(
            FindingId::RestartLosesAddresses,
            None,
            format!("containerd {version} has a fault in the recovery of running pods."),
            "At a restart it forgets the addresses of the pods that run (containerd issue 7843).",
            "Upgrade containerd to 1.6.14 or newer before it is restarted for anything else.",
        );
    }
}
