//! The phases of a change.

use serde::{Deserialize, Serialize};

/// The progress of a change, as the journal records it. The comment of each variant states what is then true of the
/// machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No change is recorded, and no file was modified.
    Idle,
    /// The backups and the journal are on disk; every file is the original. New copies are being staged next to the
    /// files.
    Armed,
    /// Every new file is staged; each file is the original or the new one.
    Applying,
    /// Every file is the new one. The originals are kept next to them.
    Applied,
    /// Every file is the new one, and the boot guard is in place. containerd has still to restart, or has not been seen
    /// to run since.
    Restarting,
    /// Every file is the new one, and the containerd that runs has read them. The agent is checking that it serves as
    /// before.
    Verifying,
    /// Every file is the new one, and only the backups remain of the change.
    Settled,
    /// A settled change is to be rolled back: every file is still the new one. The originals are being staged next to
    /// them, from the backups.
    #[serde(rename = "recalled")]
    RollbackStaging,
    /// Each file is the original or the new one; the originals are being restored, last step first.
    Undoing,
    /// Every file is the original. containerd had read new files: it has still to restart, or has not been seen to serve
    /// as it did before the change.
    Restoring,
    /// The change did not settle, and every file is the original.
    Undone,
    /// The change had settled and was rolled back; every file is the original.
    RolledBack,
    /// The undo failed: each file is the original, the new one, or an edit of another program. An operator must
    /// repair the node.
    Stuck,
}

impl Phase {
    /// Returns true when the change is over, so that another may begin.
    pub fn is_closed(self) -> bool {
        match self {
            Self::Idle | Self::Settled | Self::Undone | Self::RolledBack => true,
            Self::Armed
            | Self::Applying
            | Self::Applied
            | Self::Restarting
            | Self::Verifying
            | Self::RollbackStaging
            | Self::Undoing
            | Self::Restoring
            | Self::Stuck => false,
        }
    }

    /// Returns one sentence for operators, which states what is true of the machine.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Idle => "nothing was changed",
            Self::Armed => "backups are on disk; every file is the original",
            Self::Applying => "new files are being put in place; each file is the original or the new one",
            Self::Applied => "every new file is in place; the originals are kept next to them",
            Self::Restarting => "every new file is in place; containerd is restarting",
            Self::Verifying => "every new file is in place; containerd is being checked",
            Self::Settled => "every new file is in place",
            Self::RollbackStaging => "every new file is in place; the rollback is being prepared",
            Self::Undoing => "the original files are being restored",
            Self::Restoring => "every file is the original; containerd is being checked",
            Self::Undone => "every file is the original: the change failed and was undone",
            Self::RolledBack => "every file is the original: the change was rolled back",
            Self::Stuck => "the undo failed; an operator must repair the node",
        }
    }
}
