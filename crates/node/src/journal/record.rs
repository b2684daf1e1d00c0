//! The records of the journal: changes, their steps, and the files that they concern.
//!
//! The records are data under every other folder of this crate: they know neither files, nor systemd, nor the change loop.

use crate::facts::baseline::Baseline;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::{Phase, StepKind, StepProgress, UndoReason};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The contents and attributes of a file at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// The digest of the contents.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of the file system.
    pub device: [u32; 2],
    /// The inode number.
    pub inode: u64,
    /// The extended attributes that the writer could read, ACLs and security labels included.
    #[serde(with = "hexadecimal")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl FileRecord {
    /// Returns true if everything that a restore sets is equal. The inode may differ, because a file that was restored from
    /// its backup has a new one.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        (self.digest, self.mode, self.uid, self.gid, &self.xattrs)
            == (other.digest, other.mode, other.uid, other.gid, &other.xattrs)
    }
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// The file, by the path that the plan gave.
    pub path: String,
    /// The path without links, resolved when the change was armed.
    pub target: String,
    /// The name of the copy next to the file.
    pub beside: String,
    /// The reason, as the plan states it.
    pub why: String,
    /// The original file, or `None` if there was none.
    pub before: Option<FileRecord>,
    /// The digest of the new contents, or `None` if the file is removed.
    pub after: Option<Digest>,
    /// In a rollback: the file before the reverted change, which is the state to restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<FileRecord>,
    /// The ownership of this path before the change.
    pub owned: Option<OwnedFile>,
    /// The progress of the step.
    pub mark: StepProgress,
}

impl StepRecord {
    /// Returns whether the step creates, replaces or removes the file.
    pub fn kind(&self) -> StepKind {
        match (&self.before, &self.after) {
            (None, _) => StepKind::Create,
            (Some(_), Some(_)) => StepKind::Replace,
            (Some(_), None) => StepKind::Remove,
        }
    }
}

/// A file that holds contents written by Mirrorshift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnedFile {
    /// The digest of those contents.
    pub digest: Digest,
    /// True if there was no file before Mirrorshift's first change of it, so that a later change may remove it.
    pub made: bool,
}

/// One change of the node's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The identifier, chosen by the caller.
    pub id: String,
    /// The digest of the plan.
    pub plan: Digest,
    /// The version of containerd that the plan was made for, as text.
    pub containerd: String,
    /// The time when the change was armed, in seconds since 1970.
    pub began: u64,
    /// The time when the change was last closed, in seconds since 1970.
    pub ended: Option<u64>,
    /// The phase that the change has reached.
    pub phase: Phase,
    /// True if the change was settled at some time.
    pub settled: bool,
    /// The reason why the change was undone or is stuck, as a sentence.
    pub note: Option<String>,
    /// The kind of that reason. Absent in journals of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<UndoCause>,
    /// The identifier of the settled change that this rollback reverts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
    /// True for a repair, which restores files of earlier changes that another program modified. A repair is not rolled back.
    #[serde(default, rename = "mends", skip_serializing_if = "is_false")]
    pub is_repair: bool,
    /// The folders that this change created, outermost first.
    pub folders: Vec<String>,
    /// In a rollback: the folders that the reverted change created, outermost first. The empty ones are removed after it settles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<String>,
    /// The mode of files that this change creates.
    pub new_file_mode: u32,
    /// The service that ran containerd, if it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRecord>,
    /// The steps in order.
    pub steps: Vec<StepRecord>,
}

/// The containerd for which a change is made, as the journal records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRecord {
    /// The unit, such as `containerd.service`.
    pub unit: String,
    /// The boot in which the change was armed, as the kernel names it.
    pub boot: String,
    /// True if the change takes effect only after a restart.
    pub restart: bool,
    /// The invocation that ran when the change was armed.
    pub armed_with: String,
    /// The invocation that ran when the restart of this phase was announced. `None` if none ran.
    pub from: Option<String>,
    /// The invocation that served when the change was closed. It has read the files as the change left them, whatever their
    /// modification times and the clock are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_with: Option<String>,
    /// The health of containerd when the change was armed.
    pub baseline: Baseline,
}

/// The kind of cause for which a change was undone. It decides whether the same plan may be attempted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoCause {
    /// containerd did not start with the new files, or did not serve as before.
    Daemon,
    /// The run was interrupted: its process was killed, or the machine was reset.
    Interrupted,
    /// An operator requested the undo, another change required it, or an owner of the undo found the run ended.
    Asked,
    /// Another program modified a file during the change.
    Foreign,
    /// A backup or a staged copy was damaged or removed.
    Damaged,
    /// A move failed: a full disk, a file system that became read-only, or a systemd that did not answer.
    Fault,
    /// A cause that a newer version of Mirrorshift recorded.
    #[serde(other)]
    Other,
}

impl UndoCause {
    /// Returns the cause that belongs to `reason`.
    pub(crate) fn of(reason: UndoReason) -> Self {
        match reason {
            UndoReason::ContainerdUnhealthy => Self::Daemon,
            UndoReason::Interrupted => Self::Interrupted,
            UndoReason::Requested | UndoReason::Stuck => Self::Asked,
            UndoReason::Foreign(_) => Self::Foreign,
            UndoReason::Backup(_) | UndoReason::StagedCopyDamaged(_) | UndoReason::Leftover(_) => Self::Damaged,
            UndoReason::MoveFailed => Self::Fault,
        }
    }

    /// Returns true if the same plan would fail again on the same containerd.
    pub fn is_reproducible(self) -> bool {
        match self {
            Self::Daemon => true,
            Self::Interrupted | Self::Asked | Self::Foreign | Self::Damaged | Self::Fault | Self::Other => false,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Stores the values of extended attributes as hexadecimal text.
mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;
    use std::fmt::Write;

    pub(crate) fn serialize<S: Serializer>(map: &BTreeMap<String, Vec<u8>>, out: S) -> Result<S::Ok, S::Error> {
        let text = |bytes: &Vec<u8>| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                // Writing to a string cannot fail.
                write!(text, "{byte:02x}").ok();
                text
            })
        };
        map.iter()
            .map(|(name, value)| (name, text(value)))
            .collect::<BTreeMap<_, _>>()
            .serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
        let bytes = |text: &str| -> Option<Vec<u8>> {
            let digits: Option<Vec<u8>> = text
                .chars()
                .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
                .collect();
            let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
            Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        };
        BTreeMap::<String, String>::deserialize(from)?
            .into_iter()
            .map(|(name, text)| Some((name, bytes(&text)?)))
            .collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("an attribute is not hexadecimal"))
    }
}
