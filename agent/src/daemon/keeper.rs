//! The loop of the agent: look, decide, move, look again, until there is nothing to do.

use super::decide::{Facts, Fate, Move, Slot, State, Want, decide};
use super::host::Host;
use super::metrics::Metrics;
use super::policy::{InForce, Policies, Wrong};
use super::report::{Doing, Telling, drift, report};
use crate::cluster::error::Error;
use crate::cluster::events::{Events, Happened};
use crate::cluster::gate::{self, Gate, Holder, Taken, Why};
use crate::cluster::mirror::{Mirror, Report};
use crate::cluster::nodemirror::Phase;
use crate::live::look::Goal;
use crate::live::seen::{Answer, Planned, Refused, Seen};
use jiff::Timestamp;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::Phase as Change;
use std::sync::Arc;

/// The change of a turn.
mod change;
use self::change::Kind;

/// Moves of one turn. A change of several steps takes six; whatever takes more is looked at again later.
const MOST: usize = 16;

/// What the agent does with one node.
pub(super) struct Keeper<H> {
    pub(super) host: H,
    pub(super) policies: Policies,
    pub(super) gate: Gate,
    pub(super) mirror: Mirror,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
    /// Where containerd's configuration starts.
    pub(super) config: String,
    /// The unit that runs containerd, once it was seen.
    pub(super) unit: Option<String>,
    slot: Held,
    rehearsed: Option<Rehearsed>,
    /// Why the change that was made with the slot failed, or was refused.
    why: Option<String>,
    declined: bool,
    /// Why the node could not be changed when it was looked at last.
    refusal: Option<Refusal>,
    /// The node as it was when it began to wait for a slot.
    waits: Option<Seen>,
    /// What is to be told and was not taken yet.
    unsaid: Option<Report>,
    last: Option<Report>,
}

/// What is known of the slot.
enum Held {
    /// It may be held: the gate was not asked, or did not answer.
    Unknown,
    Free,
    /// With the last change that there was before it was taken, where that is known.
    Slot(gate::Slot, Option<Before>),
}

/// The last change before a slot was taken; none when there had been none.
struct Before(Option<String>);

/// Why a node cannot be changed. The same reason is one Event, although its words may have figures in them that are never the same.
struct Refusal {
    reason: String,
    /// The API server took the Event: otherwise it is told again with the next look.
    told: bool,
}

/// A plan that was tried, and with which containerd.
#[derive(PartialEq, Eq)]
struct Rehearsed {
    plan: Digest,
    containerd: Option<String>,
    invocation: Option<String>,
}

impl Rehearsed {
    fn of(seen: &Seen, plan: Digest) -> Self {
        Self {
            plan,
            containerd: seen.containerd.clone(),
            invocation: seen.invocation.clone(),
        }
    }
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// When something is new, or with the heartbeat.
    Rest,
    /// When a slot may be free, besides.
    Slot,
    /// In a moment, and ever later: the API server did not answer, or the node is busy or cannot be changed as it is.
    Soon,
}

impl<H: Host> Keeper<H> {
    pub(super) fn new(
        host: H,
        policies: Policies,
        gate: Gate,
        mirror: Mirror,
        events: Events,
        metrics: Arc<Metrics>,
        config: &str,
    ) -> Self {
        Self {
            host,
            policies,
            gate,
            mirror,
            events,
            metrics,
            config: config.to_owned(),
            unit: None,
            slot: Held::Unknown,
            rehearsed: None,
            why: None,
            declined: false,
            refusal: None,
            waits: None,
            unsaid: None,
            last: None,
        }
    }

    /// How many nodes may be changed at one time.
    pub(super) fn slots(&self) -> u16 {
        self.policies.in_force().map_or(1, InForce::slots)
    }

