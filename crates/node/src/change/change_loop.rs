//! The loop: look, decide, act, again.

use crate::change::executor::ChangeExecutor;
use crate::change::step_observation::{StepObservation, observe};
use crate::error::NodeError;
use mirrorshift_plan::change::{ChangeFacts, Goal, Move, PathState, Phase, UndoReason, decide};

/// How a run of the loop ended.
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
    /// The first thing that went wrong.
    pub(crate) cause: Option<NodeError>,
    /// A file held new bytes when the undo began.
    pub(crate) touched: bool,
}

impl ChangeLoop {
    /// Look, decide, act, again.
    pub(crate) fn run(
        &mut self,
        hand: &mut ChangeExecutor<'_>,
        seen: Option<Vec<StepObservation>>,
    ) -> Result<LoopExit, NodeError> {
        let mut seen = match seen {
            Some(seen) => seen,
            None => self.look(hand)?,
        };
        // No change needs more than a dozen moves a step. The bound is against an editor that never rests. Waiting has a
        // bound of its own.
        let most = 64 + 16 * hand.change.steps.len();
        let mut moves = 0;
        while moves < most {
            let service = match hand.service() {
                Ok(service) => service,
                Err(trouble) => {
                    self.fault(trouble);
                    hand.service()?
                }
            };
            let facts = ChangeFacts {
                phase: hand.change.phase,
                steps: seen.iter().map(|step| step.facts).collect(),
                has_created_folders: !hand.change.folders.is_empty(),
                has_folders_to_remove: !hand.change.leaves.is_empty(),
                failed_moves: self.faults,
                service,
            };
            let next = decide(self.goal, &facts);
            moves += usize::from(next != Move::Wait);
            match next {
                Move::Done => return Ok(LoopExit::Closed(hand.change.phase)),
                Move::Refuse(reason) => return Ok(LoopExit::Refused(self.trouble(hand, &seen, reason))),
                Move::StopWithFault(reason) => return Ok(LoopExit::Halted(self.trouble(hand, &seen, reason))),
                Move::Undo(_) => self.touched |= facts.steps.iter().any(|step| step.there == PathState::After),
                _ => {}
            }
            let why = match next {
                Move::Undo(UndoReason::Requested)
                | Move::CancelRollback(UndoReason::Requested)
                | Move::Abandon(UndoReason::Requested | UndoReason::Interrupted) => None,
                Move::Undo(reason) | Move::CancelRollback(reason) | Move::Abandon(reason) | Move::GiveUp(reason) => {
                    let trouble = self.trouble(hand, &seen, reason);
                    let text = chain(&trouble);
                    self.cause = Some(trouble);
                    Some(text)
                }
                _ => None,
            };
            let phase = hand.change.phase;
            let acted = hand.perform(next, why);
            match (next, acted) {
                (Move::GiveUp(_), _) => {
                    let cause = self.cause.take().unwrap_or(NodeError::DidNotConverge);
                    hand.alarm(&chain(&cause));
                    return Ok(LoopExit::Stuck(cause));
                }
                (Move::Abandon(_), Ok(())) => return Ok(LoopExit::Closed(Phase::Idle)),
                (Move::LeaveToNextRun, Ok(())) => return Ok(LoopExit::Closed(hand.change.phase)),
                (Move::CancelRollback(_), Ok(())) => {
                    return Ok(match self.cause.take() {
                        Some(cause) => LoopExit::Refused(cause),
                        None => LoopExit::Closed(Phase::Settled),
                    });
                }
                (_, Ok(())) => {}
                // The next look shows it, and the next decision deals with it; it is no fault of this machine.
                (_, Err(trouble @ NodeError::ModifiedExternally { .. })) => {
                    self.cause = self.cause.take().or(Some(trouble));
                }
                (_, Err(trouble)) => self.fault(trouble),
            }
            if hand.change.phase != phase {
                // Where a containerd runs, a guard may be left to take away, and folders anywhere.
                let left = facts.service.is_some() || !hand.change.leaves.is_empty();
                if hand.change.phase.is_closed() && !left {
                    return Ok(LoopExit::Closed(hand.change.phase));
                }
                self.faults = 0;
                seen = self.look(hand)?;
            } else if let (Some(at), true) = (step_of(next), phase != Phase::Idle) {
                match (seen.get_mut(at), observe(hand.root, hand.state, &hand.change, at)) {
                    (Some(slot), Ok(now)) => *slot = now,
                    (None, _) => return Err(NodeError::DidNotConverge),
                    (_, Err(trouble)) => {
                        self.fault(trouble);
                        seen = look_at_all(hand)?;
                    }
                }
            }
        }
        Ok(LoopExit::Halted(self.cause.take().unwrap_or(NodeError::DidNotConverge)))
    }

    /// Looks at every step. What cannot be looked at is a fault like any other, so that the change is undone; but never
    /// on what was seen before, as a decision on stale facts may take away the wrong copy.
    fn look(&mut self, hand: &ChangeExecutor<'_>) -> Result<Vec<StepObservation>, NodeError> {
        match look_at_all(hand) {
            Err(trouble) => {
                self.fault(trouble);
                look_at_all(hand)
            }
            seen => seen,
        }
    }

    fn fault(&mut self, trouble: NodeError) {
        self.faults += 1;
        self.cause = self.cause.take().or(Some(trouble));
    }

    /// A reason with the paths that belong to it.
    fn trouble(&mut self, hand: &ChangeExecutor<'_>, seen: &[StepObservation], reason: UndoReason) -> NodeError {
        let step = |at: usize| hand.change.steps.get(at);
        let found = |at: usize| seen.get(at).and_then(|step| step.found.clone());
        let said = match reason {
            UndoReason::Foreign(at) => step(at).map(|step| NodeError::ModifiedExternally {
                path: step.path.clone(),
                found: found(at).unwrap_or_else(|| "it holds what it held before the change".to_owned()),
            }),
            UndoReason::Backup(at) => step(at).map(|step| NodeError::damaged(&hand.change, step, at)),
            UndoReason::StagedCopyDamaged(at) | UndoReason::Leftover(at) => {
                step(at).map(|step| NodeError::UnexpectedSibling {
                    path: step.path.clone(),
                    beside: step.beside.clone(),
                })
            }
            UndoReason::Stuck => Some(NodeError::EarlierUndoFailed {
                change: hand.change.id.clone(),
            }),
            UndoReason::Requested => Some(NodeError::Message("it was asked for")),
            UndoReason::Interrupted => Some(NodeError::Message("an earlier run was cut short")),
            UndoReason::ContainerdUnhealthy => Some(NodeError::daemon(&hand.differences)),
            UndoReason::MoveFailed => None,
        };
        // A foreign edit met in the middle of a swap says more than the look after it.
        match (self.cause.take(), said) {
            (Some(cause), None | Some(NodeError::ModifiedExternally { .. })) => cause,
            (_, Some(said)) => said,
            (None, None) => NodeError::DidNotConverge,
        }
    }
}

pub(crate) fn look_at_all(hand: &ChangeExecutor<'_>) -> Result<Vec<StepObservation>, NodeError> {
    (0..hand.change.steps.len())
        .map(|at| observe(hand.root, hand.state, &hand.change, at))
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

fn chain(trouble: &NodeError) -> String {
    let mut text = trouble.to_string();
    let mut source = std::error::Error::source(trouble);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
