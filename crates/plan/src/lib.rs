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

mod configure;
mod edit;
mod folders;
mod hosts_file;
mod plan;
mod refusal;
mod step;
mod wish;
mod written;

pub use edit::RemovedText;
pub use plan::{NodeFiles, Note, OWN_CERTS_D, Plan, RegistryScope, RouteChange, plan};
pub use refusal::{Refusal, RefusalReason};
pub use step::{Digest, Expect, Step};
