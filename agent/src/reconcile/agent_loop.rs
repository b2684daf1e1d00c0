//! The loop of the agent: reconcile, wait for a trigger, reconcile again.

use crate::cluster::backoff::{Backoff, Jitter};
use crate::cluster::slots::WaitOutcome;
use crate::reconcile::node_ops::NodeOps;
use crate::reconcile::reconciler::{Reconciler, Requeue};
use crate::reconcile::triggers::Triggers;
use std::time::Duration;

/// Up to this time, chosen at random, passes before a waiting node reports that the fleet is halted. All waiting nodes
/// observe it at the same moment.
const HALTED_SPREAD: Duration = Duration::from_secs(10);
/// The first and the longest delay before a cycle is repeated.
const REPEAT: Duration = Duration::from_secs(2);
const REPEAT_MAX: Duration = Duration::from_mins(2);

/// Reconciles the node forever.
pub(crate) async fn run<H: NodeOps>(reconciler: &mut Reconciler<H>, triggers: &mut Triggers, heartbeat: Duration) {
    let jitter = Jitter::from_os();
    let mut backoff = Backoff::new(REPEAT, REPEAT_MAX);
    loop {
        let requeue = reconciler.reconcile().await;
        if let Some(unit) = &reconciler.unit {
            triggers.watch_unit(unit);
        }
        let delay = match requeue {
            Requeue::Soon => REPEAT + backoff.next(&jitter),
            Requeue::OnEvent | Requeue::WhenSlotFree => {
                backoff.reset();
                // Between half a heartbeat and one and a half.
                heartbeat / 2 + jitter.duration_up_to(heartbeat)
            }
        };
        wait(reconciler, triggers, requeue, delay, &jitter).await;
    }
}

/// Waits for a reason to reconcile. A change of the node's object in the cluster is not one: the status is only
/// published again.
pub(crate) async fn wait<H: NodeOps>(
    reconciler: &mut Reconciler<H>,
    triggers: &mut Triggers,
    requeue: Requeue,
    delay: Duration,
    jitter: &Jitter,
) {
    let max_concurrent = reconciler.max_concurrent();
    let until = tokio::time::Instant::now() + delay;
    let client = reconciler.client.clone();
    let mut reachable = std::pin::pin!(client.wait_until_reachable());
    loop {
        let object_changed = tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            // Perhaps the API server was the reason.
            () = &mut reachable, if requeue == Requeue::Soon => return,
            () = triggers.next() => return,
            outcome = reconciler.slots.wait(max_concurrent), if requeue == Requeue::WhenSlotFree => match outcome {
                Ok(WaitOutcome::Free) => return,
                Ok(WaitOutcome::Failed(holders)) => {
                    tokio::time::sleep(jitter.duration_up_to(HALTED_SPREAD)).await;
                    reconciler.update_waiting_for(holders).await;
                    continue;
                }
                Err(error) => Err(error),
            },
            changed = reconciler.outbox.wait_for_external_change() => changed,
        };
        match object_changed {
            Ok(()) => {
                reconciler.republish().await;
            }
            // A watch delays its next call itself, so this loop does not spin.
            Err(error) => tracing::warn!(kind = error.kind.name(), "{error}"),
        }
    }
}
