//! One attempt of the reconciler to change the node: the request, and what follows from its result.

use crate::change_id::ChangeId;
use crate::change_run::failure_summary::FailureSummary;
use crate::change_run::progress::RunResult;
use crate::change_run::request::{ChangeKind, ChangeRequest, ChangeTimeouts};
use crate::cluster::events::EventReason;
use crate::cluster::node_mirror::NodePhase;
use crate::cluster::slots::SlotNote;
use crate::exit::Exit;
use crate::observe::observation::{NodeObservation, PlanOutcome};
use crate::reconcile::decide::{Attempt, DesiredMode};
use crate::reconcile::node_ops::NodeOps;
use crate::reconcile::reconciler::{Reconciler, SlotHold};
use crate::reconcile::status::{Activity, drift};
use mirrorshift_plan::policy::When;
use std::time::Duration;

/// The kind of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptKind {
    Migration,
    Rollback,
    Repair,
}

/// The consequences of a result.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// The `outcome` label of `mirrorshift_changes_total`.
    outcome: &'static str,
    /// None for a refusal, which is recorded when nothing else is to be done.
    event: Option<EventReason>,
    attempt: Attempt,
}

impl<H: NodeOps> Reconciler<H> {
    /// Makes the change that the policy requires.
    pub(crate) async fn make_change(&mut self, observation: &NodeObservation) {
        let policy = self.policy_file.active();
        let kind = if policy.is_some_and(|policy| policy.mode() == DesiredMode::Rollback) {
            AttemptKind::Rollback
        } else {
            AttemptKind::Migration
        };
        self.attempt_change(observation, kind).await;
    }

    /// Restores the drifted files.
    pub(crate) async fn repair(&mut self, observation: &NodeObservation) {
        self.attempt_change(observation, AttemptKind::Repair).await;
    }

    async fn attempt_change(&mut self, observation: &NodeObservation, kind: AttemptKind) {
        let Some(request) = self.request(observation, kind) else {
            return;
        };
        let id = request.id.clone();
        self.publish(Ok(observation), &Activity::Change).await;
        if kind != AttemptKind::Repair {
            self.record_event(EventReason::MigrationStarted, &format!("change {id}"))
                .await;
        }
        tracing::info!(change = id, ?kind, "change starts");
        match self.node.change(request).await {
            Ok(result) => self.handle_result(&id, &result, kind, &drift(observation)).await,
            Err(failure) => {
                tracing::error!(
                    change = id,
                    reason = failure.reason,
                    "change not made: {}",
                    failure.message
                );
                self.metrics.inc_changes("refused");
                self.attempt = declined(&failure);
            }
        }
    }

    fn request(&self, observation: &NodeObservation, kind: AttemptKind) -> Option<ChangeRequest> {
        let policy = self.policy_file.active()?;
        let task = match kind {
            AttemptKind::Repair => ChangeKind::Repair,
            AttemptKind::Rollback => ChangeKind::Rollback,
            AttemptKind::Migration => ChangeKind::Migrate {
                wanted: policy.source.clone(),
                expects: match &observation.plan {
                    // An unfinished change is undone first, and the plan is different then.
                    PlanOutcome::Planned(planned) if observation.unfinished.is_none() => planned.digest,
                    _ => None,
                },
            },
        };
        let defaults = ChangeTimeouts::default();
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
                serve: restart.deadline_for(observation.last_start),
                quiet: if restart.when == When::Now {
                    Duration::ZERO
                } else {
                    defaults.quiet
                },
                ..defaults
            },
        })
    }

    async fn handle_result(&mut self, id: &str, result: &RunResult, kind: AttemptKind, drift: &str) {
        let verdict = verdict(result, kind);
        let message = result.failure.as_ref().map_or("", |failure| &failure.message);
        self.metrics.inc_changes(verdict.outcome);
        tracing::info!(
            change = id,
            exit = result.exit.code(),
            reason = result.failure.as_ref().map(|failure| failure.reason.as_str()),
            outcome = verdict.outcome,
            "change ended: {message}"
        );
        if matches!(verdict.attempt, Attempt::Failed { .. }) {
            self.annotate_slot(result.exit, message).await;
        }
        self.attempt = verdict.attempt;
        let Some(event) = verdict.event else { return };
        let details = if event == EventReason::DriftRepaired {
            drift
        } else {
            message
        };
        let note = if details.is_empty() {
            format!("change {id}")
        } else {
            format!("change {id}: {details}")
        };
        self.record_event(event, &note).await;
    }

    /// Writes to the slot why the node keeps it.
    async fn annotate_slot(&mut self, exit: Exit, message: &str) {
        let phase = if exit == Exit::Stuck {
            NodePhase::Stuck
        } else {
            NodePhase::Undone
        };
        let note = SlotNote {
            phase: phase.name().to_owned(),
            reason: message.to_owned(),
        };
        let SlotHold::Held { slot, .. } = &self.slot else {
            return;
        };
        if let Err(error) = self.slots.annotate(slot, &note).await {
            self.report_api_error(&error);
        }
    }
}

