//! The output of `decide`: the moves of a change, the reasons for not going on, and the table of transitions.

use crate::change::phase::Phase;

/// The reason why a change does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UndoReason {
    /// The operator requested it.
    Requested,
    /// An earlier run ended before everything was staged.
    Interrupted,
    /// Another program edited the file of this step.
    Foreign(usize),
    /// The backup of this step no longer matches its digest.
    Backup(usize),
    /// The copy that was staged for this step is missing or was modified.
    StagedCopyDamaged(usize),
    /// The file next to this step's file is not ours to remove.
    Leftover(usize),
    /// An earlier undo failed.
    Stuck,
    /// containerd did not come up, or does not serve as before.
    ContainerdUnhealthy,
    /// The move before failed.
    MoveFailed,
}

/// The one next move. `Abandon`, `CancelRollback`, `GiveUp`, `Refuse`, `StopWithFault`, `LeaveToNextRun` and `Done` end
/// a run; after any other the executor observes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// Writes and syncs the backups, then the journal: `Idle` to `Armed`.
    Arm,
    /// Writes and syncs the new file of a step next to the original.
    Stage(usize),
    /// Puts the boot guard in place and tests it.
    Guard,
    /// `Armed` to `Applying`.
    BeginApplying,
    /// Announces a step in the journal, swaps its new file in, checks the file that was displaced, syncs, and records
    /// the swap.
    Swap(usize),
    /// Syncs and records a swap that was observed to have happened.
    Confirm(usize),
    /// Restores a file that a swap displaced and the plan did not expect. The progress becomes
    /// [`StepProgress::Waiting`](crate::change::StepProgress::Waiting), or
    /// [`StepProgress::Swapped`](crate::change::StepProgress::Swapped) when it was a swap back.
    PutBack(usize),
    /// Records that the file at a step's path was written by another program and not on top of our file. The progress
    /// becomes [`StepProgress::Waiting`](crate::change::StepProgress::Waiting).
    RecordForeign(usize),
    /// `Applying` to `Applied`.
    Complete,
    /// `Applied` to `Restarting`.
    BeginRestart,
    /// Restarts or starts containerd. A second attempt resets the unit's start limit first.
    Restart,
    /// `Applied` or `Restarting` to `Verifying`.
    Verify,
    /// Runs the test that the operator requested.
    RunTrial,
    /// Waits for a moment.
    Wait,
    /// Removes our copy next to a step's file.
    RemoveSibling(usize),
    /// `Applied` or `Verifying` to `Settled`.
    Settle,
    /// Forgets a change of which no file was swapped: `Armed` to `Idle`.
    Abandon(UndoReason),
    /// `Settled` to `RollbackStaging`.
    BeginRollback,
    /// Writes and syncs the original file of a step next to its file, from the backup.
    StageUndo(usize),
    /// `RollbackStaging` back to `Settled`.
    CancelRollback(UndoReason),
    /// Any unfinished phase to `Undoing`.
    Undo(UndoReason),
    /// Announces the undo of a step, swaps its original file in, checks the file that was displaced, syncs, and records
    /// the swap.
    SwapBack(usize),
    /// Removes folders that are empty: those that the change created when it is undone, those that it leaves behind when
    /// it has settled.
    RemoveFolders,
    /// `Undoing` to `Restoring`.
    Restore,
    /// Removes the boot guard: the change is over, or no file of it was swapped.
    Disarm,
    /// Ends the run: at this boot containerd starts after it, and the next run continues.
    LeaveToNextRun,
    /// `Undoing` or `Restoring` to `Undone`, or to `RolledBack` when the change had settled.
    CloseUndone,
    /// Any unfinished phase to `Stuck`.
    GiveUp(UndoReason),
    /// Changes nothing and reports the reason.
    Refuse(UndoReason),
    /// Ends the run in the middle of the change and reports the reason. The next run continues.
    StopWithFault(UndoReason),
    /// Nothing is left to do.
    Done,
}

impl Move {
    /// Returns the phase that this move records, or `None` when the phase stays.
    ///
    /// This is the only table of transitions. `had_settled` is true for a change that settled before: its undo is a
    /// rollback.
    pub const fn next_phase(self, had_settled: bool) -> Option<Phase> {
        match self {
            Self::Arm => Some(Phase::Armed),
            Self::BeginApplying => Some(Phase::Applying),
            Self::Complete => Some(Phase::Applied),
            Self::BeginRestart => Some(Phase::Restarting),
            Self::Verify => Some(Phase::Verifying),
            Self::Settle | Self::CancelRollback(_) => Some(Phase::Settled),
            Self::Abandon(_) => Some(Phase::Idle),
            Self::BeginRollback => Some(Phase::RollbackStaging),
            Self::Undo(_) => Some(Phase::Undoing),
            Self::Restore => Some(Phase::Restoring),
            Self::CloseUndone if had_settled => Some(Phase::RolledBack),
            Self::CloseUndone => Some(Phase::Undone),
            Self::GiveUp(_) => Some(Phase::Stuck),
            Self::Stage(_)
            | Self::Guard
            | Self::Swap(_)
            | Self::Confirm(_)
            | Self::PutBack(_)
            | Self::RecordForeign(_)
            | Self::Restart
            | Self::RunTrial
            | Self::Wait
            | Self::RemoveSibling(_)
            | Self::StageUndo(_)
            | Self::SwapBack(_)
            | Self::RemoveFolders
            | Self::Disarm
            | Self::LeaveToNextRun
            | Self::Refuse(_)
            | Self::StopWithFault(_)
            | Self::Done => None,
        }
    }

    /// Returns true for the moves after which a run ends.
    pub const fn ends_run(self) -> bool {
        matches!(
            self,
            Self::Abandon(_)
                | Self::CancelRollback(_)
                | Self::GiveUp(_)
                | Self::Refuse(_)
                | Self::StopWithFault(_)
                | Self::LeaveToNextRun
                | Self::Done
        )
    }
}
