//! The report of the node, and its delivery to the cluster.

use crate::cluster::error::Error;
use crate::cluster::node_mirror_writer::{NodeMirrorWriter, NodeReport};
use jiff::Timestamp;

/// Writes reports to the node's object, and keeps the last one so that it can be written again.
pub(crate) struct Outbox {
    writer: NodeMirrorWriter,
    last: Option<NodeReport>,
    /// The API server has not accepted the last report.
    pending: bool,
}

impl Outbox {
    pub(crate) fn new(writer: NodeMirrorWriter) -> Self {
        Self {
            writer,
            last: None,
            pending: false,
        }
    }

    /// Writes a report.
    ///
    /// # Errors
    ///
    /// The error of the write. The report is kept for [`Outbox::resend`].
    pub(crate) async fn send(&mut self, report: NodeReport) -> Result<(), Error> {
        self.last = Some(report);
        self.resend().await
    }

    /// Writes the last report again, because the object was changed or the previous write failed.
    ///
    /// # Errors
    ///
    /// The error of the write.
    pub(crate) async fn resend(&mut self) -> Result<(), Error> {
        let Some(report) = &self.last else { return Ok(()) };
        let written = self.writer.apply(report, Timestamp::now()).await;
        self.pending = written.is_err();
        written.map(|_outcome| ())
    }

    /// Returns true if the API server has not accepted the last report.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    /// Waits until another program has changed or deleted the object. Cancel safe.
    ///
    /// # Errors
    ///
    /// The error of the watch.
    pub(crate) async fn wait_for_external_change(&mut self) -> Result<(), Error> {
        self.writer.wait_for_external_change().await
    }
}
