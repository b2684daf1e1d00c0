//! The loop of the agent: look, decide, move, look again, until there is nothing to do.

use crate::cluster::error::Error;
use crate::cluster::events::{EventReason, Events};
use crate::cluster::node_mirror::NodePhase;
use crate::cluster::node_mirror_writer::{NodeMirrorWriter, NodeReport};
use crate::cluster::slots::{
    AcquireOutcome, SlotHolder, SlotNote, SlotPool, {self},
};
use crate::observe::observation::{NodeObservation, PlanOutcome, Planned, Refused};
use crate::observe::observe_unit::ObservationGoal;
use crate::reconcile::decide::{DesiredMode, LastAttempt, NextAction, ReconcileInput, RestState, SlotState, decide};
use crate::reconcile::metrics::Metrics;
use crate::reconcile::node_ops::NodeOps;
use crate::reconcile::policy_file::{ActivePolicy, PolicyFile, PolicyProblem};
use crate::reconcile::status::{Activity, StatusInputs, drift, report};
use jiff::Timestamp;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::Phase as Change;
use std::sync::Arc;

/// The change of a turn.
use crate::reconcile::attempt::AttemptKind;

/// Moves of one turn. A change of several steps takes six; whatever takes more is looked at again later.
const MOST: usize = 16;

/// What the agent does with one node.
pub(crate) struct Reconciler<H> {
    pub(crate) host: H,
    pub(crate) policies: PolicyFile,
    pub(crate) gate: SlotPool,
    pub(crate) mirror: NodeMirrorWriter,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    /// Where containerd's configuration starts.
    pub(crate) config: String,
    /// The unit that runs containerd, once it was seen.
    pub(crate) unit: Option<String>,
    pub(crate) slot: SlotHold,
    pub(crate) rehearsed: Option<RehearsedPlan>,
    /// Why the change that was made with the slot failed, or was refused.
    pub(crate) why: Option<String>,
    pub(crate) declined: bool,
    /// Why the node could not be changed when it was looked at last.
    pub(crate) refusal: Option<Refusal>,
    /// The node as it was when it began to wait for a slot.
    pub(crate) waits: Option<NodeObservation>,
    /// What is to be told and was not taken yet.
    pub(crate) unsaid: Option<NodeReport>,
    pub(crate) last: Option<NodeReport>,
}

/// What is known of the slot.
pub(crate) enum SlotHold {
    /// It may be held: the gate was not asked, or did not answer.
    Unknown,
    Free,
    /// With the last change that there was before it was taken, where that is known.
    Slot(slots::HeldSlot, Option<ChangeBeforeSlot>),
}

/// The last change before a slot was taken; none when there had been none.
pub(crate) struct ChangeBeforeSlot(Option<String>);

/// Why a node cannot be changed. The same reason is one Event, although its words may have figures in them that are never the same.
pub(crate) struct Refusal {
    reason: String,
    /// The API server took the Event: otherwise it is told again with the next look.
    told: bool,
}

/// A plan that was tried, and with which containerd.
#[derive(PartialEq, Eq)]
pub(crate) struct RehearsedPlan {
    plan: Digest,
    containerd: Option<String>,
    invocation: Option<String>,
}

impl RehearsedPlan {
    fn of(seen: &NodeObservation, plan: Digest) -> Self {
        Self {
            plan,
            containerd: seen.containerd.clone(),
            invocation: seen.invocation.clone(),
        }
    }
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// When something is new, or with the heartbeat.
    OnEvent,
    /// When a slot may be free, besides.
    WhenSlotFree,
    /// In a moment, and ever later: the API server did not answer, or the node is busy or cannot be changed as it is.
    Soon,
}

