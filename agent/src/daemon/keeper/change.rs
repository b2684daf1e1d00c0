//! The change of a turn: ordered from the node, and what became of it.

use super::{Held, Keeper};
use crate::cluster::events::Happened;
use crate::cluster::gate::Why;
use crate::cluster::nodemirror::Phase;
use crate::commands::identity;
use crate::daemon::decide::Want;
use crate::daemon::host::Host;
use crate::daemon::policy::InForce;
use crate::daemon::report::{Doing, drift};
use crate::exit::Exit;
use crate::live::order::{Limits, Order, Task};
use crate::live::progress::End;
use crate::live::seen::{Answer, Seen};
use mirrorshift_plan::policy::When;
use std::time::Duration;

/// Which change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To what the policy wants.
    Migration,
    /// Back to the bytes of before.
    Rollback,
    /// What somebody wrote over is put back.
    Mending,
}

impl Kind {
    /// The one that a policy asks for.
    pub(super) fn of(policy: Option<&InForce>) -> Self {
        if policy.is_some_and(|policy| policy.want() == Want::Rollback) {
            Self::Rollback
        } else {
            Self::Migration
        }
    }
}

impl<H: Host> Keeper<H> {
    pub(super) async fn change(&mut self, seen: &Seen, kind: Kind) {
        let Some(order) = self.order(seen, kind) else { return };
        let id = order.id.clone();
        self.say(Ok(seen), &Doing::Change).await;
        if kind != Kind::Mending {
            self.happened(Happened::MigrationStarted, &format!("change {id}")).await;
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

    fn order(&self, seen: &Seen, kind: Kind) -> Option<Order> {
        let policy = self.policies.in_force()?;
        let task = match kind {
            Kind::Mending => Task::Mend,
            Kind::Rollback => Task::Rollback,
            Kind::Migration => Task::Migrate {
                wanted: policy.wanted.clone(),
                expects: match &seen.answer {
                    // Behind an unfinished change the plan is another one.
                    Answer::Do(planned) if seen.unfinished.is_none() => planned.digest,
                    _ => None,
                },
            },
        };
        let usual = Limits::default();
        let restart = &policy.policy.restart;
        Some(Order {
            id: identity().1,
            task,
            config: self.config.clone(),
            containerd_version: None,
            again: false,
            containers_may_restart: false,
            verify_image: None,
            limits: Limits {
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

    async fn ended(&mut self, id: &str, end: &End, kind: Kind, drift: &str) {
        let said = anstream::adapter::strip_str(&end.err).to_string();
        let said = said
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        let (happened, outcome) = match (end.exit, kind) {
            (Exit::Done, Kind::Migration) => (Some(Happened::MigrationDone), "done"),
            (Exit::Done, Kind::Rollback) => (Some(Happened::RolledBack), "rolled_back"),
            (Exit::Done, Kind::Mending) => (Some(Happened::DriftRepaired), "mended"),
            (Exit::Undone, _) => (Some(Happened::MigrationUndone), "undone"),
            (Exit::Stuck, _) => (Some(Happened::MigrationStuck), "stuck"),
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
        let more = if happened == Happened::DriftRepaired {
            drift
        } else {
            &said
        };
        let note = if more.is_empty() {
            format!("change {id}")
        } else {
            format!("change {id}: {more}")
        };
        self.happened(happened, &note).await;
    }

    /// Writes at the slot why it is kept.
    async fn keep(&mut self, exit: Exit, said: &str) {
        let phase = if exit == Exit::Stuck {
            Phase::Stuck
        } else {
            Phase::Undone
        };
        let why = Why {
            phase: phase.name().to_owned(),
            reason: said.to_owned(),
        };
        let Held::Slot(slot, _) = &self.slot else { return };
        if let Err(error) = self.gate.tell(slot, &why).await {
            self.api_failed(&error);
        }
    }
}
