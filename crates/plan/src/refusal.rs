//! The reason why a node is not changed, its location, and the action that the operator can take.

use crate::route_change::RouteChange;
use mirrorshift_containerd::{LoadError, SourceLocation};

/// A refusal to plan. Nothing was changed, and nothing may be changed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// The reason, which has a stable name.
    pub reason: RefusalReason,
    /// The message, as a fragment.
    pub what: String,
    /// The location of the cause.
    pub place: Option<SourceLocation>,
    /// The line with its values masked, and the column in it from 1, when they are known.
    pub shown: Option<(String, usize)>,
    /// The effect: a sentence about what containerd does.
    pub effect: String,
    /// The action that the operator can take, as a sentence.
    pub hint: String,
    /// The routes that would have differed.
    pub routes: Vec<RouteChange>,
}

/// The reason for refusing to plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// containerd does not start with the current files, or they cannot be edited safely.
    Unreadable,
    /// A registry's name cannot be the name of a folder.
    RegistryName,
    /// No `hosts.toml` of this version can express an endpoint.
    Endpoint,
    /// This version has no `_default`, and a wildcard is used.
    WildcardUnsupported,
    /// A hosts directory of another tool is in the way.
    ForeignDirectory,
    /// The policy requires a route that cannot work.
    Policy,
    /// The edit would change more than registry settings, or CRI would not load.
    Edit,
    /// A route would change, and the policy does not require that.
    Routes,
}

impl RefusalReason {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::Unreadable,
        Self::RegistryName,
        Self::Endpoint,
        Self::WildcardUnsupported,
        Self::ForeignDirectory,
        Self::Policy,
        Self::Edit,
        Self::Routes,
    ];

    /// Returns the stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::RegistryName => "registry-name",
            Self::Endpoint => "endpoint",
            Self::WildcardUnsupported => "wildcard-unsupported",
            Self::ForeignDirectory => "foreign-directory",
            Self::Policy => "policy",
            Self::Edit => "edit",
            Self::Routes => "routes",
        }
    }
}

impl Refusal {
    pub(crate) fn new(reason: RefusalReason, what: impl Into<String>, hint: impl Into<String>) -> Box<Self> {
        let (what, hint) = (what.into(), hint.into());
        Box::new(Self {
            reason,
            what,
            place: None,
            shown: None,
            effect: String::new(),
            hint,
            routes: Vec::new(),
        })
    }

    pub(crate) fn at(mut self: Box<Self>, place: Option<SourceLocation>) -> Box<Self> {
        self.place = place;
        self
    }

    pub(crate) fn effect(mut self: Box<Self>, effect: impl Into<String>) -> Box<Self> {
        self.effect = effect.into();
        self
    }

    /// Returns the refusal of a configuration that containerd does not start with, or that this tool does not edit.
    pub(crate) fn unreadable(error: &LoadError) -> Box<Self> {
        use mirrorshift_containerd::LoadFault;
        use mirrorshift_containerd::toml::AcceptedBy;
        let (effect, hint, column) = match &error.fault {
            LoadFault::Syntax(syntax) => {
                let effect = match syntax.accepted_by {
                    AcceptedBy::NoRelease => "containerd does not start with this file.",
                    AcceptedBy::V1Only => "containerd 1.x loads this file, 2.x does not start with it.",
                    AcceptedBy::SomeReleases => {
                        "Some releases of containerd load this file, others do not start with it."
                    }
                    AcceptedBy::V2Only => "containerd 2.x loads this file, 1.x does not start with it.",
                };
                let hint = syntax.remedy.clone().unwrap_or_else(|| "Correct the line.".to_owned());
                (effect, hint, syntax.column)
            }
            LoadFault::Unusable(_) => (
                "containerd cannot use such a file.",
                "Replace it with a regular file.".to_owned(),
                1,
            ),
            LoadFault::MissingImport(_) => (
                "containerd does not start.",
                "Remove the entry from `imports`, or add the file.".to_owned(),
                1,
            ),
            _ => ("containerd does not start.", "Correct the line.".to_owned(), 1),
        };
        let mut refusal = Self::new(RefusalReason::Unreadable, error.to_string(), hint).effect(effect);
        refusal.place = Some(error.place.clone());
        refusal.shown = error.shown.clone().map(|line| (line, column));
        refusal
    }
}
