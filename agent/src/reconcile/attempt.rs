//! The change of a turn: ordered from the node, and what became of it.

use crate::change_id::ChangeId;
use crate::change_run::progress::RunResult;
use crate::change_run::request::{ChangeKind, ChangeRequest, ChangeTimeouts};
use crate::cluster::events::EventReason;
use crate::cluster::node_mirror::NodePhase;
use crate::cluster::slots::SlotNote;
use crate::exit::Exit;
use crate::observe::observation::{NodeObservation, PlanOutcome};
use crate::reconcile::decide::DesiredMode;
use crate::reconcile::node_ops::NodeOps;
use crate::reconcile::policy_file::ActivePolicy;
use crate::reconcile::reconciler::{Reconciler, SlotHold};
use crate::reconcile::status::{Activity, drift};
use mirrorshift_plan::policy::When;
use std::time::Duration;

/// Which change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptKind {
    /// To what the policy wants.
    Migration,
    /// Back to the bytes of before.
    Rollback,
    /// What somebody wrote over is put back.
    Mending,
}

impl AttemptKind {
    /// The one that a policy asks for.
    pub(crate) fn of(policy: Option<&ActivePolicy>) -> Self {
        if policy.is_some_and(|policy| policy.want() == DesiredMode::Rollback) {
            Self::Rollback
        } else {
            Self::Migration
        }
    }
}

impl<H: NodeOps> Reconciler<H> {
    pub(crate) async fn change(&mut self, seen: &NodeObservation, kind: AttemptKind) {
        let Some(order) = self.order(seen, kind) else { return };
        let id = order.id.clone();
        self.publish(Ok(seen), &Activity::Change).await;
        if kind != AttemptKind::Mending {
            self.record_event(EventReason::MigrationStarted, &format!("change {id}"))
                .await;
        }
        tracing::info!(change = id, ?kind, "starts");
        match self.host.change(order).await {
            Ok(end) => self.ended(&id, &end, kind, &drift(seen)).await,
            Err(refused) => {
                tracing::error!(
                    change = id,
                    reason = refused.reason,
                    "was not made: {}",
                    refused.message
                );
                self.metrics.change("refused");
                self.why = Some(refused.message);
                self.declined = refused.exit != Exit::Locked;
            }
        }
    }

    fn order(&self, seen: &NodeObservation, kind: AttemptKind) -> Option<ChangeRequest> {
        let policy = self.policies.in_force()?;
        let task = match kind {
            AttemptKind::Mending => ChangeKind::Mend,
            AttemptKind::Rollback => ChangeKind::Rollback,
            AttemptKind::Migration => ChangeKind::Migrate {
                wanted: policy.wanted.clone(),
                expects: match &seen.answer {
                    // Behind an unfinished change the plan is another one.
                    PlanOutcome::Planned(planned) if seen.unfinished.is_none() => planned.digest,
                    _ => None,
                },
            },
        };
        let usual = ChangeTimeouts::default();
        let restart = &policy.policy.restart;
        Some(ChangeRequest {
            id: ChangeId::generate().name,
            task,
            config: self.config.clone(),
            containerd_version: None,
            again: false,
            containers_may_restart: false,
            verify_image: None,
            limits: ChangeTimeouts {
                serve: restart.deadline,
                quiet: if restart.when == When::Now {
                    Duration::ZERO
                } else {
                    usual.quiet
                },
                ..usual
            },
        })
    }

    async fn ended(&mut self, id: &str, end: &RunResult, kind: AttemptKind, drift: &str) {
        let said = anstream::adapter::strip_str(&end.err).to_string();
        let said = said
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        let (happened, outcome) = match (end.exit, kind) {
            (Exit::Done, AttemptKind::Migration) => (Some(EventReason::MigrationDone), "done"),
            (Exit::Done, AttemptKind::Rollback) => (Some(EventReason::RolledBack), "rolled_back"),
            (Exit::Done, AttemptKind::Mending) => (Some(EventReason::DriftRepaired), "mended"),
            (Exit::Undone, _) => (Some(EventReason::MigrationUndone), "undone"),
            (Exit::Stuck, _) => (Some(EventReason::MigrationStuck), "stuck"),
            // Told when nothing else is to be done.
            _ => (None, "refused"),
        };
        self.metrics.change(outcome);
        tracing::info!(change = id, exit = end.exit.code(), outcome, "ended: {said}");
        match end.exit {
            Exit::Done => self.why = None,
            Exit::Undone | Exit::Stuck => {
                self.keep(end.exit, &said).await;
                self.why = Some(said.clone());
            }
            _ => {
                self.why = Some(said.clone());
                self.declined = end.exit != Exit::Locked;
            }
        }
        let Some(happened) = happened else { return };
        let more = if happened == EventReason::DriftRepaired {
            drift
        } else {
            &said
        };
        let note = if more.is_empty() {
            format!("change {id}")
        } else {
            format!("change {id}: {more}")
        };
        self.record_event(happened, &note).await;
    }

    /// Writes at the slot why it is kept.
    async fn keep(&mut self, exit: Exit, said: &str) {
        let phase = if exit == Exit::Stuck {
            NodePhase::Stuck
        } else {
            NodePhase::Undone
        };
        let why = SlotNote {
            phase: phase.name().to_owned(),
            reason: said.to_owned(),
        };
        let SlotHold::Slot(slot, _) = &self.slot else { return };
        if let Err(error) = self.gate.annotate(slot, &why).await {
            self.api_failed(&error);
        }
    }
}
