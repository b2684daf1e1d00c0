//! One change of a node's files as a loop: what is true of it, what is wanted, and the one next move.
//!
//! [`decide`] sees only values. Whoever performs its moves looks again after each, so a crash needs no path of its own:
//! the next run looks, and goes on from what it sees.

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
    /// Every file holds its new bytes, and nothing of the change is left but its backups.
    Settled,
    /// The change was settled and is to be rolled back: every file still holds its new bytes. Old copies are being
    /// staged beside them, from the backups.
    Recalled,
    /// Each file holds its old or its new bytes; the old ones are being put back, last step first.
    Undoing,
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
            Self::Armed | Self::Applying | Self::Applied | Self::Recalled | Self::Undoing | Self::Stuck => false,
        }
    }

    /// What is true of the machine, in one sentence for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Idle => "nothing was changed",
            Self::Armed => "backups are on disk; every file holds its old bytes",
            Self::Applying => "each file holds its old or its new bytes",
            Self::Applied => "every file holds its new bytes; old copies still lie beside them",
            Self::Settled => "every file holds its new bytes",
            Self::Recalled => "about to be rolled back; every file holds its new bytes",
            Self::Undoing => "being undone; each file holds its old or its new bytes",
            Self::Undone => "undone; every file holds its old bytes",
            Self::RolledBack => "rolled back; every file holds its old bytes",
            Self::Stuck => "could not be undone; a person is needed",
        }
    }
}

/// What the journal says of one step. Written before the effect that it announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Not begun, or put back at once because somebody else had edited the file.
    Waiting,
    /// The swap may have happened.
    Swapping,
    /// The swap happened, what it displaced was checked, and the folder is synced.
    Swapped,
    /// The swap back may have happened.
    Returning,
    /// The old bytes are back, what they displaced was checked, and the folder is synced.
    Returned,
}

/// What a step does to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Puts a file where nothing was.
    Create,
    /// Puts other bytes in the place of a file.
    Replace,
    /// Takes away a file that an earlier change made.
    Remove,
}

/// What stands at a step's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum There {
    /// What stood there before the change: the same bytes, mode and owner, or nothing.
    Before,
    /// What the change puts there: the same bytes, or nothing.
    After,
    /// Something else: somebody edited it.
    Foreign,
}

/// What lies beside a step's path, at the name that the journal holds for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// The old bytes, with their mode and owner.
    Before,
    /// The new bytes.
    After,
    /// Something else: a copy that was never finished, or somebody's edit that a swap displaced.
    Foreign,
}

/// One step as it was just observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepFacts {
    /// What it does.
    pub kind: Kind,
    /// What the journal says of it.
    pub mark: Mark,
    /// What stands at its path.
    pub there: There,
    /// What lies beside it.
    pub beside: Beside,
    /// Whether its backup still matches its digest (true when it needs none).
    pub backup: bool,
}

impl StepFacts {
    /// The change needs nothing more before this step can be swapped in.
    fn staged(self) -> bool {
        match self.kind {
            Kind::Create | Kind::Replace => self.beside == Beside::After,
            Kind::Remove => self.beside == Beside::Nothing,
        }
    }

    /// The old bytes lie ready to be swapped back in.
    fn unstaged(self) -> bool {
        match self.kind {
            Kind::Create => self.beside == Beside::Nothing,
            Kind::Replace | Kind::Remove => self.beside == Beside::Before,
        }
    }

    /// What somebody else put at the path is not on top of bytes of ours, so an undo owes it nothing and leaves it.
    fn untouched(self) -> bool {
        self.mark == Mark::Waiting
            || match self.kind {
                // Our bytes are beside it: they were never swapped in, or were swapped out again.
                Kind::Create | Kind::Replace => self.beside == Beside::After,
                Kind::Remove => self.mark == Mark::Swapping && self.beside == Beside::Nothing,
            }
    }

