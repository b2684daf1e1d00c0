//! The disagreements between a rehearsal and the plan, each with a message and a hint.

use crate::rehearsal::effective::Difference;
use crate::rehearsal::report::{ObservedRequest, Variant};
use mirrorshift_containerd::redact;
use std::fmt;

/// One disagreement between a rehearsal and the plan. Its text is a sentence without its full stop, and contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// A set of files, or an image, was not rehearsed.
    NotObserved(String),
    /// containerd does not serve CRI with these files.
    CriDead {
        /// The set of files.
        variant: Variant,
        /// The message of containerd.
        why: String,
    },
    /// A plugin that the running daemon has loaded loads with the current files, but not with these.
    PluginLost {
        /// The set of files.
        variant: Variant,
        /// The plugin, as `type.id`.
        plugin: String,
        /// The message of containerd.
        why: String,
    },
    /// The merged configuration is unknown.
    NoConfiguration {
        /// The set of files.
        variant: Variant,
        /// The reason.
        why: String,
    },
    /// A setting other than a registry setting differs.
    Setting {
        /// The set of files.
        variant: Variant,
        /// The path of the setting.
        path: String,
        /// The difference.
        difference: Difference,
    },
    /// containerd tries other hosts than planned.
    Route {
        /// The set of files.
        variant: Variant,
        /// The registry.
        registry: String,
        /// The requests that follow from the plan.
        planned: Vec<ObservedRequest>,
        /// The requests of the node's own containerd.
        observed: Vec<ObservedRequest>,
    },
}

impl Disagreement {
    /// Returns the stable name.
    pub fn id(&self) -> &'static str {
        match self {
            Self::NotObserved(_) => "not-observed",
            Self::CriDead { .. } => "cri-dead",
            Self::PluginLost { .. } => "plugin-lost",
            Self::NoConfiguration { .. } => "no-configuration",
            Self::Setting { .. } => "setting",
            Self::Route { .. } => "route",
        }
    }

    /// Returns the action that the operator can take, as a sentence without its full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotObserved(_) => "nothing was changed; rehearse again",
            Self::CriDead {
                variant: Variant::Before,
                ..
            } => {
                "nothing was changed; the sandbox lacks something that this node's containerd needs, or containerd would not \
                 survive a restart with the current files: check them first"
            }
            Self::CriDead { .. } => "nothing was changed; repair the cause that containerd names, or report this plan",
            Self::PluginLost { .. } => {
                "nothing was changed; find the drop-in that replaces this plugin's table, or report this plan"
            }
            Self::NoConfiguration { .. } => {
                "run `containerd config dump` on the node, and repair the cause that it names"
            }
            Self::Setting { .. } => {
                "nothing was changed; find the drop-in that replaces the table of this setting, and add the setting to it"
            }
            Self::Route { .. } => {
                "nothing was changed; another program edited the files after they were planned, or this containerd reads them \
                 differently from the model: plan again, and report the plan if the disagreement stays"
            }
        }
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotObserved(what) => write!(f, "{what} was not rehearsed"),
            Self::CriDead { variant, why } => {
                write!(f, "with {variant} CRI does not load: {}", redact::free_text(why))
            }
            Self::PluginLost { variant, plugin, why } => {
                write!(
                    f,
                    "with {variant} the plugin `{plugin}` does not load: {}",
                    redact::free_text(why)
                )
            }
            Self::NoConfiguration { variant, why } => {
                write!(
                    f,
                    "with {variant} the merged configuration is unknown: {}",
                    redact::free_text(why)
                )
            }
            Self::Setting {
                variant,
                path,
                difference,
            } => write!(f, "with {variant} `{}` {difference}", redact::free_text(path)),
            Self::Route {
                variant,
                registry,
                planned,
                observed,
            } => write!(
                f,
                "with {variant} containerd tries {} for images of {registry}, but the plan is {}",
                list(observed),
                list(planned)
            ),
        }
    }
}

fn list(requests: &[ObservedRequest]) -> String {
    match requests {
        [] => "no host".to_owned(),
        requests => requests
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", then "),
    }
}