impl<H: NodeOps> Reconciler<H> {
    pub(crate) fn new(
        host: H,
        policies: PolicyFile,
        gate: SlotPool,
        mirror: NodeMirrorWriter,
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
            slot: SlotHold::Unknown,
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
    pub(crate) fn slots(&self) -> u16 {
        self.policies.in_force().map_or(1, ActivePolicy::slots)
    }

    /// Goes on until there is nothing to do.
    pub(crate) async fn reconcile(&mut self) -> Requeue {
        if self.policies.read() {
            // What failed with another policy says nothing of this one, unless a slot is kept for it.
            self.rehearsed = None;
        }
        self.report_policy().await;
        self.declined = false;
        let mut rehearse = false;
        for _ in 0..MOST {
            let seen = match self.host.look(self.goal(), rehearse).await {
                Ok(seen) => seen,
                Err(refused) => return self.unreachable(&refused).await,
            };
            self.metrics.inc_observations();
            self.unit.clone_from(&seen.unit);
            if let PlanOutcome::Planned(Planned {
                digest: Some(plan),
                rehearsed: Some(_),
                ..
            }) = &seen.answer
            {
                self.rehearsed = Some(RehearsedPlan::of(&seen, *plan));
            }
            self.refresh_slot().await;
            let next = self.next_action(&seen);
            rehearse = next == NextAction::Rehearse;
            tracing::debug!(next = ?next, "decided");
            match next {
                NextAction::Rehearse => {}
                NextAction::Follow => {
                    self.publish(Ok(&seen), &Activity::Change).await;
                    self.host.settle().await;
                }
                NextAction::Ask => match self.acquire_slot(&seen).await {
                    Ok(None) => {}
                    Ok(Some(holders)) => {
                        let said = self.wait_for(&seen, holders).await;
                        self.waits = Some(seen);
                        return if said { Requeue::WhenSlotFree } else { Requeue::Soon };
                    }
                    Err(error) => {
                        // The answer that it has one may be what was lost.
                        self.slot = SlotHold::Unknown;
                        self.api_failed(&error);
                        self.publish(Ok(&seen), &Activity::Rest(RestState::NoGate)).await;
                        return Requeue::Soon;
                    }
                },
                NextAction::Change => self.change(&seen, AttemptKind::of(self.policies.in_force())).await,
                NextAction::Mend => self.change(&seen, AttemptKind::Mending).await,
                NextAction::GiveBack => {
                    if !self.give_back().await {
                        self.publish(Ok(&seen), &Activity::Rest(RestState::NoGate)).await;
                        return Requeue::Soon;
                    }
                }
                NextAction::Rest(state) => return self.rest(&seen, state).await,
            }
        }
        tracing::warn!("no end after {MOST} moves; looked at again later");
        Requeue::Soon
    }

    /// Tells who is waited for now, while nothing else of the node is new.
    pub(crate) async fn update_waiting_for(&mut self, holders: Vec<SlotHolder>) {
        if let Some(seen) = self.waits.take() {
            self.wait_for(&seen, holders).await;
            self.waits = Some(seen);
        }
    }

    async fn wait_for(&mut self, seen: &NodeObservation, holders: Vec<SlotHolder>) -> bool {
        self.report_fleet_halted(&holders).await;
        self.publish(Ok(seen), &Activity::Wait(holders)).await
    }

    /// Tells the same once more: somebody has changed the object, or it was not taken before. Whether it is told now.
    pub(crate) async fn republish(&mut self) -> bool {
        match self.unsaid.take().or_else(|| self.last.clone()) {
            Some(report) => self.publish_report(report).await,
            None => true,
        }
    }

    async fn rest(&mut self, seen: &NodeObservation, state: RestState) -> Requeue {
        if state == RestState::Contested {
            self.record_event(EventReason::DriftFight, &drift(seen)).await;
        }
        let refusal = match &seen.answer {
            _ if self.declined => Some(("declined", self.why.clone().unwrap_or_default())),
            PlanOutcome::Refused(refused) if state == RestState::Refused => {
                Some((refused.reason.as_str(), refused.message.clone()))
            }
            _ => None,
        };
        let before = self.refusal.take();
        let before = before.filter(|before| refusal.as_ref().is_some_and(|(reason, _)| before.reason == *reason));
        let again = before.is_some();
        if let Some((reason, why)) = refusal {
            let told = before.is_some_and(|before| before.told)
                || self.record_event(EventReason::MigrationRefused, &why).await;
            let reason = reason.to_owned();
            self.refusal = Some(Refusal { reason, told });
        }
        let said = self.publish(Ok(seen), &Activity::Rest(state)).await;
        match state {
            _ if !said => Requeue::Soon,
            // It may hold one, and others wait for that.
            _ if matches!(self.slot, SlotHold::Unknown) => Requeue::Soon,
            RestState::NoGate | RestState::Busy => Requeue::Soon,
            // What stands in the way may be gone in a moment. To be refused by the change itself takes a slot and a rehearsal.
            RestState::Refused | RestState::Unfinished if self.refusal.is_some() && !(self.declined && again) => {
                Requeue::Soon
            }
            _ => Requeue::OnEvent,
        }
    }

    async fn unreachable(&mut self, refused: &Refused) -> Requeue {
        tracing::error!(reason = refused.reason, "cannot look at the node: {}", refused.message);
        self.publish(Err(refused), &Activity::Rest(RestState::Refused)).await;
        Requeue::Soon
    }

    fn goal(&self) -> ObservationGoal {
        match self.policies.in_force() {
            Some(policy) if policy.want() == DesiredMode::Rollback => ObservationGoal::Rollback,
            Some(policy) => ObservationGoal::Migrate(policy.wanted.clone()),
            None => ObservationGoal::Migrate(crate::node::PolicySource::unchanged_routes()),
        }
    }

    fn next_action(&self, seen: &NodeObservation) -> NextAction {
        let policy = self.policies.in_force();
        let plan = match &seen.answer {
            PlanOutcome::Planned(planned) => planned.digest,
            PlanOutcome::Refused(_) => None,
        };
        let rehearsed = plan.is_some_and(|plan| self.rehearsed == Some(RehearsedPlan::of(seen, plan)));
        decide(ReconcileInput {
            want: policy.map_or(DesiredMode::Observe, ActivePolicy::want),
            may_restart: policy.is_none_or(ActivePolicy::may_restart),
            seen,
            rehearsed,
            slot: match self.slot {
                SlotHold::Unknown => SlotState::Unknown,
                SlotHold::Free => SlotState::Free,
                SlotHold::Slot(..) => SlotState::Held,
            },
            fate: match (self.failed(seen), self.declined) {
                (true, _) => LastAttempt::Failed,
                (false, true) => LastAttempt::Declined,
                (false, false) => LastAttempt::Open,
            },
        })
    }

    /// Whether the last change failed, and was made with the slot that is held. Of a slot that was taken by an earlier run of the
    /// agent it cannot be told which change it was taken for, so that the last one counts: a fleet that stands still is safe.
    fn failed(&self, seen: &NodeObservation) -> bool {
        let SlotHold::Slot(_, before) = &self.slot else {
            return false;
        };
        let Some(last) = seen.last.as_ref().filter(|last| last.phase == Change::Undone) else {
            return false;
        };
        before
            .as_ref()
            .is_none_or(|ChangeBeforeSlot(id)| id.as_ref() != Some(&last.id))
    }

    async fn refresh_slot(&mut self) {
        let known = matches!(&self.slot, SlotHold::Free);
        if known {
            return;
        }
        match (self.gate.current_slot().await, &self.slot) {
            (Ok(None), _) => {
                self.slot = SlotHold::Free;
                self.why = None;
            }
            (Ok(Some(slot)), SlotHold::Slot(old, _)) if *old == slot => {}
            (Ok(Some(slot)), _) => self.slot = SlotHold::Slot(slot, None),
            (Err(error), _) => self.api_failed(&error),
        }
        self.metrics.set_slot_held(matches!(self.slot, SlotHold::Slot(..)));
    }

    /// Asks for a slot; who holds them when there is none.
    async fn acquire_slot(&mut self, seen: &NodeObservation) -> Result<Option<Vec<SlotHolder>>, Error> {
        let why = SlotNote {
            phase: NodePhase::Changing.name().to_owned(),
            reason: "the node is being changed".to_owned(),
        };
        match self.gate.acquire(self.slots(), &why, Timestamp::now()).await? {
            AcquireOutcome::Full(holders) => Ok(Some(holders)),
            AcquireOutcome::New(slot) => {
                tracing::info!(slot = slot.name(), "holds a slot");
                let before = ChangeBeforeSlot(seen.last.as_ref().map(|last| last.id.clone()));
                self.slot = SlotHold::Slot(slot, Some(before));
                self.metrics.set_slot_held(true);
                Ok(None)
            }
            AcquireOutcome::Held(slot) => {
                self.slot = SlotHold::Slot(slot, None);
                self.metrics.set_slot_held(true);
                Ok(None)
            }
        }
    }

    /// Whether it is free now.
    async fn give_back(&mut self) -> bool {
        let SlotHold::Slot(slot, before) = std::mem::replace(&mut self.slot, SlotHold::Unknown) else {
            return true;
        };
        drop(before);
        match self.gate.release(slot).await {
            Ok(()) => {
                self.slot = SlotHold::Free;
                self.metrics.set_slot_held(false);
                true
            }
            Err(error) => {
                self.api_failed(&error);
                false
            }
        }
    }

    async fn report_fleet_halted(&mut self, holders: &[SlotHolder]) {
        let Some(holder) = holders.iter().find(|holder| holder.failed()) else {
            return;
        };
        let note = format!("node {} keeps {}; `{}` frees it", holder.node, holder.slot, holder.free);
        self.record_event(EventReason::FleetHalted, &note).await;
    }

    async fn report_policy(&mut self) {
        let wrong = self.policies.wrong().cloned();
        self.metrics.policy(wrong.is_none());
        if let Some(PolicyProblem::Invalid(why)) = wrong {
            tracing::error!("the policy cannot be read: {why}");
            self.record_event(EventReason::PolicyInvalid, &why).await;
        }
    }

    /// Makes an Event of it; whether it was told, now or within the hour.
    pub(crate) async fn record_event(&mut self, happened: EventReason, note: &str) -> bool {
        let told = self.events.publish(happened, note, Timestamp::now()).await;
        match told {
            Ok(told) => told,
            Err(error) => {
                self.api_failed(&error);
                false
            }
        }
    }

    /// Tells how the node is; whether the API server took it.
    pub(crate) async fn publish(&mut self, seen: Result<&NodeObservation, &Refused>, doing: &Activity) -> bool {
        let slot = match &self.slot {
            SlotHold::Slot(slot, _) => Some(slot.name()),
            SlotHold::Unknown | SlotHold::Free => None,
        };
        let report = report(&StatusInputs {
            seen,
            doing,
            policy: self.policies.in_force(),
            wrong: self.policies.wrong(),
            slot,
            why: self.why.as_deref(),
        });
        self.metrics.phase(report.status.phase);
        self.metrics
            .set_contested(matches!(doing, Activity::Rest(RestState::Contested)));
        self.publish_report(report).await
    }

    pub(crate) async fn publish_report(&mut self, report: NodeReport) -> bool {
        let told = self.mirror.apply(&report, Timestamp::now()).await;
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

    pub(crate) fn api_failed(&self, error: &Error) {
        self.metrics.api_failed(error.kind);
        tracing::warn!(kind = error.kind.name(), "{error}: {}", source(error));
    }
}

fn source(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
