//! Why a node is left as it is: a reason, the place, and what to do about it.

use crate::plan::RouteChange;
use mirrorshift_containerd::{LoadError, SourceLocation};

/// A plan that was not made. Nothing was changed, and nothing may be.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// A stable name of the reason.
    pub reason: RefusalReason,
    /// What is wrong, as a fragment.
    pub what: String,
    /// Where.
    pub place: Option<SourceLocation>,
    /// The line itself, values masked, and the column in it, from 1, where they are known.
    pub shown: Option<(String, usize)>,
    /// What containerd does with it, as a sentence.
    pub effect: String,
    /// What to do about it, as a sentence.
    pub hint: String,
    /// The routes that would have differed.
    pub routes: Vec<RouteChange>,
}

/// The reasons for refusing to plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// containerd does not start with the files as they are, or nobody can edit them safely.
    Unreadable,
    /// A registry's name could not become a folder.
    RegistryName,
    /// An endpoint that no hosts.toml of this version can say.
    Endpoint,
    /// This version has no `_default`, and a wildcard is in force.
    WildcardUnsupported,
    /// A hosts directory of somebody else stands in the way.
    ForeignDirectory,
    /// The policy asks for a route that cannot work.
    Policy,
    /// The edit would change more than the registry settings, or leave CRI dead.
    Edit,
    /// A route would differ from what was there and was not asked for.
    Routes,
}

impl RefusalReason {
    /// Every reason.
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

    /// The stable name.
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

    /// A configuration that containerd does not start with, or that this tool does not edit.
    pub(crate) fn unreadable(error: &LoadError) -> Box<Self> {
        use mirrorshift_containerd::LoadFault;
        use mirrorshift_containerd::toml::AcceptedBy;
        let (effect, hint, column) = match &error.fault {
            LoadFault::Syntax(syntax) => {
                let effect = match syntax.taken_by {
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
                "containerd cannot be told by files like this.",
                "Put a regular file there.".to_owned(),
                1,
            ),
            LoadFault::MissingImport(_) => (
                "containerd does not start.",
                "Take the entry out of `imports`, or put the file there.".to_owned(),
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
