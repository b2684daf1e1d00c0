//! Findings as values, the collection of them, and the input of every search.

use crate::config::Config;
use crate::findings::catalogue::{FindingId, Severity};
use crate::registry::Registry;
use crate::route::SourceLocation;
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

/// The input of every search for findings.
pub(super) struct FinderInput<'a> {
    pub(super) config: &'a Config,
    pub(super) registry: &'a Registry,
    pub(super) tree: &'a Tree,
    pub(super) version: &'a Version,
}

impl<'a> FinderInput<'a> {
    /// Returns the `registry` table in effect.
    pub(super) fn live_registry(&self) -> Option<&'a Table> {
        let document = &self.config.document;
        document.field(document.live()?, "registry")?.as_table()
    }

    /// Returns the value at `path` in the `registry` table in effect.
    pub(super) fn value(&self, path: &[&str]) -> Option<&'a Value> {
        let (last, tables) = path.split_last()?;
        let mut table = self.live_registry()?;
        for key in tables {
            table = self.config.document.field(table, key)?.as_table()?;
        }
        self.config.document.field(table, last)
    }

    /// Returns the location of `config_path`, or `None` if containerd sets it by default.
    pub(super) fn written_path(&self) -> Option<&'a SourceLocation> {
        self.config.registry.config_path.as_ref()?.place.as_ref()
    }

    /// Returns the location of [`FinderInput::value`].
    pub(super) fn place(&self, path: &[&str]) -> Option<SourceLocation> {
        self.value(path).map(|value| self.config.document.place(value))
    }
}

/// Collects findings.
#[derive(Default)]
pub(super) struct FindingSink(Vec<Finding>);

impl FindingSink {
    /// Adds a finding of the usual severity.
    pub(super) fn add(
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
    pub(super) fn add_as(
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

    /// Returns the findings in the order that [`crate::findings()`] promises, without duplicates.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by(|left, right| {
            let key = |finding: &Finding| (finding.severity, finding.place.clone(), finding.id);
            key(left).cmp(&key(right)).then_with(|| left.what.cmp(&right.what))
        });
        self.0.dedup();
        self.0
    }
}
