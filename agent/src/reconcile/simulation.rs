//! Agents of simulated nodes. Everything except the node is the code that runs in a cluster.

use crate::change_run::failure_summary::FailureSummary;
use crate::change_run::progress::{RunOutput, RunResult};
use crate::change_run::request::{ChangeKind, ChangeRequest};
use crate::cluster::client::ApiClient;
use crate::cluster::node_identity::NodeIdentity;
use crate::exit::Exit;
use crate::observe::observation::{ChangeSummary, MirrorSource, NodeObservation, PlanOutcome, PlannedChange};
use crate::observe::observe_unit::ObservationGoal;
use crate::reconcile::agent_loop;
use crate::reconcile::metrics::Metrics;
use crate::reconcile::node_ops::NodeOps;
use crate::reconcile::policy_file::PolicyFile;
use crate::reconcile::reconciler::Reconciler;
use crate::reconcile::triggers::Triggers;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::Phase;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// A node with one change to make, which takes a while and always succeeds.
struct SimulatedNode {
    change_takes: Duration,
    /// The identifier of the change that was made.
    change: Mutex<Option<String>>,
}

impl NodeOps for SimulatedNode {
    async fn observe(&self, goal: ObservationGoal, rehearse: bool) -> Result<NodeObservation, FailureSummary> {
        let change = self.change.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = change.map(|id| ChangeSummary {
            id,
            phase: Phase::Settled,
            ended: Some(0),
            note: None,
        });
        let migrates = matches!(goal, ObservationGoal::Migrate(_));
        let planned = if migrates == last.is_some() {
            PlannedChange::default()
        } else {
            PlannedChange {
                digest: Some(Digest::of(b"simulated")),
                restart: true,
                files: vec!["/etc/containerd/config.toml".to_owned()],
                rehearsed: rehearse.then(|| "simulated".to_owned()),
                ..PlannedChange::default()
            }
        };
        Ok(NodeObservation {
            containerd: Some("2.4.2".to_owned()),
            last_start: None,
            invocation: Some("simulated".to_owned()),
            mirrors: Some(if last.is_some() {
                MirrorSource::ConfigPath
            } else {
                MirrorSource::Legacy
            }),
            in_force: last.clone(),
            last,
            ..NodeObservation::serving(PlanOutcome::Planned(planned))
        })
    }

    async fn change(&self, request: ChangeRequest) -> Result<RunResult, FailureSummary> {
        tokio::time::sleep(self.change_takes).await;
        let migrates = matches!(request.task, ChangeKind::Migrate { .. });
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = migrates.then_some(request.id);
        Ok(RunResult {
            exit: Exit::Done,
            failure: None,
            output: RunOutput::default(),
        })
    }

    async fn wait_for_change(&self) {}
}

/// Returns the loop of an agent with a simulated node, and a sender that triggers a cycle, for example after the policy
/// has changed.
///
/// `policy` is the folder of the policy, and `change_takes` the duration of a change.
pub fn agent(
    client: &ApiClient,
    namespace: &str,
    identity: &NodeIdentity,
    policy: &Path,
    heartbeat: Duration,
    change_takes: Duration,
) -> (Sender<()>, impl Future<Output = ()> + use<>) {
    let node = SimulatedNode {
        change_takes,
        change: Mutex::default(),
    };
    let mut reconciler = Reconciler::new(
        node,
        PolicyFile::of(policy),
        client.clone(),
        namespace,
        identity,
        Arc::new(Metrics::new()),
        "/etc/containerd/config.toml",
    );
    let (sender, mut triggers) = Triggers::manual();
    let agent = async move { agent_loop::run(&mut reconciler, &mut triggers, heartbeat).await };
    (sender, agent)
}