    /// A swap displaced bytes that are neither old nor new: they go back to where they were.
    fn displaced_foreign(self) -> bool {
        // Creating a file displaces nothing (it never replaces), so what lies there is not an edit of that file.
        self.kind != Kind::Create && self.there == There::After && self.beside == Beside::Foreign
    }

    /// A swap displaced one edit, and another came on top before the first was given back. Which of them is right, only
    /// a person can say.
    fn edited_twice(self) -> bool {
        self.kind != Kind::Create && self.there != There::After && self.beside == Beside::Foreign
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
    pub folders: bool,
    /// How many moves have failed since the phase was last written.
    pub faults: u32,
}

/// What is wanted of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Its new bytes, staged from contents that the caller has at hand.
    Apply,
    /// An end to it, whichever is nearer, without the contents: forward once everything is staged, else back.
    Recover,
    /// Its old bytes.
    Rollback,
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
pub enum Reason {
    /// It was asked for.
    Asked,
    /// An earlier run ended before everything was staged.
    Interrupted,
    /// Somebody edited the file of this step.
    Foreign(usize),
    /// The backup of this step no longer matches its digest.
    Backup(usize),
    /// The copy staged for this step is gone or was altered.
    Staged(usize),
    /// What lies beside this step's file is not ours to take away.
    Leftover(usize),
    /// An earlier undo failed.
    Stuck,
    /// The move before failed.
    Fault,
}

/// The one next thing to do. `Abandon`, `Keep`, `GiveUp`, `Refuse`, `Halt` and `Done` end a run; after any other, look
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// Write and sync backups, then the journal: `Idle` to `Armed`.
    Arm,
    /// Write and sync the new bytes of a step beside its file.
    Stage(usize),
    /// `Armed` to `Applying`.
    Begin,
    /// Announce a step in the journal, swap its new bytes in, check what they displaced, sync, record.
    Swap(usize),
    /// Sync and record a swap that was seen to have happened.
    Confirm(usize),
    /// Give back what a swap displaced and nobody planned for. The mark becomes [`Mark::Waiting`], or
    /// [`Mark::Swapped`] when it was a swap back.
    PutBack(usize),
    /// Record that what stands at a step's path is somebody else's and not on top of ours: [`Mark::Waiting`].
    Spare(usize),
    /// `Applying` to `Applied`.
    Complete,
    /// Take away what of ours lies beside a step's file.
    Sweep(usize),
    /// `Applied` to `Settled`.
    Settle,
    /// Forget a change of which nothing was swapped: `Armed` to `Idle`.
    Abandon(Reason),
    /// `Settled` to `Recalled`.
    Recall,
    /// Write and sync the old bytes of a step beside its file, from the backup.
    StageUndo(usize),
    /// `Recalled` back to `Settled`.
    Keep(Reason),
    /// Any unfinished phase to `Undoing`.
    Undo(Reason),
    /// Announce the undo of a step, swap its old bytes in, check what they displaced, sync, record.
    SwapBack(usize),
    /// Take away the folders that the change made, where they are empty.
    RemoveFolders,
    /// `Undoing` to `Undone`, or to `RolledBack` when the change had settled.
    CloseUndone,
    /// Any unfinished phase to `Stuck`.
    GiveUp(Reason),
    /// Change nothing and say why.
    Refuse(Reason),
    /// Stop here, in the middle, and say so: the next run goes on.
    Halt(Reason),
    /// Nothing is left to do.
    Done,
}

/// The next move towards `goal`. Total: every phase and every observation has one.
pub fn decide(goal: Goal, facts: &ChangeFacts) -> Move {
    match facts.phase {
        Phase::Idle => idle(goal, facts),
        Phase::Armed => armed(goal, facts),
        Phase::Applying => applying(goal, facts),
        Phase::Applied => applied(goal, facts),
        Phase::Settled => settled(goal, facts),
        Phase::Recalled => recalled(goal, facts),
        Phase::Undoing => undoing(facts),
        Phase::Undone | Phase::RolledBack => Move::Done,
        Phase::Stuck => stuck(goal, facts),
    }
}

