//! The loop: look, decide, act, again.

use crate::act::Hand;
use crate::observe::{Observed, observe};
use crate::trouble::Trouble;
use mirrorshift_plan::change::{ChangeFacts, Goal, Move, Phase, Reason, There, decide};

/// How a run of the loop ended.
pub(crate) enum End {
    Closed(Phase),
    Refused(Trouble),
    Stuck(Trouble),
    Halted(Trouble),
}

/// One run of the loop.
pub(crate) struct Run {
    pub(crate) goal: Goal,
    pub(crate) faults: u32,
    /// The first thing that went wrong.
    pub(crate) cause: Option<Trouble>,
    /// A file held new bytes when the undo began.
    pub(crate) touched: bool,
}

impl Run {
    /// Look, decide, act, again.
    pub(crate) fn drive(&mut self, hand: &mut Hand<'_>, seen: Option<Vec<Observed>>) -> Result<End, Trouble> {
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
                folders: !hand.change.folders.is_empty(),
                leaves: !hand.change.leaves.is_empty(),
                faults: self.faults,
                service,
            };
            let next = decide(self.goal, &facts);
            moves += usize::from(next != Move::Wait);
            match next {
                Move::Done => return Ok(End::Closed(hand.change.phase)),
                Move::Refuse(reason) => return Ok(End::Refused(self.trouble(hand, &seen, reason))),
                Move::Halt(reason) => return Ok(End::Halted(self.trouble(hand, &seen, reason))),
                Move::Undo(_) => self.touched |= facts.steps.iter().any(|step| step.there == There::After),
                _ => {}
            }
            let why = match next {
                Move::Undo(Reason::Asked)
                | Move::Keep(Reason::Asked)
                | Move::Abandon(Reason::Asked | Reason::Interrupted) => None,
                Move::Undo(reason) | Move::Keep(reason) | Move::Abandon(reason) | Move::GiveUp(reason) => {
                    let trouble = self.trouble(hand, &seen, reason);
                    let text = chain(&trouble);
                    self.cause = Some(trouble);
                    Some(text)
                }
                _ => None,
            };
            let phase = hand.change.phase;
            let acted = hand.act(next, why);
            match (next, acted) {
                (Move::GiveUp(_), _) => {
                    let cause = self.cause.take().unwrap_or(Trouble::Endless);
                    hand.alarm(&chain(&cause));
                    return Ok(End::Stuck(cause));
                }
                (Move::Abandon(_), Ok(())) => return Ok(End::Closed(Phase::Idle)),
                (Move::Leave, Ok(())) => return Ok(End::Closed(hand.change.phase)),
                (Move::Keep(_), Ok(())) => {
                    return Ok(match self.cause.take() {
                        Some(cause) => End::Refused(cause),
                        None => End::Closed(Phase::Settled),
                    });
                }
                (_, Ok(())) => {}
                // The next look shows it, and the next decision deals with it; it is no fault of this machine.
                (_, Err(trouble @ Trouble::Foreign { .. })) => self.cause = self.cause.take().or(Some(trouble)),
                (_, Err(trouble)) => self.fault(trouble),
            }
            if hand.change.phase != phase {
                // Where a containerd runs, a guard may be left to take away, and folders anywhere.
                let left = facts.service.is_some() || !hand.change.leaves.is_empty();
                if hand.change.phase.is_closed() && !left {
                    return Ok(End::Closed(hand.change.phase));
                }
                self.faults = 0;
                seen = self.look(hand)?;
            } else if let (Some(at), true) = (step_of(next), phase != Phase::Idle) {
                match (seen.get_mut(at), observe(hand.root, hand.state, &hand.change, at)) {
                    (Some(slot), Ok(now)) => *slot = now,
                    (None, _) => return Err(Trouble::Endless),
                    (_, Err(trouble)) => {
                        self.fault(trouble);
                        seen = look_at_all(hand)?;
                    }
                }
            }
        }
        Ok(End::Halted(self.cause.take().unwrap_or(Trouble::Endless)))
    }

    /// Looks at every step. What cannot be looked at is a fault like any other, so that the change is undone; but never
    /// on what was seen before, as a decision on stale facts may take away the wrong copy.
    fn look(&mut self, hand: &Hand<'_>) -> Result<Vec<Observed>, Trouble> {
        match look_at_all(hand) {
            Err(trouble) => {
                self.fault(trouble);
                look_at_all(hand)
            }
            seen => seen,
        }
    }

    fn fault(&mut self, trouble: Trouble) {
        self.faults += 1;
        self.cause = self.cause.take().or(Some(trouble));
    }

    /// A reason with the paths that belong to it.
    fn trouble(&mut self, hand: &Hand<'_>, seen: &[Observed], reason: Reason) -> Trouble {
        let step = |at: usize| hand.change.steps.get(at);
        let found = |at: usize| seen.get(at).and_then(|step| step.found.clone());
        let said = match reason {
            Reason::Foreign(at) => step(at).map(|step| Trouble::Foreign {
                path: step.path.clone(),
                found: found(at).unwrap_or_else(|| "it holds what it held before the change".to_owned()),
            }),
            Reason::Backup(at) => step(at).map(|step| Trouble::damaged(&hand.change, step, at)),
            Reason::Staged(at) | Reason::Leftover(at) => step(at).map(|step| Trouble::Leftover {
                path: step.path.clone(),
                beside: step.beside.clone(),
            }),
            Reason::Stuck => Some(Trouble::Stuck {
                change: hand.change.id.clone(),
            }),
            Reason::Asked => Some(Trouble::Said("it was asked for")),
            Reason::Interrupted => Some(Trouble::Said("an earlier run was cut short")),
            Reason::Daemon => Some(Trouble::daemon(&hand.differences)),
            Reason::Fault => None,
        };
        // A foreign edit met in the middle of a swap says more than the look after it.
        match (self.cause.take(), said) {
            (Some(cause), None | Some(Trouble::Foreign { .. })) => cause,
            (_, Some(said)) => said,
            (None, None) => Trouble::Endless,
        }
    }
}

pub(crate) fn look_at_all(hand: &Hand<'_>) -> Result<Vec<Observed>, Trouble> {
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
        | Move::Spare(at)
        | Move::Sweep(at)
        | Move::StageUndo(at)
        | Move::SwapBack(at) => Some(at),
        _ => None,
    }
}

fn chain(trouble: &Trouble) -> String {
    let mut text = trouble.to_string();
    let mut source = std::error::Error::source(trouble);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
