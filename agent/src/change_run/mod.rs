//! A change of the running node: requested here, made by its own systemd unit, and followed from here.
//!
//! `migrate` and the agent write a [`request`], have systemd [`start`] the change from a copy of this program, and
//! [`follow`] its progress. The change itself ([`carry_out`]) does not need a process that follows it. When its process
//! has ended early, [`undo`] undoes what it left.
//!
//! The folder does not decide whether a change is made: the commands and the agent do.

/// Carries out a change: what the change unit runs.
pub(crate) mod carry_out;
/// A failure as data.
pub(crate) mod failure_summary;
/// Follows and shows a change.
pub(crate) mod follow;
/// Waits until the node is fit for a change, and quiet.
pub(crate) mod preflight;
/// The progress and the result of a run.
pub(crate) mod progress;
/// Rehearses a change in a sandbox.
pub(crate) mod rehearse;
/// A runtime that reports each phase.
pub(crate) mod reporting_runtime;
/// The request of a change, as a file.
pub(crate) mod request;
/// The folder of a run under `/run/mirrorshift`.
pub(crate) mod run_dir;
/// Starts the change unit.
pub(crate) mod start;
/// Undoes a change whose process has ended.
pub(crate) mod undo;
