//! The loop of a change: observe, decide, perform, repeat.

use crate::change::executor::ChangeExecutor;
use crate::change::step_observation::{StepObservation, observe_step};
use crate::error::NodeError;
use crate::error_text::error_chain;
use mirrorshift_plan::change::{ChangeFacts, Goal, Move, PathState, Phase, UndoReason, decide};

/// The way in which a run of the loop ended.
pub(crate) enum LoopExit {
    Closed(Phase),
    Refused(NodeError),
    Stuck(NodeError),
    Halted(NodeError),
}

/// One run of the loop.
pub(crate) struct ChangeLoop {
    pub(crate) goal: Goal,
    pub(crate) faults: u32,
    /// The first failure of this run.
    pub(crate) cause: Option<NodeError>,
    /// True if a new file was in place when the undo began.
    pub(crate) touched: bool,
}

impl ChangeLoop {
    /// Runs until the change is closed, refused, stuck or halted.
    pub(crate) fn run(
        &mut self,
        executor: &mut ChangeExecutor<'_>,
        observed: Option<Vec<StepObservation>>,
    ) -> Result<LoopExit, NodeError> {
        let mut observed = match observed {
            Some(observed) => observed,
            None => self.observe(executor)?,
        };
        // A step takes at most a dozen moves. The bound stops the loop when another process keeps rewriting the same file.
        // Waiting is bounded separately, by the deadline of the phase.
        let most_moves = 64 + 16 * executor.change.steps.len();
        let mut moves = 0;
        while moves < most_moves {
            let service = match executor.service() {
                Ok(service) => service,
                Err(error) => {
                    self.record_fault(error);
                    executor.service()?
                }
            };
            let facts = ChangeFacts {
                phase: executor.change.phase,
                steps: observed.iter().map(|step| step.facts).collect(),
                has_created_folders: !executor.change.folders.is_empty(),
                has_folders_to_remove: !executor.change.leaves.is_empty(),
                failed_moves: self.faults,
                service,
            };
            let next = decide(self.goal, &facts);
            moves += usize::from(next != Move::Wait);
            match next {
                Move::Done => return Ok(LoopExit::Closed(executor.change.phase)),
                Move::Refuse(reason) => return Ok(LoopExit::Refused(self.cause_of(executor, &observed, reason))),
                Move::StopWithFault(reason) => return Ok(LoopExit::Halted(self.cause_of(executor, &observed, reason))),
                Move::Undo(_) => self.touched |= facts.steps.iter().any(|step| step.at_path == PathState::After),
                _ => {}
            }
            let why = match next {
                Move::Undo(UndoReason::Requested)
                | Move::CancelRollback(UndoReason::Requested)
                | Move::Abandon(UndoReason::Requested | UndoReason::Interrupted) => None,
                Move::Undo(reason) | Move::CancelRollback(reason) | Move::Abandon(reason) | Move::GiveUp(reason) => {
                    let error = self.cause_of(executor, &observed, reason);
                    let text = error_chain(&error);
                    self.cause = Some(error);
                    Some(text)
                }
                _ => None,
            };
            let phase = executor.change.phase;
            let performed = executor.perform(next, why);
            match (next, performed) {
                (Move::GiveUp(_), _) => {
                    let cause = self.cause.take().unwrap_or(NodeError::DidNotConverge);
                    executor.alert_operator(&error_chain(&cause));
                    return Ok(LoopExit::Stuck(cause));
                }
                (Move::Abandon(_), Ok(())) => return Ok(LoopExit::Closed(Phase::Idle)),
                (Move::LeaveToNextRun, Ok(())) => return Ok(LoopExit::Closed(executor.change.phase)),
                (Move::CancelRollback(_), Ok(())) => {
                    return Ok(match self.cause.take() {
                        Some(cause) => LoopExit::Refused(cause),
                        None => LoopExit::Closed(Phase::Settled),
                    });
                }
                (_, Ok(())) => {}
                // The next observation shows the modification, and the next decision handles it. It is not a failed move.
                (_, Err(error @ NodeError::ModifiedExternally { .. })) => {
                    self.cause = self.cause.take().or(Some(error));
                }
                (_, Err(error)) => self.record_fault(error),
            }
            if executor.change.phase != phase {
                // With a running containerd a guard may have to be removed, and folders in any case.
                let has_leftovers = facts.service.is_some() || !executor.change.leaves.is_empty();
                if executor.change.phase.is_closed() && !has_leftovers {
                    return Ok(LoopExit::Closed(executor.change.phase));
                }
                self.faults = 0;
                observed = self.observe(executor)?;
            } else if let (Some(at), true) = (step_of(next), phase != Phase::Idle) {
                match (
                    observed.get_mut(at),
                    observe_step(executor.root, executor.state, &executor.change, at),
                ) {
                    (Some(slot), Ok(now)) => *slot = now,
                    (None, _) => return Err(NodeError::NoSuchStep(at)),
                    (_, Err(error)) => {
                        self.record_fault(error);
                        observed = observe_all(executor)?;
                    }
                }
            }
        }
        Ok(LoopExit::Halted(self.cause.take().unwrap_or(NodeError::DidNotConverge)))
    }

