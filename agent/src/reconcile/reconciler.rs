//! The reconciler of one node: observe, decide, act, and observe again, until there is nothing to do.

use crate::change_run::failure_summary::FailureSummary;
use crate::cluster::client::ApiClient;
use crate::cluster::error::Error;
use crate::cluster::events::{EventReason, Events};
use crate::cluster::node_identity::NodeIdentity;
use crate::cluster::node_mirror::NodePhase;
use crate::cluster::node_mirror_writer::NodeMirrorWriter;
use crate::cluster::slots::{AcquireOutcome, HeldSlot, SlotHolder, SlotNote, SlotPool};
use crate::node::PolicySource;
use crate::observe::observation::{ChangeSummary, NodeObservation, PlanOutcome, PlannedChange};
use crate::observe::observe_unit::ObservationGoal;
use crate::reconcile::decide::{Attempt, DesiredMode, NextAction, ReconcileInput, RestState, SlotState, next_action};
use crate::reconcile::metrics::Metrics;
use crate::reconcile::node_ops::NodeOps;
use crate::reconcile::outbox::Outbox;
use crate::reconcile::policy_file::{ActivePolicy, PolicyFile, PolicyProblem};
use crate::reconcile::status::{Activity, StatusInputs, drift, report};
use jiff::Timestamp;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::Phase;
use std::sync::Arc;

/// The most actions in one cycle. A change takes six; whatever takes more goes on in the next cycle.
const MAX_ACTIONS: usize = 16;

/// The reconciler of one node.
pub(crate) struct Reconciler<H> {
    pub(crate) node: H,
    pub(crate) policy_file: PolicyFile,
    pub(crate) client: ApiClient,
    pub(crate) slots: SlotPool,
    pub(crate) outbox: Outbox,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    /// The path of containerd's root configuration file.
    pub(crate) config: String,
    /// The unit that runs containerd, as observed last.
    pub(crate) unit: Option<String>,
    pub(crate) slot: SlotHold,
    pub(crate) attempt: Attempt,
    rehearsed: Option<RehearsedPlan>,
    refusal: Option<RecordedRefusal>,
    /// The observation with which the node began to wait for a slot.
    waiting: Option<NodeObservation>,
}

/// The slot of this node.
pub(crate) enum SlotHold {
    /// The node may hold one: the API server was not queried yet, or did not answer.
    Unknown,
    NotHeld,
    Held {
        slot: HeldSlot,
        before: ChangeBeforeSlot,
    },
}

/// The last change of the node at the time when it acquired its slot.
pub(crate) enum ChangeBeforeSlot {
    /// An earlier process of the agent acquired the slot.
    Unknown,
    /// No identifier: there had been no change.
    Known(Option<String>),
}

/// A refusal that was recorded as an Event. Refusals are deduplicated by reason code, because the message may contain
/// numbers that change each time.
struct RecordedRefusal {
    reason: String,
    /// The API server accepted the Event. Otherwise the next cycle records it again.
    accepted: bool,
}

/// A plan that was rehearsed, and the containerd that rehearsed it.
#[derive(PartialEq, Eq)]
struct RehearsedPlan {
    plan: Digest,
    containerd: Option<String>,
    invocation: Option<String>,
}

impl RehearsedPlan {
    fn of(observation: &NodeObservation, plan: Digest) -> Self {
        Self {
            plan,
            containerd: observation.containerd.clone(),
            invocation: observation.invocation.clone(),
        }
    }
}

/// When to reconcile again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// After an event, or with the heartbeat.
    OnEvent,
    /// Like `OnEvent`, and when a slot may be free.
    WhenSlotFree,
    /// After a delay that grows: the API server did not answer, or the node is busy or cannot be changed now.
    Soon,
}

impl<H: NodeOps> Reconciler<H> {
    /// `namespace` is that of the agent, and `config` the path of containerd's root configuration file.
    pub(crate) fn new(
        node: H,
        policy_file: PolicyFile,
        client: ApiClient,
        namespace: &str,
        identity: &NodeIdentity,
        metrics: Arc<Metrics>,
        config: &str,
    ) -> Self {
        Self {
            node,
            policy_file,
            slots: SlotPool::new(client.clone(), namespace, identity.clone()),
            outbox: Outbox::new(NodeMirrorWriter::new(client.clone(), identity.clone())),
            events: Events::new(client.clone(), identity.clone()),
            client,
            metrics,
            config: config.to_owned(),
            unit: None,
            slot: SlotHold::Unknown,
            attempt: Attempt::None,
            rehearsed: None,
            refusal: None,
            waiting: None,
        }
    }

