//! The policy of the operator: the `MirrorPolicy` file, and the flags of the command line that mean the same.
//!
//! A policy requires the differences that a change makes. Without a policy, and with [`Policy::default`](crate::policy::Policy::default), there is none:
//! containerd tries the same hosts in the same order for every registry. The whole schema is read and checked here,
//! whichever part acts on a key, so that the agent accepts every file that the command line accepts. Acting on a key does
//! not belong here. `docs/policy.md` documents every key, and a test keeps it equal to this code.
//!
//! ```
//! use mirrorshift_plan::policy::{Policy, Wildcard};
//! let text = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\nwildcard: drop\n";
//! assert_eq!(Policy::parse(text, "policy.yaml")?.wildcard, Wildcard::Drop);
//! # Ok::<(), mirrorshift_plan::policy::PolicyError>(())
//! ```

/// Errors, with their location.
mod error;
/// The flags of the command line.
pub(crate) mod flags;
/// The name of a registry.
pub(crate) mod host;
/// The URL of a mirror.
mod mirror_url;
/// The reader: from the YAML tree to a policy.
mod read;
/// The parts of an operator's text that an error may repeat.
mod redact;
/// The keys of the schema.
mod schema;
/// The text of a policy, from which errors take their lines.
mod source;
/// YAML as a small tree with locations.
mod yaml;

#[cfg(test)]
mod tests;

pub use crate::policy::error::{Place, PolicyError, ValueError};
pub use crate::policy::flags::{MirrorFlag, WildcardFlag};
pub use crate::policy::host::RegistryName;
pub use crate::policy::mirror_url::{MirrorUrl, Scheme};

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// The differences that the operator requires. The default requires none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The work of the agent, or `None` when the file does not set it. The agent then observes. The command line ignores
    /// it, because its command decides.
    pub mode: Option<Mode>,
    /// The treatment of the mirrors of `"*"`.
    pub wildcard: Wildcard,
    /// Registries with their own settings, each host once, in the order of the file, then of the flags.
    pub registries: Vec<Registry>,
    /// Hosts directories of other tools that may be taken over.
    pub adopt: Vec<HostsDir>,
    /// The conditions for a restart of containerd.
    pub restart: Restart,
}

impl Policy {
    /// Returns the settings for one registry.
    pub fn registry(&self, host: &RegistryName) -> Option<&Registry> {
        self.registries.iter().find(|registry| registry.host == *host)
    }
}

/// The work of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The agent plans and reports, and changes nothing.
    Observe,
    /// The agent carries out the plan.
    Migrate,
    /// The agent restores the files as they were before the last change.
    Rollback,
}

/// The treatment of the mirrors of `"*"`, which become `_default`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wildcard {
    /// They continue to serve every registry without its own mirrors.
    #[default]
    Keep,
    /// They are dropped.
    Drop,
    /// They serve only these registries: at least one, none twice.
    Only(Vec<RegistryName>),
}

/// The settings for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The registry, as image names spell it.
    pub host: RegistryName,
    /// The mirrors, none twice. `None` keeps the node's mirrors, a list replaces them. With an empty list images are pulled
    /// from upstream, also when there is a wildcard.
    pub mirrors: Option<Vec<MirrorUrl>>,
    /// The host that resolves tags.
    pub tags: Tags,
    /// The host that containerd tries after the mirrors.
    pub fallback: Fallback,
}

/// The host that resolves tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tags {
    /// The first mirror that answers resolves tags.
    #[default]
    Mirror,
    /// The registry itself resolves tags. Mirrors serve only contents by digest, so a cache cannot serve a stale tag.
    Upstream,
}

/// The host that containerd tries after the mirrors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// containerd tries the registry itself.
    #[default]
    Upstream,
    /// containerd never tries the registry itself.
    None,
}

/// A hosts directory in `config_path`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostsDir {
    /// `_default`, for registries without their own directory.
    Default,
    /// The directory of a registry.
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

/// The conditions for a restart of containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The condition that a restart waits for.
    pub when: When,
    /// The number of nodes of the cluster that may be between restart and verified at one time.
    pub max_concurrent: NonZeroU32,
    /// The time in which CRI must serve again, otherwise the change is undone: 20 seconds to 1 hour. A restart uses
    /// [`Restart::deadline_for`].
    pub deadline: Duration,
}

impl Restart {
    /// The shortest deadline.
    pub const SHORTEST_DEADLINE: Duration = Duration::from_secs(20);
    /// The longest deadline. A node must not be without CRI for longer.
    pub const LONGEST_DEADLINE: Duration = Duration::from_hours(1);
    /// The deadline is at least this many times the duration of the unit's last start.
    const STARTS: u32 = 3;

    /// Returns the deadline for a unit whose last start took `last_start`.
    ///
    /// It is the deadline of the policy, but at least 3 times the last start, because a containerd with many sandboxes needs
    /// longer to recover. It is never more than [`Restart::LONGEST_DEADLINE`].
    pub fn deadline_for(&self, last_start: Option<Duration>) -> Duration {
        let needed = last_start.map_or(Duration::ZERO, |start| start.saturating_mul(Self::STARTS));
        self.deadline.max(needed).min(Self::LONGEST_DEADLINE)
    }
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

/// The condition that a restart of containerd waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It waits, within a bound, until no pull is in progress and no sandbox is being created.
    Idle,
    /// It does not wait.
    Now,
    /// containerd is never restarted. Files are written, and take effect at its next start.
    Never,
}
