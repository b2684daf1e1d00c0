//! A change of a node's files as a loop: observe the facts, decide the one next move, perform it, observe again.
//!
//! [`decide`](crate::change::decide) sees only values. The executor in `crates/node` observes again after each move, so recovery after a crash
//! is the ordinary path: the next run observes, and continues from there. Performing moves does not belong here.
//!
//! The phases of a change, with the move that leads from each to the next ([`Move::next_phase`](crate::change::Move::next_phase) is the whole table):
//!
//! ```text
//! idle -> armed -> applying -> applied -> restarting -> verifying -> settled -> rollback staging
//!           |         |           |           |             |                          |
//!           v         +-----------+-----------+-------------+------------+-------------+
//!         idle                                                           v
//!                                         undone or rolled back <---- undoing ----> restoring ----> undone or rolled back
//!                                                                        |              |
//!                                                                        v              v
//!                                                                      stuck          stuck
//! ```
//!
//! - A change without a configuration file skips `restarting`. A change without a running containerd skips `verifying`
//!   too.
//! - `applying`, `applied` and `verifying` lead to `stuck` when two programs' edits of one file compete for its path.
//! - `rollback staging` returns to `settled` when the rollback is cancelled.
//! - `stuck` returns to `undoing` when an operator requests it and the obstacle is gone.

/// Moves that concern the containerd that reads the files.
mod containerd;
/// The input of `decide`.
mod facts;
/// Moves that concern the files.
mod files;
/// The output of `decide`, and the table of transitions.
mod moves;
/// The phases of a change.
mod phase;
/// Rules that more than one phase applies.
mod shared;
/// One step as it was observed.
mod step;

pub use crate::change::facts::{ChangeFacts, Goal, Guard, Health, Service, Trial};
pub use crate::change::moves::{Move, UndoReason};
pub use crate::change::phase::Phase;
pub use crate::change::step::{PathState, SiblingState, StepFacts, StepKind, StepProgress};

/// Returns the next move towards `goal`.
///
/// # Guarantees
///
/// The function is total: every phase and every observation has a move, and no input makes it panic. A run that repeats
/// "observe, decide, perform" ends, also when it is killed between any two effects and started again.
///
/// ```
/// use mirrorshift_plan::change::{ChangeFacts, Goal, Move, PathState, Phase, SiblingState, StepFacts, StepKind};
/// use mirrorshift_plan::change::{StepProgress, decide};
///
/// let step = StepFacts {
///     kind: StepKind::Replace,
///     mark: StepProgress::Waiting,
///     at_path: PathState::Before,
///     sibling: SiblingState::Nothing,
///     backup: true,
/// };
/// let mut facts = ChangeFacts {
///     phase: Phase::Armed,
///     steps: vec![step],
///     has_created_folders: false,
///     has_folders_to_remove: false,
///     failed_moves: 0,
///     service: None,
/// };
/// // The new file of the step is not yet staged.
/// assert_eq!(decide(Goal::Apply, &facts), Move::Stage(0));
/// facts.steps[0].sibling = SiblingState::After;
/// assert_eq!(decide(Goal::Apply, &facts), Move::BeginApplying);
/// assert_eq!(Move::BeginApplying.next_phase(false), Some(Phase::Applying));
/// ```
pub fn decide(goal: Goal, facts: &ChangeFacts) -> Move {
    match facts.phase {
        Phase::Idle => files::idle(goal, facts),
        Phase::Armed => files::armed(goal, facts),
        Phase::Applying => files::applying(goal, facts),
        Phase::Applied => files::applied(goal, facts),
        // These phases need a running containerd. Without one, as with an offline root, nothing can be restarted, so the
        // original files are restored.
        Phase::Restarting | Phase::Verifying => match &facts.service {
            Some(service) if facts.phase == Phase::Restarting => containerd::restarting(goal, facts, service),
            Some(service) => containerd::verifying(goal, facts, service),
            None => Move::Undo(UndoReason::Interrupted),
        },
        Phase::Settled => files::settled(goal, facts),
        Phase::RollbackStaging => files::rollback_staging(goal, facts),
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