    /// The number of nodes that may be changed at the same time.
    pub(crate) fn max_concurrent(&self) -> u16 {
        self.policy_file.active().map_or(1, ActivePolicy::max_concurrent)
    }

    /// Acts until there is nothing to do.
    pub(crate) async fn reconcile(&mut self) -> Requeue {
        if self.policy_file.reload() {
            self.rehearsed = None;
        }
        self.report_policy().await;
        if matches!(self.attempt, Attempt::Declined { .. }) {
            self.attempt = Attempt::None;
        }
        let mut rehearse = false;
        for _ in 0..MAX_ACTIONS {
            let observation = match self.node.observe(self.goal(), rehearse).await {
                Ok(observation) => observation,
                Err(failure) => return self.report_unreachable(&failure).await,
            };
            self.metrics.inc_observations();
            self.unit.clone_from(&observation.unit);
            if let PlanOutcome::Planned(PlannedChange {
                digest: Some(plan),
                rehearsed: Some(_),
                ..
            }) = &observation.plan
            {
                self.rehearsed = Some(RehearsedPlan::of(&observation, *plan));
            }
            self.refresh_slot().await;
            self.refresh_attempt(&observation);
            let action = next_action(self.input(&observation));
            rehearse = action == NextAction::Rehearse;
            tracing::debug!(?action, "decided");
            match action {
                NextAction::Rehearse => {}
                NextAction::Follow => {
                    self.publish(Ok(&observation), &Activity::Change).await;
                    self.node.wait_for_change().await;
                }
                NextAction::AcquireSlot => match self.acquire_slot(&observation).await {
                    Ok(None) => {}
                    Ok(Some(holders)) => {
                        let published = self.publish_waiting(&observation, holders).await;
                        self.waiting = Some(observation);
                        return if published {
                            Requeue::WhenSlotFree
                        } else {
                            Requeue::Soon
                        };
                    }
                    Err(error) => {
                        // The node may hold a slot: perhaps only the answer was lost.
                        self.slot = SlotHold::Unknown;
                        return self.report_slot_unknown(&observation, &error).await;
                    }
                },
                NextAction::Change => self.make_change(&observation).await,
                NextAction::Repair => self.repair(&observation).await,
                NextAction::ReleaseSlot => {
                    if let Err(error) = self.release_slot().await {
                        return self.report_slot_unknown(&observation, &error).await;
                    }
                }
                NextAction::Rest(state) => return self.rest(&observation, state).await,
            }
        }
        tracing::warn!("not finished after {MAX_ACTIONS} actions; goes on in the next cycle");
        Requeue::Soon
    }

    /// Publishes the new holders of the slots while the node waits.
    pub(crate) async fn update_waiting_for(&mut self, holders: Vec<SlotHolder>) {
        if let Some(observation) = self.waiting.take() {
            self.publish_waiting(&observation, holders).await;
            self.waiting = Some(observation);
        }
    }

    /// Publishes the last status again, because the object was changed or the previous write failed. Returns true if
    /// the write succeeded.
    pub(crate) async fn republish(&mut self) -> bool {
        let sent = self.outbox.resend().await;
        self.check_sent(&sent)
    }

    async fn publish_waiting(&mut self, observation: &NodeObservation, holders: Vec<SlotHolder>) -> bool {
        self.report_fleet_halted(&holders).await;
        self.publish(Ok(observation), &Activity::Wait(holders)).await
    }

    async fn rest(&mut self, observation: &NodeObservation, state: RestState) -> Requeue {
        if state == RestState::Contested {
            self.record_event(EventReason::ConflictingWriter, &drift(observation))
                .await;
        }
        let refusal = match (&self.attempt, &observation.plan) {
            (Attempt::Declined { reason }, _) => Some(("declined".to_owned(), reason.clone())),
            (_, PlanOutcome::Refused(refused)) if state == RestState::Refused => {
                Some((refused.reason.clone(), refused.message.clone()))
            }
            _ => None,
        };
        let is_repeated = self.record_refusal(refusal).await;
        let published = self.publish(Ok(observation), &Activity::Rest(state)).await;
        if !published {
            return Requeue::Soon;
        }
        // Other nodes may wait for a slot that this node holds without knowing it.
        if matches!(self.slot, SlotHold::Unknown) {
            return Requeue::Soon;
        }
        let is_declined = matches!(self.attempt, Attempt::Declined { .. });
        match state {
            RestState::SlotUnknown | RestState::Busy => Requeue::Soon,
            // The obstacle may disappear in a moment. A change that refuses itself costs a slot and a rehearsal each
            // time, so it is repeated soon only once.
            RestState::Refused | RestState::Unfinished if self.refusal.is_some() && !(is_declined && is_repeated) => {
                Requeue::Soon
            }
            _ => Requeue::OnEvent,
        }
    }

