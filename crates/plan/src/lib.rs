//! Plans and decides: turns the facts about a node into a plan or a refusal, and the state of a change into its next move.
//!
//! The input of [`plan()`] is a node's files, the version of its containerd and the operator's policy. The result is the
//! files to put in place, with the routes of every registry before and after. When containerd would try other hosts than
//! before, and the policy does not require that, the result is a [`Refusal`].
//!
//! This crate never opens a file, reads a clock or the environment, starts a process or sends a request.

/// A change as a loop: takes facts, returns the next move.
pub mod change;
/// The `MirrorPolicy` file, and the flags of the command line that mean the same.
pub mod policy;
/// The conditions that a running node must meet before a change may start.
pub mod preflight;
/// The comparison of a rehearsal with the plan.
pub mod rehearsal;

/// The edits of configuration files that replace `mirrors` by `config_path`.
mod config_edit;
/// The route that each registry should have.
mod desired;
/// The smallest edit of a TOML text.
mod edit;
/// The text of a `hosts.toml`.
mod hosts_file;
/// The choice of the hosts directories to write.
mod layout;
/// Remarks that a plan makes to its reader.
mod note;
/// The planner.
mod plan;
/// The reason why a node is not changed.
mod refusal;
/// The routes of one registry before and after a change.
mod route_change;
/// One file to put in place.
mod step;
/// Refusals of registry names and endpoints, before anything is planned.
mod validate;

pub use crate::edit::RemovedText;
pub use crate::note::Note;
pub use crate::plan::{NodeFiles, OWN_CERTS_D, Plan, plan};
pub use crate::refusal::{Refusal, RefusalReason};
pub use crate::route_change::{RegistryScope, RouteChange};
pub use crate::step::{Digest, Expect, Step};
