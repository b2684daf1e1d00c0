//! A change of the running node: ordered here, made by a unit of its own, and followed from here.
//!
//! Whoever types `migrate` writes an [`order`], has systemd [`start`] the change from a copy of this program, and
//! [`follow`]s what it tells. The change itself ([`change`]) depends on nobody who follows. When it is gone, [`owners`] undo
//! what it left.

/// What the unit does.
pub(crate) mod change;
/// The `/run/mirrorshift` folder.
mod folder;
/// Shows what it tells.
pub(crate) mod follow;
/// What the unit of a look does.
pub(crate) mod look;
/// What a unit is to do, as a file.
pub(crate) mod order;
/// Whoever undoes a change after its end.
pub(crate) mod owners;
/// What it tells while it does that, and at its end.
pub(crate) mod progress;
/// Whether the node is fit for a change, and quiet.
mod ready;
/// Tries it in a sandbox first.
pub(crate) mod rehearse;
/// What a look found, as a document.
pub(crate) mod seen;
/// Starts it.
pub(crate) mod start;
/// Tells every phase that the loop enters.
mod told;

pub(crate) use folder::latest_run;
