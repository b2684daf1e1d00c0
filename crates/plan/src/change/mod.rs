//! One change of a node's files as a loop: what is true of it, what is wanted, and the one next move.
//!
//! [`decide`] sees only values. Whoever performs its moves looks again after each, so a crash needs no path of its own:
//! the next run looks, and goes on from what it sees.

/// What to do about the containerd that reads them.
pub(crate) mod containerd;
/// What to do about the files, phase by phase.
pub(crate) mod files;
/// One step as it was observed.
pub(crate) mod step;

pub use crate::change::containerd::{Guard, Health, Service, Trial};
pub use crate::change::step::{PathState, SiblingState, StepFacts, StepKind, StepProgress};

use serde::{Deserialize, Serialize};

/// How far a change has come, as the journal says. The comment of each says what is then true of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No change is recorded: nothing was touched.
    Idle,
    /// The backups and the journal are on disk; every file still holds its old bytes. New copies are being staged
    /// beside the files.
    Armed,
    /// Every new file is staged; each file holds its old or its new bytes.
    Applying,
    /// Every file holds its new bytes. The old copies still lie beside them.
    Applied,
    /// Every file holds its new bytes, and whoever would undo the change stands ready. containerd is to be restarted, or
    /// was, and was not yet seen to have come up.
    Restarting,
    /// Every file holds its new bytes, and a containerd runs that has read them. Whether it serves as before is being
    /// asked.
    Verifying,
    /// Every file holds its new bytes, and nothing of the change is left but its backups.
    Settled,
    /// The change was settled and is to be rolled back: every file still holds its new bytes. Old copies are being
    /// staged beside them, from the backups.
    #[serde(rename = "recalled")]
    RollbackStaging,
    /// Each file holds its old or its new bytes; the old ones are being put back, last step first.
    Undoing,
    /// Every file holds its old bytes again. The containerd that ran had read others: it is to be restarted, or was, and
    /// was not yet seen to serve as it did before the change.
    Restoring,
    /// The change did not settle: every file holds its old bytes again.
    Undone,
    /// The change had settled and was rolled back: every file holds its old bytes again.
    RolledBack,
    /// The undo failed: each file holds its old bytes, its new bytes, or what somebody else wrote. A person is needed.
    Stuck,
}

impl Phase {
    /// Whether the change is over, so that another may begin.
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

    /// What is true of the machine, in one sentence for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Idle => "nothing was changed",
            Self::Armed => "backups are on disk; every file holds its old bytes",
            Self::Applying => "each file holds its old or its new bytes",
            Self::Applied => "every file holds its new bytes; old copies still lie beside them",
            Self::Restarting => "every file holds its new bytes; containerd is being restarted",
            Self::Verifying => "every file holds its new bytes; containerd is being asked whether it serves as before",
            Self::Settled => "every file holds its new bytes",
            Self::RollbackStaging => "about to be rolled back; every file holds its new bytes",
            Self::Undoing => "being undone; each file holds its old or its new bytes",
            Self::Restoring => "every file holds its old bytes; containerd was not yet seen to serve with them",
            Self::Undone => "undone; every file holds its old bytes",
            Self::RolledBack => "rolled back; every file holds its old bytes",
            Self::Stuck => "could not be undone; a person is needed",
        }
    }
}

/// Everything [`decide`] needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeFacts {
    /// The phase in the journal.
    pub phase: Phase,
    /// The steps in their order.
    pub steps: Vec<StepFacts>,
    /// The journal names folders that the change made and that an undo has not yet looked at.
    pub has_created_folders: bool,
    /// The journal names folders that the change leaves empty and that go when it has settled.
    pub has_folders_to_remove: bool,
    /// How many moves have failed since the phase was last written.
    pub failed_moves: u32,
    /// The containerd that the change is for, when it runs.
    pub service: Option<Service>,
}

/// What is wanted of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Its new bytes, staged from contents that the caller has at hand.
    Apply,
    /// An end to it, whichever is nearer, without the contents: forward once everything is staged, else back.
    Recover,
    /// Its old bytes, and a containerd that serves with them.
    Rollback,
    /// Its old bytes, at a boot, before any containerd runs: whoever comes after it looks on.
    Guard,
}

impl Goal {
    /// What to do first with an unfinished change when a plan is to be applied. The same plan is carried on, as its
    /// contents are at hand. Any other was made for files as they were before or after this one, not between, so this
    /// one is undone first; what the new plan expects to find is then checked as always. One that is stuck waits for a
    /// person.
    pub fn for_unfinished(phase: Phase, same_plan: bool) -> Self {
        match phase {
            Phase::Stuck => Self::Recover,
            _ if same_plan => Self::Apply,
            _ => Self::Rollback,
        }
    }
}

