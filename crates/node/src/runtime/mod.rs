//! The running containerd of a change: restarts it, checks it and guards the change.
//!
//! This folder implements [`Runtime`](crate::change::runtime::Runtime) with systemd and containerd. It performs what
//! the loop of a change requests, and decides nothing.

/// The boot guard: the units that undo an unsettled change at the next boot.
pub(crate) mod boot_guard;
/// Messages on the machine's console.
pub(crate) mod console;
/// The deadline of a phase, by the clock since boot.
pub(crate) mod deadline;
/// Ends the unit of an interrupted change before it is undone.
pub(crate) mod kill_change_unit;
/// The implementation of `Runtime` for a node under systemd.
pub(crate) mod systemd_runtime;
/// Waits until the CRI of a started containerd answers.
pub(crate) mod wait_for_cri;
