//! The results of the commands, as plain data.
//!
//! A command makes a result, and [`crate::render`] and [`crate::json`] print it. A type belongs here when both read it.
//! Code that decides or prints does not.

/// The result of `check`.
pub(crate) mod check;
/// A step of a running change.
pub(crate) mod event;
/// The result of `explain`.
pub(crate) mod explain;
/// The result of `migrate`.
pub(crate) mod migrate;
/// The result of `plan`.
pub(crate) mod plan;
/// The result of a rehearsal.
pub(crate) mod rehearsal;
/// The files that a command read.
pub(crate) mod source_files;
/// The result of `status`.
pub(crate) mod status;