    /// Records a refusal as an Event, unless the last cycle did. Returns true if the last cycle had the same refusal.
    async fn record_refusal(&mut self, refusal: Option<(String, String)>) -> bool {
        let last = self.refusal.take();
        let Some((reason, message)) = refusal else { return false };
        let last = last.filter(|last| last.reason == reason);
        let is_repeated = last.is_some();
        let accepted =
            last.is_some_and(|last| last.accepted) || self.record_event(EventReason::MigrationRefused, &message).await;
        self.refusal = Some(RecordedRefusal { reason, accepted });
        is_repeated
    }

    async fn report_unreachable(&mut self, failure: &FailureSummary) -> Requeue {
        tracing::error!(reason = failure.reason, "cannot observe the node: {}", failure.message);
        self.publish(Err(failure), &Activity::Rest(RestState::Refused)).await;
        Requeue::Soon
    }

    async fn report_slot_unknown(&mut self, observation: &NodeObservation, error: &Error) -> Requeue {
        self.report_api_error(error);
        self.publish(Ok(observation), &Activity::Rest(RestState::SlotUnknown))
            .await;
        Requeue::Soon
    }

    fn goal(&self) -> ObservationGoal {
        match self.policy_file.active() {
            Some(policy) if policy.mode() == DesiredMode::Rollback => ObservationGoal::Rollback,
            Some(policy) => ObservationGoal::Migrate(policy.source.clone()),
            None => ObservationGoal::Migrate(PolicySource::unchanged_routes()),
        }
    }

    fn input<'o>(&'o self, observation: &'o NodeObservation) -> ReconcileInput<'o> {
        let policy = self.policy_file.active();
        let plan = match &observation.plan {
            PlanOutcome::Planned(planned) => planned.digest,
            PlanOutcome::Refused(_) => None,
        };
        ReconcileInput {
            mode: policy.map_or(DesiredMode::Observe, ActivePolicy::mode),
            may_restart: policy.is_none_or(ActivePolicy::may_restart),
            observation,
            rehearsed: plan.is_some_and(|plan| self.rehearsed == Some(RehearsedPlan::of(observation, plan))),
            slot: match self.slot {
                SlotHold::Unknown => SlotState::Unknown,
                SlotHold::NotHeld => SlotState::NotHeld,
                SlotHold::Held { .. } => SlotState::Held,
            },
            attempt: &self.attempt,
        }
    }

    /// Reads from the journal whether the last change failed. This process may not have seen it fail.
    fn refresh_attempt(&mut self, observation: &NodeObservation) {
        let failed = self.slot.failed_change(observation);
        match (failed, &self.attempt) {
            (Some(_), Attempt::Failed { .. }) | (None, Attempt::None | Attempt::Declined { .. }) => {}
            (Some(change), _) => {
                let reason = change.note.as_deref().unwrap_or("containerd did not serve");
                self.attempt = Attempt::Failed {
                    reason: reason.to_owned(),
                };
            }
            (None, Attempt::Failed { .. }) => self.attempt = Attempt::None,
        }
    }

    async fn refresh_slot(&mut self) {
        if matches!(self.slot, SlotHold::NotHeld) {
            return;
        }
        match self.slots.current_slot().await {
            Ok(None) => self.slot = SlotHold::NotHeld,
            Ok(Some(slot)) => {
                let is_known = matches!(&self.slot, SlotHold::Held { slot: held, .. } if *held == slot);
                if !is_known {
                    let before = ChangeBeforeSlot::Unknown;
                    self.slot = SlotHold::Held { slot, before };
                }
            }
            Err(error) => self.report_api_error(&error),
        }
        self.metrics.set_slot_held(matches!(self.slot, SlotHold::Held { .. }));
    }