    /// Observes every step. A failed observation is recorded as a fault, so that the change is undone. An earlier observation
    /// is never used again, because a decision on stale facts could remove the wrong copy.
    fn observe(&mut self, executor: &ChangeExecutor<'_>) -> Result<Vec<StepObservation>, NodeError> {
        match observe_all(executor) {
            Err(error) => {
                self.record_fault(error);
                observe_all(executor)
            }
            observed => observed,
        }
    }

    fn record_fault(&mut self, error: NodeError) {
        self.faults += 1;
        self.cause = self.cause.take().or(Some(error));
    }

    /// Returns the error for an undo reason, with the paths that belong to it.
    fn cause_of(
        &mut self,
        executor: &ChangeExecutor<'_>,
        observed: &[StepObservation],
        reason: UndoReason,
    ) -> NodeError {
        let step = |at: usize| executor.change.steps.get(at);
        let found = |at: usize| observed.get(at).and_then(|step| step.found.clone());
        let of_reason = match reason {
            UndoReason::Foreign(at) => step(at).map(|step| NodeError::ModifiedExternally {
                path: step.path.clone(),
                found: found(at).unwrap_or_else(|| "it is the original file again".to_owned()),
            }),
            UndoReason::Backup(at) => step(at).map(|step| NodeError::damaged(&executor.change, step, at)),
            UndoReason::StagedCopyDamaged(at) | UndoReason::Leftover(at) => {
                step(at).map(|step| NodeError::UnexpectedSibling {
                    path: step.path.clone(),
                    beside: step.beside.clone(),
                })
            }
            UndoReason::Stuck => Some(NodeError::EarlierUndoFailed {
                change: executor.change.id.clone(),
            }),
            UndoReason::Requested => Some(NodeError::Message("it was requested")),
            UndoReason::Interrupted => Some(NodeError::Message("an earlier run was interrupted")),
            UndoReason::ContainerdUnhealthy => Some(NodeError::unhealthy(&executor.differences)),
            UndoReason::MoveFailed => None,
        };
        // An error from the middle of a swap describes a foreign edit better than the observation after it.
        match (self.cause.take(), of_reason) {
            (Some(cause), None | Some(NodeError::ModifiedExternally { .. })) => cause,
            (_, Some(error)) => error,
            (None, None) => NodeError::DidNotConverge,
        }
    }
}

pub(crate) fn observe_all(executor: &ChangeExecutor<'_>) -> Result<Vec<StepObservation>, NodeError> {
    (0..executor.change.steps.len())
        .map(|at| observe_step(executor.root, executor.state, &executor.change, at))
        .collect()
}

fn step_of(next: Move) -> Option<usize> {
    match next {
        Move::Stage(at)
        | Move::Swap(at)
        | Move::Confirm(at)
        | Move::PutBack(at)
        | Move::RecordForeign(at)
        | Move::RemoveSibling(at)
        | Move::StageUndo(at)
        | Move::SwapBack(at) => Some(at),
        _ => None,
    }
}
