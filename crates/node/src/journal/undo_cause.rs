//! Why a change was undone, as far as that says whether it would be undone again.

use crate::journal::file::Change;
use crate::journal::status::Status;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::{Phase, UndoReason};
use serde::{Deserialize, Serialize};

/// The kind of reason for which a change was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoCause {
    /// containerd did not come up with it, or did not serve as it did before.
    Daemon,
    /// The run that made it was cut short: killed, or the machine was reset.
    Interrupted,
    /// Somebody asked for it, or it was in the way of another change; an owner that came after a run which ended, too.
    Asked,
    /// Somebody edited a file of it in the middle.
    Foreign,
    /// A backup or a copy of it was damaged or taken away.
    Damaged,
    /// The machine did not do what it was told: a full disk, a file system gone read-only, systemd without an answer.
    Fault,
    /// Of a newer version of the tool.
    #[serde(other)]
    Other,
}

impl UndoCause {
    /// The kind of a reason.
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

    /// Whether the same plan would meet it again on the same containerd.
    pub fn is_reproducible(self) -> bool {
        match self {
            Self::Daemon => true,
            Self::Interrupted | Self::Asked | Self::Foreign | Self::Damaged | Self::Fault | Self::Other => false,
        }
    }
}

impl Status {
    /// The last change of this plan for this version of containerd, when it was undone for a reason that would come again.
    /// Whoever would try it once more by itself should not. What was killed, reset, edited by others or met a full disk is
    /// no such change, and neither is one of a plan that has settled since.
    pub fn undone_before(&self, plan: Digest, containerd: &str) -> Option<&Change> {
        let same = |change: &&Change| change.plan == plan && change.containerd == containerd;
        let last = self.history.iter().rfind(same)?;
        let again = last.why.is_some_and(UndoCause::is_reproducible);
        (last.phase == Phase::Undone && again).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn change(plan: &str, containerd: &str, phase: Phase, why: Option<UndoCause>) -> Change {
        Change {
            id: "x".to_owned(),
            plan: Digest::of(plan.as_bytes()),
            containerd: containerd.to_owned(),
            began: 0,
            ended: None,
            phase,
            settled: phase == Phase::Settled,
            note: None,
            why,
            undoes: None,
            folders: Vec::new(),
            is_repair: false,
            leaves: Vec::new(),
            new_file_mode: 0o644,
            service: None,
            steps: Vec::new(),
        }
    }

    fn told(history: Vec<Change>) -> bool {
        let status = Status {
            unfinished: None,
            history,
            owned: BTreeMap::new(),
        };
        status.undone_before(Digest::of(b"plan"), "1.7.24").is_some()
    }

    #[test]
    fn only_repeatable_failures_block_a_plan() {
        let undone = |why| change("plan", "1.7.24", Phase::Undone, why);
        assert!(told(vec![undone(Some(UndoCause::Daemon))]));
        for why in [
            None,
            Some(UndoCause::Interrupted),
            Some(UndoCause::Asked),
            Some(UndoCause::Foreign),
            Some(UndoCause::Damaged),
            Some(UndoCause::Fault),
            Some(UndoCause::Other),
        ] {
            assert!(!told(vec![undone(why)]), "{why:?}");
            // The last one counts.
            assert!(!told(vec![undone(Some(UndoCause::Daemon)), undone(why)]), "{why:?}");
            assert!(told(vec![undone(why), undone(Some(UndoCause::Daemon))]), "{why:?}");
        }
        let daemon = Some(UndoCause::Daemon);
        assert!(!told(vec![change("other", "1.7.24", Phase::Undone, daemon)]));
        // Another containerd may take it.
        assert!(!told(vec![change("plan", "1.7.25", Phase::Undone, daemon)]));
        let settled = change("plan", "1.7.24", Phase::Settled, None);
        assert!(!told(vec![undone(daemon), settled]));
        let others = [
            change("plan", "1.7.25", Phase::Settled, None),
            change("other", "1.7.24", Phase::Settled, None),
        ];
        assert!(told([vec![undone(daemon)], others.into()].concat()));
    }

    #[test]
    fn a_reason_of_a_newer_version_is_read() {
        let read: UndoCause = serde_json::from_str("\"weather\"").unwrap();
        assert_eq!(read, UndoCause::Other);
        assert_eq!(serde_json::to_string(&UndoCause::Daemon).unwrap(), "\"daemon\"");
    }
}
