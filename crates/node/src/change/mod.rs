//! One change: its preconditions, the loop that performs it, and its way back.
//!
//! [`session`] is the entry point. The loop observes the files, calls `mirrorshift_plan::change::decide` and performs the
//! move that it returns. Nothing here decides what to change.

/// The loop: observe, decide, perform, repeat.
pub(crate) mod change_loop;
/// The plan of a change.
pub(crate) mod change_plan;
/// Performs one move.
pub(crate) mod executor;
/// The result of a session.
pub(crate) mod outcome;
/// Checks the files of a plan before anything is changed.
pub(crate) mod preconditions;
/// Repairs a file that Mirrorshift wrote and another program modified.
pub(crate) mod repair;
/// Rolls back a settled change with another change.
pub(crate) mod rollback;
/// The trait behind which the running containerd is.
pub(crate) mod runtime;
/// The entry point: opens the state folder, holds the lock, applies and rolls back plans.
pub(crate) mod session;
/// Observes the files of a change for the next decision.
pub(crate) mod step_observation;
