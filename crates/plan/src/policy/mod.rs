//! What the operator asks for beyond unchanged behaviour: the `MirrorPolicy` file and the flags that mean the same.
//!
//! A policy says what must differ after a change. Without one, and with [`Policy::default`], nothing may: every
//! registry is asked at the same hosts in the same order. The whole schema is read and checked here, whichever part
//! acts on a key, so a file that is taken by the command line is taken by the agent.
//!
//! ```
//! use mirrorshift_plan::policy::{Policy, Wildcard};
//! let text = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\nwildcard: drop\n";
//! assert_eq!(Policy::parse(text, "policy.yaml")?.wildcard, Wildcard::Drop);
//! # Ok::<(), mirrorshift_plan::policy::PolicyError>(())
//! ```

pub(crate) mod error;
pub(crate) mod flags;
pub(crate) mod host;
pub(crate) mod mirror_url;
pub(crate) mod read;
pub(crate) mod redact;
pub(crate) mod schema;

pub(crate) mod source;
pub(crate) mod yaml;

#[cfg(test)]
mod tests;

pub use crate::policy::error::{Place, PolicyError, ValueError};
pub use crate::policy::flags::{MirrorFlag, WildcardFlag};
pub use crate::policy::host::RegistryName;
pub use crate::policy::mirror_url::{MirrorUrl, Scheme};

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// What the operator asks for. The default asks for nothing: behaviour is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What the agent does by itself, or `None` when the file does not say: the agent then observes, and the command
    /// line does what its command says either way.
    pub mode: Option<Mode>,
    /// What becomes of the mirrors of `"*"`.
    pub wildcard: Wildcard,
    /// Registries with a wish of their own, each host once, in the order of the file, then of the flags.
    pub registries: Vec<Registry>,
    /// Folders in `config_path` that somebody else made and that may be taken over.
    pub adopt: Vec<HostsDir>,
    /// When and how containerd may be restarted.
    pub restart: Restart,
}

impl Policy {
    /// The wish for one registry.
    pub fn registry(&self, host: &RegistryName) -> Option<&Registry> {
        self.registries.iter().find(|registry| registry.host == *host)
    }
}

/// What the agent does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Plans and reports, changes nothing.
    Observe,
    /// Brings the node to the plan.
    Migrate,
    /// Brings the node back to the bytes before the last change.
    Rollback,
}

/// What becomes of the mirrors of `"*"`, which `_default` would carry on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wildcard {
    /// They go on serving every registry without mirrors of its own.
    #[default]
    Keep,
    /// They serve nobody any more.
    Drop,
    /// They serve these registries alone; at least one, none twice.
    Only(Vec<RegistryName>),
}

/// The wish for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The registry, as image names spell it.
    pub host: RegistryName,
    /// `None` leaves the mirrors that the node has; a list stands instead of them, none twice, and an empty one sends
    /// the registry's images upstream, wildcard or not.
    pub mirrors: Option<Vec<MirrorUrl>>,
    /// Who says what a tag means.
    pub tags: Tags,
    /// Who is asked after the mirrors.
    pub fallback: Fallback,
}

/// Who says what a tag means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tags {
    /// The first mirror that answers.
    #[default]
    Mirror,
    /// The registry itself; mirrors serve what has a digest, so a cache cannot serve a stale tag.
    Upstream,
}

/// Who is asked after the mirrors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The registry itself.
    #[default]
    Upstream,
    /// Nobody: the registry itself is never asked.
    None,
}

/// A folder in `config_path` as image names lead to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostsDir {
    /// `_default`, for registries without a folder.
    Default,
    /// A registry's own.
    Host(RegistryName),
}

impl fmt::Display for HostsDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("_default"),
            Self::Host(host) => host.fmt(f),
        }
    }
}

/// When and how containerd may be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// What it waits for.
    pub when: When,
    /// Nodes of a cluster that may be between restart and verified at one time.
    pub max_concurrent: NonZeroU32,
    /// CRI is back by then or the change is undone; 20 seconds to 1 hour. Whoever restarts takes at least 3 times what
    /// the unit's last start took.
    pub deadline: Duration,
}

impl Restart {
    /// A deadline is never shorter.
    pub const SHORTEST_DEADLINE: Duration = Duration::from_secs(20);
    /// A deadline is never longer: a node without CRI is not left alone for longer.
    pub const LONGEST_DEADLINE: Duration = Duration::from_hours(1);
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            when: When::Idle,
            max_concurrent: NonZeroU32::MIN,
            deadline: Self::SHORTEST_DEADLINE,
        }
    }
}

/// What a restart of containerd waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A moment, within a bound, without a pull and without a sandbox being created.
    Idle,
    /// Nothing.
    Now,
    /// It never happens: files are written, and count from the next start on.
    Never,
}
