//! Where a rehearsal and the plan disagree: what was seen, and what to do about it.

use crate::rehearsal::effective::Difference;
use crate::rehearsal::report::{ObservedRequest, Variant};
use std::fmt;

/// One thing in which a rehearsal and the plan disagree. Its text is a sentence without its full stop, and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// A set of files, or an image, was not tried.
    NotHeard(String),
    /// containerd does not serve CRI with these files.
    CriDead {
        /// The files.
        variant: Variant,
        /// In containerd's words.
        why: String,
    },
    /// A plugin that the running daemon loaded is not loaded with these files, and is with the old ones.
    PluginLost {
        /// The files.
        variant: Variant,
        /// As `type.id`.
        plugin: String,
        /// In containerd's words.
        why: String,
    },
    /// The merged configuration is not known.
    NoConfiguration {
        /// The files.
        variant: Variant,
        /// Why.
        why: String,
    },
    /// A setting that is no registry's differs.
    Setting {
        /// The files.
        variant: Variant,
        /// Its path.
        path: String,
        /// How.
        difference: Difference,
    },
    /// Others are asked than the plan says.
    Route {
        /// The files.
        variant: Variant,
        /// Whose images.
        registry: String,
        /// By the plan.
        planned: Vec<ObservedRequest>,
        /// By the node's own containerd.
        heard: Vec<ObservedRequest>,
    },
}

impl Disagreement {
    /// A name for machines.
    pub fn id(&self) -> &'static str {
        match self {
            Self::NotHeard(_) => "not-heard",
            Self::CriDead { .. } => "cri-dead",
            Self::PluginLost { .. } => "plugin-lost",
            Self::NoConfiguration { .. } => "no-configuration",
            Self::Setting { .. } => "setting",
            Self::Route { .. } => "route",
        }
    }

    /// What to do about it, as a sentence without its full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotHeard(_) => "rehearse again; nothing was changed",
            Self::CriDead {
                variant: Variant::Before,
                ..
            } => {
                "the sandbox cannot stand for this node: something that its containerd needs is not there, or its files would \
                 not survive a restart as they are; look at them first"
            }
            Self::CriDead { .. } => "nothing was changed; mend what containerd names, or report this plan",
            Self::PluginLost { .. } => {
                "nothing was changed; look for a drop-in that replaces this plugin's table, or report this plan"
            }
            Self::NoConfiguration { .. } => "run `containerd config dump` on the node and mend what it names",
            Self::Setting { .. } => {
                "nothing was changed; look for a drop-in that replaces the table of this setting, and write it down there \
                 too"
            }
            Self::Route { .. } => {
                "nothing was changed; somebody edited the files since they were planned, or this containerd reads them in \
                 another way than is known: plan again, and report this if it stays"
            }
        }
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHeard(what) => write!(f, "{what} was not tried"),
            Self::CriDead { variant, why } => {
                write!(f, "with {variant} CRI does not come up: {}", masked(why))
            }
            Self::PluginLost { variant, plugin, why } => {
                write!(f, "with {variant} the plugin `{plugin}` is lost: {}", masked(why))
            }
            Self::NoConfiguration { variant, why } => {
                write!(
                    f,
                    "with {variant} containerd's configuration is not known: {}",
                    masked(why)
                )
            }
            Self::Setting {
                variant,
                path,
                difference,
            } => write!(f, "with {variant} `{}` {difference}", masked(path)),
            Self::Route {
                variant,
                registry,
                planned,
                heard,
            } => write!(
                f,
                "with {variant} images of {registry} are asked of {}, and the plan says {}",
                list(heard),
                list(planned)
            ),
        }
    }
}

fn list(asked: &[ObservedRequest]) -> String {
    match asked {
        [] => "nobody".to_owned(),
        asked => asked
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", then "),
    }
}

/// Without what stands before an `@` in each word that has a scheme: it may be a password. Words were masked where they
/// were heard; this is for whoever hands in others.
fn masked(text: &str) -> String {
    let word = |word: &str| match (word.find("://"), word.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}***{}", &word[..scheme + 3], &word[at..]),
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
