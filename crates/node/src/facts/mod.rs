//! Facts about the running node: what systemd, containerd and the kernel report at one moment.
//!
//! [`gather::observe`] returns all of them as one value. A fact that cannot be observed is
//! [`Fact::Unavailable`](fact::Fact::Unavailable) with its reason. Nothing here decides anything or changes the node.

/// The health of containerd, compared with an earlier observation.
pub(crate) mod baseline;
/// The current boot.
pub(crate) mod boot;
/// The containerd processes, and their shims.
pub(crate) mod daemons;
/// The distribution that generates config.toml.
pub(crate) mod distribution;
/// A value, or the reason why it is unavailable.
pub(crate) mod fact;
/// Observes a node.
pub(crate) mod gather;
/// The command line of a containerd process.
pub(crate) mod launch;
/// The log pipes of containers that containerd reads.
pub(crate) mod log_fifos;
/// Mounts, as the kernel lists them.
pub(crate) mod mounts;
/// All facts as one value.
pub(crate) mod node_facts;
/// Properties of a path that can prevent a change.
pub(crate) mod path_facts;
/// The facts that decide whether a change may begin.
pub(crate) mod preflight_input;
/// One process, as the kernel describes it.
pub(crate) mod process;
/// The start time of containerd, and whether the clock was set since.
pub(crate) mod started;
