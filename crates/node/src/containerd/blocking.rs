//! systemd and containerd are asked over sockets by libraries that are asynchronous, and this crate is not.
//!
//! One current-thread runtime of one's own for each connection: its tasks run only while somebody waits, so nothing
//! happens behind a caller's back.

use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, EnterGuard, Runtime};

/// Waits for answers, each no longer than it was told.
#[derive(Debug)]
pub(crate) struct BlockingRuntime(Runtime);

/// No answer in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadlineExceeded;

impl BlockingRuntime {
    /// Fails when the kernel has no more file descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Builder::new_current_thread().enable_all().build()?))
    }

    /// What `answer` comes to, unless it takes longer than `within`.
    pub(crate) fn wait<T>(&self, within: Duration, answer: impl Future<Output = T>) -> Result<T, DeadlineExceeded> {
        self.0
            .block_on(async { tokio::time::timeout(within, answer).await })
            .map_err(|_| DeadlineExceeded)
    }

    /// For what must be dropped with the runtime in reach.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }
}