fn idle(goal: Goal, facts: &ChangeFacts) -> Move {
    if goal != Goal::Apply || facts.steps.is_empty() {
        return Move::Done;
    }
    if facts.faults > 0 {
        return Move::Refuse(Reason::Fault);
    }
    match first(facts, |step| step.there != There::Before) {
        Some(at) => Move::Refuse(Reason::Foreign(at)),
        None => Move::Arm,
    }
}

fn armed(goal: Goal, facts: &ChangeFacts) -> Move {
    let end = match goal {
        _ if facts.faults > 1 => return Move::Halt(Reason::Fault),
        _ if facts.faults == 1 => Some(Reason::Fault),
        Goal::Recover => Some(Reason::Interrupted),
        Goal::Rollback => Some(Reason::Asked),
        Goal::Apply => first(facts, |step| step.there != There::Before)
            .map(Reason::Foreign)
            .or_else(|| first(facts, |step| !step.backup).map(Reason::Backup)),
    };
    // Nothing was swapped yet, so whatever lies at the names that we chose is a copy of ours, finished or not.
    let litter = |step: StepFacts| step.beside != Beside::Nothing;
    if let Some(reason) = end {
        return first(facts, litter).map_or(Move::Abandon(reason), Move::Sweep);
    }
    match first(facts, |step| !step.staged()) {
        Some(at) if facts.steps.get(at).is_some_and(|step| litter(*step)) => Move::Sweep(at),
        Some(at) => Move::Stage(at),
        None => Move::Begin,
    }
}

fn applying(goal: Goal, facts: &ChangeFacts) -> Move {
    match facts.faults {
        0 => {}
        1 => return Move::Undo(Reason::Fault),
        _ => return Move::Halt(Reason::Fault),
    }
    if goal == Goal::Rollback {
        return Move::Undo(Reason::Asked);
    }
    let begun = facts.steps.iter().any(|step| step.there == There::After);
    if let (false, Some(at)) = (begun, first(facts, |step| !step.backup)) {
        return Move::Undo(Reason::Backup(at));
    }
    for (at, step) in facts.steps.iter().enumerate() {
        match step.there {
            There::Before if step.staged() => return Move::Swap(at),
            There::Before => return Move::Undo(Reason::Staged(at)),
            There::After if step.displaced_foreign() => return Move::PutBack(at),
            There::Foreign if step.untouched() => return Move::Undo(Reason::Foreign(at)),
            There::Foreign if step.edited_twice() => return Move::GiveUp(Reason::Leftover(at)),
            // An edit on top of bytes that were in force came after this step and leaves it done. The steps that
            // follow expect nothing of this file.
            There::After | There::Foreign if step.mark != Mark::Swapped => return Move::Confirm(at),
            There::After | There::Foreign => {}
        }
    }
    Move::Complete
}

fn applied(goal: Goal, facts: &ChangeFacts) -> Move {
    if facts.faults > 0 {
        return Move::Halt(Reason::Fault);
    }
    if goal == Goal::Rollback {
        return Move::Undo(Reason::Asked);
    }
    // A process that held the old file open may have written to it after the swap. Its edit goes back to its place.
    if let Some(at) = first(facts, StepFacts::displaced_foreign) {
        return Move::PutBack(at);
    }
    // So the change is no longer complete. An edit on top of our bytes (any other mark) came after a change that was
    // complete, and does not hinder settling it.
    if let Some(at) = first(facts, |step| step.there == There::Foreign && step.untouched()) {
        return Move::Undo(Reason::Foreign(at));
    }
    if let Some(at) = first(facts, StepFacts::edited_twice) {
        return Move::GiveUp(Reason::Leftover(at));
    }
    first(facts, |step| matches!(step.beside, Beside::Before | Beside::After)).map_or(Move::Settle, Move::Sweep)
}

fn settled(goal: Goal, facts: &ChangeFacts) -> Move {
    if goal != Goal::Rollback {
        return Move::Done;
    }
    if facts.faults > 0 {
        return Move::Refuse(Reason::Fault);
    }
    refusal_of_return(facts).map_or(Move::Recall, Move::Refuse)
}

