//! Whole runs on real files, through the public interface and through the example program.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does"
)]

/// Helpers that the tests share.
mod common;
/// Reading under a root.
mod entry;
/// Every kill point and every failing call.
mod kill_points;
/// Mounts, full and read-only file systems.
mod mounts;
/// The program's own copy.
mod program;
/// Purges.
mod purge;
/// Repairs of files that another program modified.
mod repair;
/// Rollbacks of settled changes on a node with a running containerd.
mod rollback;
/// Changes with a simulated containerd: their files and their journal.
mod runtime;
/// Changes and rollbacks.
mod session;
/// Data and folders are synced in the right order.
mod trace;