fn verdict(result: &RunResult, kind: AttemptKind) -> Verdict {
    let message = result.failure.as_ref().map_or("", |failure| &failure.message);
    let failed = || Attempt::Failed {
        reason: message.to_owned(),
    };
    let (outcome, event, attempt) = match (result.exit, kind) {
        (Exit::Done, AttemptKind::Migration) => ("done", Some(EventReason::MigrationDone), Attempt::None),
        (Exit::Done, AttemptKind::Rollback) => ("rolled_back", Some(EventReason::RolledBack), Attempt::None),
        (Exit::Done, AttemptKind::Repair) => ("repaired", Some(EventReason::DriftRepaired), Attempt::None),
        (Exit::Undone, _) => ("undone", Some(EventReason::MigrationUndone), failed()),
        (Exit::Stuck, _) => ("stuck", Some(EventReason::MigrationStuck), failed()),
        _ => ("refused", None, result.failure.as_ref().map_or(Attempt::None, declined)),
    };
    Verdict {
        outcome,
        event,
        attempt,
    }
}

/// A change that was refused. If another process holds the lock, the next observation sees its change, so nothing was
/// declined.
fn declined(failure: &FailureSummary) -> Attempt {
    if failure.exit == Exit::Locked {
        return Attempt::None;
    }
    Attempt::Declined {
        reason: failure.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CommandError;

    fn failed_result(exit: Exit) -> RunResult {
        RunResult::failed(&CommandError::new(exit, "containerd", "the cause\nmore"))
    }

    #[test]
    fn attempt_follows_from_exit_code_and_message_of_the_result() {
        let reason = "the cause; more".to_owned();
        for (exit, outcome, event, attempt) in [
            (
                Exit::Undone,
                "undone",
                Some(EventReason::MigrationUndone),
                Attempt::Failed { reason: reason.clone() },
            ),
            (
                Exit::Stuck,
                "stuck",
                Some(EventReason::MigrationStuck),
                Attempt::Failed { reason: reason.clone() },
            ),
            (
                Exit::Refused,
                "refused",
                None,
                Attempt::Declined { reason: reason.clone() },
            ),
            (Exit::Unexpected, "refused", None, Attempt::Declined { reason }),
            (Exit::Locked, "refused", None, Attempt::None),
        ] {
            let expected = Verdict {
                outcome,
                event,
                attempt,
            };
            assert_eq!(verdict(&failed_result(exit), AttemptKind::Migration), expected);
        }
    }

    #[test]
    fn success_is_named_after_the_kind_of_the_attempt() {
        let done = RunResult::done("", &());
        for (kind, outcome, event) in [
            (AttemptKind::Migration, "done", EventReason::MigrationDone),
            (AttemptKind::Rollback, "rolled_back", EventReason::RolledBack),
            (AttemptKind::Repair, "repaired", EventReason::DriftRepaired),
        ] {
            let expected = Verdict {
                outcome,
                event: Some(event),
                attempt: Attempt::None,
            };
            assert_eq!(verdict(&done, kind), expected);
        }
    }
}