/// Why a change does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UndoReason {
    /// It was asked for.
    Requested,
    /// An earlier run ended before everything was staged.
    Interrupted,
    /// Somebody edited the file of this step.
    Foreign(usize),
    /// The backup of this step no longer matches its digest.
    Backup(usize),
    /// The copy staged for this step is gone or was altered.
    StagedCopyDamaged(usize),
    /// What lies beside this step's file is not ours to take away.
    Leftover(usize),
    /// An earlier undo failed.
    Stuck,
    /// containerd did not come up, or not as it was.
    ContainerdUnhealthy,
    /// The move before failed.
    MoveFailed,
}

/// The one next thing to do. `Abandon`, `Keep`, `GiveUp`, `Refuse`, `Halt`, `Leave` and `Done` end a run; after any other, look
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// Write and sync backups, then the journal: `Idle` to `Armed`.
    Arm,
    /// Write and sync the new bytes of a step beside its file.
    Stage(usize),
    /// Put in place what would undo the change without this run, and see it work.
    Guard,
    /// `Armed` to `Applying`.
    BeginApplying,
    /// Announce a step in the journal, swap its new bytes in, check what they displaced, sync, record.
    Swap(usize),
    /// Sync and record a swap that was seen to have happened.
    Confirm(usize),
    /// Give back what a swap displaced and nobody planned for. The mark becomes [`Mark::Waiting`], or
    /// [`Mark::Swapped`] when it was a swap back.
    PutBack(usize),
    /// Record that what stands at a step's path is somebody else's and not on top of ours: [`Mark::Waiting`].
    RecordForeign(usize),
    /// `Applying` to `Applied`.
    Complete,
    /// `Applied` to `Restarting`.
    BeginRestart,
    /// Have containerd restarted, or started; its start limit is forgotten before a second attempt.
    Restart,
    /// To `Verifying`.
    Verify,
    /// Have containerd do once what the operator asked for as a trial.
    RunTrial,
    /// Let a moment pass.
    Wait,
    /// Take away what of ours lies beside a step's file.
    RemoveSibling(usize),
    /// `Applied` or `Verifying` to `Settled`.
    Settle,
    /// Forget a change of which nothing was swapped: `Armed` to `Idle`.
    Abandon(UndoReason),
    /// `Settled` to `Recalled`.
    BeginRollback,
    /// Write and sync the old bytes of a step beside its file, from the backup.
    StageUndo(usize),
    /// `Recalled` back to `Settled`.
    CancelRollback(UndoReason),
    /// Any unfinished phase to `Undoing`.
    Undo(UndoReason),
    /// Announce the undo of a step, swap its old bytes in, check what they displaced, sync, record.
    SwapBack(usize),
    /// Take away folders, where they are empty: those that the change made when it is undone, those that it leaves when it
    /// has settled.
    RemoveFolders,
    /// `Undoing` to `Restoring`.
    Restore,
    /// Take away what would undo the change: it is over, or nothing of it was swapped.
    Disarm,
    /// End here: at this boot containerd starts after this run, and the next one looks on.
    LeaveToNextRun,
    /// `Undoing` or `Restoring` to `Undone`, or to `RolledBack` when the change had settled.
    CloseUndone,
    /// Any unfinished phase to `Stuck`.
    GiveUp(UndoReason),
    /// Change nothing and say why.
    Refuse(UndoReason),
    /// Stop here, in the middle, and say so: the next run goes on.
    StopWithFault(UndoReason),
    /// Nothing is left to do.
    Done,
}

/// The next move towards `goal`. Total: every phase and every observation has one.
pub fn decide(goal: Goal, facts: &ChangeFacts) -> Move {
    match facts.phase {
        Phase::Idle => files::idle(goal, facts),
        Phase::Armed => files::armed(goal, facts),
        Phase::Applying => files::applying(goal, facts),
        Phase::Applied => files::applied(goal, facts),
        // Phases of a running containerd, met where none is in sight, as when its root is looked at from outside: there
        // is nobody to restart, so the files go back.
        Phase::Restarting | Phase::Verifying => match &facts.service {
            Some(service) if facts.phase == Phase::Restarting => containerd::restarting(goal, facts, service),
            Some(service) => containerd::verifying(goal, facts, service),
            None => Move::Undo(UndoReason::Interrupted),
        },
        Phase::Settled => files::settled(goal, facts),
        Phase::RollbackStaging => files::recalled(goal, facts),
        Phase::Undoing => files::undoing(facts),
        Phase::Restoring => match &facts.service {
            Some(service) => containerd::restoring(goal, facts, service),
            None => Move::CloseUndone,
        },
        Phase::Undone | Phase::RolledBack => containerd::after_close(goal, facts).unwrap_or(Move::Done),
        Phase::Stuck => files::stuck(goal, facts),
    }
}

#[cfg(test)]
mod tests;
