//! Whole runs on real files, through the public interface and through the example program.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does"
)]

/// What the tests share.
mod common;
/// Reading below a root.
mod entry;
/// Every kill point and every failing call.
mod kill_points;
/// What somebody wrote over is put back.
mod mend;
/// Mounts, full and read-only file systems.
mod mounts;
/// The program's own copy.
mod program;
/// What a purge takes away.
mod purge;
/// Settled changes that are taken back where a containerd runs.
mod rollback;
/// Changes whose containerd runs, as far as files and journal go.
mod runtime;
/// Changes and rollbacks.
mod session;
/// Data and folders are synced in the right order.
mod trace;
