//! systemd: over the system D-Bus, and by `systemctl` where D-Bus is not available.
//!
//! Every call has a deadline. This is the only place that starts or stops a unit; nothing here decides when.

/// The connection to systemd over D-Bus.
pub(crate) mod bus;
/// The environment of a unit, whose values are not printed.
pub(crate) mod environment;
/// Errors of D-Bus calls, with advice.
pub(crate) mod error;
/// Starting, stopping and restarting units, and waiting for the jobs.
pub(crate) mod job;
/// A stream of finished jobs of a unit.
pub(crate) mod job_stream;
/// Runs `systemctl`, for a node whose D-Bus is not available.
pub(crate) mod systemctl;
/// Transient units.
pub(crate) mod transient;
/// The properties of a unit.
pub(crate) mod unit;
/// Reads the values of D-Bus answers.
pub(crate) mod value;
