//! Remarks that a plan makes to its reader.

use mirrorshift_containerd::SourceLocation;

/// A fact that the reader of a plan should know. It never prevents the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// CRI does not load with the current files, for this reason, and the plan repairs that.
    RepairsCri(String),
    /// `/etc/containerd/certs.d` is not used, because a directory in it would take effect.
    LeavesCertsD {
        /// The location of the directory.
        stale: SourceLocation,
    },
    /// Pulls move from the CRI plugin to the transfer service, with the same hosts in the same order.
    TransferService,
    /// An entry that no image can match is removed.
    NeverMatched {
        /// The key, made safe to print.
        key: String,
        /// The location of the entry.
        place: SourceLocation,
    },
    /// The release is newer than any that the rules were checked against.
    NewerThanKnown,
}
