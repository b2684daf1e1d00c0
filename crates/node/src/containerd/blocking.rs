//! Calls asynchronous libraries from synchronous code.
//!
//! zbus and tonic are asynchronous; this crate is synchronous. Each connection owns a current-thread runtime. Its tasks
//! make progress only inside [`BlockingRuntime::wait`], so that no work happens in the background.

use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, EnterGuard, Runtime};

/// A current-thread runtime that waits for one future at a time, with a deadline.
#[derive(Debug)]
pub(crate) struct BlockingRuntime(Runtime);

/// The deadline of a call passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadlineExceeded;

impl BlockingRuntime {
    /// Creates a runtime. Fails if the process has no file descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Builder::new_current_thread().enable_all().build()?))
    }

    /// Waits for `future`, at most for the time `within`.
    pub(crate) fn wait<T>(&self, within: Duration, future: impl Future<Output = T>) -> Result<T, DeadlineExceeded> {
        self.0
            .block_on(async { tokio::time::timeout(within, future).await })
            .map_err(|_| DeadlineExceeded)
    }

    /// Makes the runtime current, for values that need it while they are dropped.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }
}
