//! The routes of one registry before and after a change.

use mirrorshift_containerd::Route;
use std::fmt;

/// The stand-in for any other registry in the model. A name in `.invalid` never resolves.
pub(crate) const UNNAMED: &str = "unnamed.invalid";

/// The routes of one registry.
#[derive(Clone, Debug)]
pub struct RouteChange {
    /// The registry, or any other registry.
    pub registry: RegistryScope,
    /// The route with the current files.
    pub before: Route,
    /// The route with the new files.
    pub after: Route,
    /// The keys of the policy that require the difference.
    pub policy_keys: Vec<String>,
}

impl RouteChange {
    /// Returns true when containerd would try other hosts than before, or the same ones in another way.
    pub fn differs(&self) -> bool {
        self.before != self.after
    }
}

/// The registries that a route is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegistryScope {
    /// One registry.
    Registry(String),
    /// Every registry that no setting names.
    Unnamed,
}

impl RegistryScope {
    /// Returns the scope of a registry name of the model.
    pub(crate) fn of_name(registry: &str) -> Self {
        if registry == UNNAMED {
            Self::Unnamed
        } else {
            Self::Registry(registry.to_owned())
        }
    }
}

impl fmt::Display for RegistryScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(name) => f.write_str(name),
            Self::Unnamed => f.write_str("any other registry"),
        }
    }
}
