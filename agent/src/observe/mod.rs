//! The agent's observation of its node: made by a transient unit, read as one document.
//!
//! Nothing here decides what is done about it: see [`decide`](crate::reconcile::decide).

/// The observation as a document.
pub(crate) mod observation;
/// Makes the observation: what the observing unit runs.
pub(crate) mod observe_unit;