    /// Goes on until there is nothing to do.
    pub(super) async fn turn(&mut self) -> Next {
        if self.policies.read() {
            // What failed with another policy says nothing of this one, unless a slot is kept for it.
            self.rehearsed = None;
        }
        self.policy_told().await;
        self.declined = false;
        let mut rehearse = false;
        for _ in 0..MOST {
            let seen = match self.host.look(self.goal(), rehearse).await {
                Ok(seen) => seen,
                Err(refused) => return self.unreachable(&refused).await,
            };
            self.metrics.looked();
            self.unit.clone_from(&seen.unit);
            if let Answer::Do(Planned {
                digest: Some(plan),
                rehearsed: Some(_),
                ..
            }) = &seen.answer
            {
                self.rehearsed = Some(Rehearsed::of(&seen, *plan));
            }
            self.know_the_slot().await;
            let next = self.facts(&seen);
            rehearse = next == Move::Rehearse;
            tracing::debug!(next = ?next, "decided");
            match next {
                Move::Rehearse => {}
                Move::Follow => {
                    self.say(Ok(&seen), &Doing::Change).await;
                    self.host.settle().await;
                }
                Move::Ask => match self.ask(&seen).await {
                    Ok(None) => {}
                    Ok(Some(holders)) => {
                        let said = self.wait_for(&seen, holders).await;
                        self.waits = Some(seen);
                        return if said { Next::Slot } else { Next::Soon };
                    }
                    Err(error) => {
                        // The answer that it has one may be what was lost.
                        self.slot = Held::Unknown;
                        self.api_failed(&error);
                        self.say(Ok(&seen), &Doing::Rest(State::NoGate)).await;
                        return Next::Soon;
                    }
                },
                Move::Change => self.change(&seen, Kind::of(self.policies.in_force())).await,
                Move::Mend => self.change(&seen, Kind::Mending).await,
                Move::GiveBack => {
                    if !self.give_back().await {
                        self.say(Ok(&seen), &Doing::Rest(State::NoGate)).await;
                        return Next::Soon;
                    }
                }
                Move::Rest(state) => return self.rest(&seen, state).await,
            }
        }
        tracing::warn!("no end after {MOST} moves; looked at again later");
        Next::Soon
    }

    /// Tells who is waited for now, while nothing else of the node is new.
    pub(super) async fn waits_for(&mut self, holders: Vec<Holder>) {
        if let Some(seen) = self.waits.take() {
            self.wait_for(&seen, holders).await;
            self.waits = Some(seen);
        }
    }

    async fn wait_for(&mut self, seen: &Seen, holders: Vec<Holder>) -> bool {
        self.halted(&holders).await;
        self.say(Ok(seen), &Doing::Wait(holders)).await
    }

    /// Tells the same once more: somebody has changed the object, or it was not taken before. Whether it is told now.
    pub(super) async fn say_again(&mut self) -> bool {
        match self.unsaid.take().or_else(|| self.last.clone()) {
            Some(report) => self.tell(report).await,
            None => true,
        }
    }

    async fn rest(&mut self, seen: &Seen, state: State) -> Next {
        if state == State::Contested {
            self.happened(Happened::DriftFight, &drift(seen)).await;
        }
        let refusal = match &seen.answer {
            _ if self.declined => Some(("declined", self.why.clone().unwrap_or_default())),
            Answer::Refused(refused) if state == State::Refused => {
                Some((refused.reason.as_str(), refused.message.clone()))
            }
            _ => None,
        };
        let before = self.refusal.take();
        let before = before.filter(|before| refusal.as_ref().is_some_and(|(reason, _)| before.reason == *reason));
        let again = before.is_some();
        if let Some((reason, why)) = refusal {
            let told =
                before.is_some_and(|before| before.told) || self.happened(Happened::MigrationRefused, &why).await;
            let reason = reason.to_owned();
            self.refusal = Some(Refusal { reason, told });
        }
        let said = self.say(Ok(seen), &Doing::Rest(state)).await;
        match state {
            _ if !said => Next::Soon,
            // It may hold one, and others wait for that.
            _ if matches!(self.slot, Held::Unknown) => Next::Soon,
            State::NoGate | State::Busy => Next::Soon,
            // What stands in the way may be gone in a moment. To be refused by the change itself takes a slot and a rehearsal.
            State::Refused | State::Unfinished if self.refusal.is_some() && !(self.declined && again) => Next::Soon,
            _ => Next::Rest,
        }
    }

    async fn unreachable(&mut self, refused: &Refused) -> Next {
        tracing::error!(reason = refused.reason, "cannot look at the node: {}", refused.message);
        self.say(Err(refused), &Doing::Rest(State::Refused)).await;
        Next::Soon
    }

    fn goal(&self) -> Goal {
        match self.policies.in_force() {
            Some(policy) if policy.want() == Want::Rollback => Goal::Rollback,
            Some(policy) => Goal::Migrate(policy.wanted.clone()),
            None => Goal::Migrate(crate::read::Wanted::nothing()),
        }
    }

    fn facts(&self, seen: &Seen) -> Move {
        let policy = self.policies.in_force();
        let plan = match &seen.answer {
            Answer::Do(planned) => planned.digest,
            Answer::Refused(_) => None,
        };
        let rehearsed = plan.is_some_and(|plan| self.rehearsed == Some(Rehearsed::of(seen, plan)));
        decide(Facts {
            want: policy.map_or(Want::Observe, InForce::want),
            may_restart: policy.is_none_or(InForce::may_restart),
            seen,
            rehearsed,
            slot: match self.slot {
                Held::Unknown => Slot::Unknown,
                Held::Free => Slot::Free,
                Held::Slot(..) => Slot::Held,
            },
            fate: match (self.failed(seen), self.declined) {
                (true, _) => Fate::Failed,
                (false, true) => Fate::Declined,
                (false, false) => Fate::Open,
            },
        })
    }