fn recalled(goal: Goal, facts: &ChangeFacts) -> Move {
    let end = match facts.faults {
        // Nothing was swapped back yet, so the change is as settled as it was.
        0 if goal == Goal::Apply => Some(Reason::Asked),
        0 => refusal_of_return(facts),
        1 => Some(Reason::Fault),
        _ => return Move::Halt(Reason::Fault),
    };
    let litter = |step: StepFacts| step.beside != Beside::Nothing;
    if let Some(reason) = end {
        return first(facts, litter).map_or(Move::Keep(reason), Move::Sweep);
    }
    match first(facts, |step| !step.unstaged()) {
        Some(at) if facts.steps.get(at).is_some_and(|step| litter(*step)) => Move::Sweep(at),
        Some(at) => Move::StageUndo(at),
        None => Move::Undo(Reason::Asked),
    }
}

/// Why a settled change cannot be rolled back, if so.
fn refusal_of_return(facts: &ChangeFacts) -> Option<Reason> {
    first(facts, |step| step.there != There::After)
        .map(Reason::Foreign)
        .or_else(|| first(facts, |step| !step.backup).map(Reason::Backup))
}

fn undoing(facts: &ChangeFacts) -> Move {
    match facts.faults {
        0 => {}
        1 => return Move::GiveUp(Reason::Fault),
        _ => return Move::Halt(Reason::Fault),
    }
    // Last step first: then what is in force at any moment is one of the prefixes that the plan allows for.
    for (at, step) in facts.steps.iter().copied().enumerate().rev() {
        if let Some(next) = undo_step(at, step) {
            return next;
        }
    }
    if let Some(at) = first(facts, |step| step.beside != Beside::Nothing) {
        return Move::Sweep(at);
    }
    if facts.folders {
        return Move::RemoveFolders;
    }
    Move::CloseUndone
}

fn undo_step(at: usize, step: StepFacts) -> Option<Move> {
    match (step.there, step.beside) {
        // The swap back displaced an edit that came between looking and swapping.
        (There::Before, Beside::Foreign) if step.mark == Mark::Returning => Some(Move::PutBack(at)),
        (There::Before, Beside::Foreign) if step.mark != Mark::Waiting => Some(Move::GiveUp(Reason::Leftover(at))),
        (There::Before, _) => None,
        (There::After, Beside::Foreign) if step.kind == Kind::Create => Some(Move::GiveUp(Reason::Leftover(at))),
        (There::After, Beside::Foreign) => Some(Move::PutBack(at)),
        (There::After, _) if step.unstaged() => Some(Move::SwapBack(at)),
        (There::After, Beside::Before | Beside::After) => Some(Move::Sweep(at)),
        (There::After, Beside::Nothing) if step.backup => Some(Move::StageUndo(at)),
        (There::After, Beside::Nothing) => Some(Move::GiveUp(Reason::Backup(at))),
        (There::Foreign, _) if step.mark == Mark::Waiting => None,
        (There::Foreign, _) if step.untouched() => Some(Move::Spare(at)),
        (There::Foreign, _) => Some(Move::GiveUp(Reason::Foreign(at))),
    }
}

fn stuck(goal: Goal, facts: &ChangeFacts) -> Move {
    if goal != Goal::Rollback {
        return Move::Refuse(Reason::Stuck);
    }
    if facts.faults > 0 {
        return Move::Refuse(Reason::Fault);
    }
    // Asked again by a person: what stood in the way may be gone. If not, say so and touch nothing.
    let way = facts
        .steps
        .iter()
        .copied()
        .enumerate()
        .rev()
        .find_map(|(at, step)| match undo_step(at, step) {
            Some(Move::GiveUp(reason)) => Some(reason),
            _ => None,
        });
    way.map_or(Move::Undo(Reason::Asked), Move::Refuse)
}

fn first(facts: &ChangeFacts, test: impl Fn(StepFacts) -> bool) -> Option<usize> {
    facts.steps.iter().position(|step| test(*step))
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
