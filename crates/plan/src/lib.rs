//! What to change: facts in, a plan or a refusal out.
//!
//! From a node's files, its containerd's version and the operator's policy to the files to put in place, with the routes of
//! every registry before and after. Where that cannot be had without asking others than before, a refusal.
//!
//! This crate never opens a file, reads a clock or an environment, starts a process or talks to anybody.

/// One change as a loop: facts in, the next move out.
pub mod change;
/// What the operator asks for.
pub mod policy;
/// What must hold of a running node before it is touched.
pub mod preflight;
/// What the node's own containerd said of a change before it was made.
pub mod rehearsal;

mod config_edit;
mod desired;
mod edit;
mod hosts_file;
mod layout;
mod plan;
mod refusal;
mod step;
mod validate;

pub use crate::edit::RemovedText;
pub use crate::plan::{NodeFiles, Note, OWN_CERTS_D, Plan, RegistryScope, RouteChange, plan};
pub use crate::refusal::{Refusal, RefusalReason};
pub use crate::step::{Digest, Expect, Step};