    /// Whether the last change failed, and was made with the slot that is held. Of a slot that was taken by an earlier run of the
    /// agent it cannot be told which change it was taken for, so that the last one counts: a fleet that stands still is safe.
    fn failed(&self, seen: &Seen) -> bool {
        let Held::Slot(_, before) = &self.slot else {
            return false;
        };
        let Some(last) = seen.last.as_ref().filter(|last| last.phase == Change::Undone) else {
            return false;
        };
        before.as_ref().is_none_or(|Before(id)| id.as_ref() != Some(&last.id))
    }

    async fn know_the_slot(&mut self) {
        let known = matches!(&self.slot, Held::Free);
        if known {
            return;
        }
        match (self.gate.held().await, &self.slot) {
            (Ok(None), _) => {
                self.slot = Held::Free;
                self.why = None;
            }
            (Ok(Some(slot)), Held::Slot(old, _)) if *old == slot => {}
            (Ok(Some(slot)), _) => self.slot = Held::Slot(slot, None),
            (Err(error), _) => self.api_failed(&error),
        }
        self.metrics.slot(matches!(self.slot, Held::Slot(..)));
    }

    /// Asks for a slot; who holds them when there is none.
    async fn ask(&mut self, seen: &Seen) -> Result<Option<Vec<Holder>>, Error> {
        let why = Why {
            phase: Phase::Changing.name().to_owned(),
            reason: "the node is being changed".to_owned(),
        };
        match self.gate.take(self.slots(), &why, Timestamp::now()).await? {
            Taken::Full(holders) => Ok(Some(holders)),
            Taken::New(slot) => {
                tracing::info!(slot = slot.name(), "holds a slot");
                let before = Before(seen.last.as_ref().map(|last| last.id.clone()));
                self.slot = Held::Slot(slot, Some(before));
                self.metrics.slot(true);
                Ok(None)
            }
            Taken::Held(slot) => {
                self.slot = Held::Slot(slot, None);
                self.metrics.slot(true);
                Ok(None)
            }
        }
    }

    /// Whether it is free now.
    async fn give_back(&mut self) -> bool {
        let Held::Slot(slot, before) = std::mem::replace(&mut self.slot, Held::Unknown) else {
            return true;
        };
        drop(before);
        match self.gate.give_back(slot).await {
            Ok(()) => {
                self.slot = Held::Free;
                self.metrics.slot(false);
                true
            }
            Err(error) => {
                self.api_failed(&error);
                false
            }
        }
    }

    async fn halted(&mut self, holders: &[Holder]) {
        let Some(holder) = holders.iter().find(|holder| holder.failed()) else {
            return;
        };
        let note = format!("node {} keeps {}; `{}` frees it", holder.node, holder.slot, holder.free);
        self.happened(Happened::FleetHalted, &note).await;
    }

    async fn policy_told(&mut self) {
        let wrong = self.policies.wrong().cloned();
        self.metrics.policy(wrong.is_none());
        if let Some(Wrong::Invalid(why)) = wrong {
            tracing::error!("the policy cannot be read: {why}");
            self.happened(Happened::PolicyInvalid, &why).await;
        }
    }

    /// Makes an Event of it; whether it was told, now or within the hour.
    async fn happened(&mut self, happened: Happened, note: &str) -> bool {
        let told = self.events.tell(happened, note, Timestamp::now()).await;
        match told {
            Ok(told) => told,
            Err(error) => {
                self.api_failed(&error);
                false
            }
        }
    }

    /// Tells how the node is; whether the API server took it.
    async fn say(&mut self, seen: Result<&Seen, &Refused>, doing: &Doing) -> bool {
        let slot = match &self.slot {
            Held::Slot(slot, _) => Some(slot.name()),
            Held::Unknown | Held::Free => None,
        };
        let report = report(&Telling {
            seen,
            doing,
            policy: self.policies.in_force(),
            wrong: self.policies.wrong(),
            slot,
            why: self.why.as_deref(),
        });
        self.metrics.phase(report.status.phase);
        self.metrics.fight(matches!(doing, Doing::Rest(State::Contested)));
        self.tell(report).await
    }

    async fn tell(&mut self, report: Report) -> bool {
        let told = self.mirror.say(&report, Timestamp::now()).await;
        self.last = Some(report.clone());
        match told {
            Ok(_) => {
                self.unsaid = None;
                true
            }
            Err(error) => {
                self.api_failed(&error);
                self.unsaid = Some(report);
                false
            }
        }
    }

    fn api_failed(&self, error: &Error) {
        self.metrics.api_failed(error.kind);
        tracing::warn!(kind = error.kind.name(), "{error}: {}", source(error));
    }
}

fn source(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