    /// Acquires a slot. Returns the holders of the slots if none is free.
    async fn acquire_slot(&mut self, observation: &NodeObservation) -> Result<Option<Vec<SlotHolder>>, Error> {
        let note = SlotNote {
            phase: NodePhase::Changing.name().to_owned(),
            reason: "the node is being changed".to_owned(),
        };
        let (slot, before) = match self
            .slots
            .acquire(self.max_concurrent(), &note, Timestamp::now())
            .await?
        {
            AcquireOutcome::Full(holders) => return Ok(Some(holders)),
            AcquireOutcome::New(slot) => {
                tracing::info!(slot = slot.name(), "acquired a slot");
                let last = observation.last.as_ref().map(|last| last.id.clone());
                (slot, ChangeBeforeSlot::Known(last))
            }
            AcquireOutcome::Held(slot) => (slot, ChangeBeforeSlot::Unknown),
        };
        self.slot = SlotHold::Held { slot, before };
        self.metrics.set_slot_held(true);
        Ok(None)
    }

    async fn release_slot(&mut self) -> Result<(), Error> {
        if let SlotHold::Held { slot, .. } = std::mem::replace(&mut self.slot, SlotHold::Unknown) {
            self.slots.release(slot).await?;
            self.slot = SlotHold::NotHeld;
            self.metrics.set_slot_held(false);
        }
        Ok(())
    }

    async fn report_fleet_halted(&mut self, holders: &[SlotHolder]) {
        let Some(holder) = holders.iter().find(|holder| holder.failed()) else {
            return;
        };
        let note = format!(
            "node {} failed and keeps {}; after you have found the cause, `{}` releases it",
            holder.node, holder.slot, holder.free
        );
        self.record_event(EventReason::FleetHalted, &note).await;
    }

    async fn report_policy(&mut self) {
        let problem = self.policy_file.problem().cloned();
        self.metrics.set_policy_valid(problem.is_none());
        if let Some(PolicyProblem::Invalid(message)) = problem {
            tracing::error!("cannot read the policy: {message}");
            self.record_event(EventReason::PolicyInvalid, &message).await;
        }
    }

    /// Records an Event. Returns true if it is recorded, now or within the last hour.
    pub(crate) async fn record_event(&mut self, reason: EventReason, note: &str) -> bool {
        match self.events.publish(reason, note, Timestamp::now()).await {
            Ok(recorded) => recorded,
            Err(error) => {
                self.report_api_error(&error);
                false
            }
        }
    }

    /// Publishes the status of the node. Returns true if the API server accepted it.
    pub(crate) async fn publish(
        &mut self,
        observation: Result<&NodeObservation, &FailureSummary>,
        activity: &Activity,
    ) -> bool {
        let slot = match &self.slot {
            SlotHold::Held { slot, .. } => Some(slot.name()),
            SlotHold::Unknown | SlotHold::NotHeld => None,
        };
        let report = report(&StatusInputs {
            observation,
            activity,
            policy: self.policy_file.active(),
            policy_problem: self.policy_file.problem(),
            slot,
            attempt: &self.attempt,
        });
        self.metrics.set_phase(report.status.phase);
        self.metrics
            .set_contested(matches!(activity, Activity::Rest(RestState::Contested)));
        let sent = self.outbox.send(report).await;
        self.check_sent(&sent)
    }

    fn check_sent(&self, sent: &Result<(), Error>) -> bool {
        if let Err(error) = sent {
            self.report_api_error(error);
        }
        !self.outbox.is_pending()
    }

    pub(crate) fn report_api_error(&self, error: &Error) {
        self.metrics.inc_api_errors(error.kind);
        let source = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(kind = error.kind.name(), "{error}: {}", source.unwrap_or_default());
    }
}

impl SlotHold {
    /// The last change, if it failed and was made with the held slot. If an earlier process of the agent acquired the
    /// slot, it is unknown which change the slot was for. Then it is assumed to be the last change, because a halted
    /// rollout is safe.
    fn failed_change<'o>(&self, observation: &'o NodeObservation) -> Option<&'o ChangeSummary> {
        let Self::Held { before, .. } = self else { return None };
        let last = observation.last.as_ref().filter(|last| last.phase == Phase::Undone)?;
        match before {
            ChangeBeforeSlot::Known(id) if id.as_ref() == Some(&last.id) => None,
            ChangeBeforeSlot::Known(_) | ChangeBeforeSlot::Unknown => Some(last),
        }
    }
}

#[cfg(test)]
mod tests;
