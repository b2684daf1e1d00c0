//! Agents whose nodes are made up: everything but the node is what runs in a cluster.

use crate::change_run::progress::RunResult;
use crate::change_run::request::{ChangeKind, ChangeRequest};
use crate::cluster::client::ApiClient;
use crate::cluster::events::Events;
use crate::cluster::node_identity::NodeIdentity;
use crate::cluster::node_mirror_writer::NodeMirrorWriter;
use crate::cluster::slots::SlotPool;
use crate::exit::Exit;
use crate::observe::observation::{ChangeSummary, MirrorSource, NodeObservation, PlanOutcome, Planned, Refused};
use crate::observe::observe_unit::ObservationGoal;
use crate::reconcile::metrics::Metrics;
use crate::reconcile::node_ops::NodeOps;
use crate::reconcile::policy_file::PolicyFile;
use crate::reconcile::reconciler::Reconciler;
use crate::reconcile::triggers::Triggers;
use crate::reconcile::turns;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::Phase;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// A node that has one change to make, which takes a while and always goes well.
struct MadeUp {
    takes: Duration,
    /// The change that is in force.
    changed: Mutex<Option<String>>,
}

impl MadeUp {
    fn changed(&self) -> Option<String> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl NodeOps for MadeUp {
    async fn look(&self, goal: ObservationGoal, rehearse: bool) -> Result<NodeObservation, Refused> {
        let changed = self.changed();
        let past = changed.map(|id| ChangeSummary {
            id,
            phase: Phase::Settled,
            ended: Some(0),
            note: None,
        });
        let migrates = matches!(goal, ObservationGoal::Migrate(_));
        let planned = if migrates == past.is_some() {
            Planned::default()
        } else {
            Planned {
                digest: Some(Digest::of(b"made up")),
                restart: true,
                files: vec!["/etc/containerd/config.toml".to_owned()],
                rehearsed: rehearse.then(|| "made up".to_owned()),
                ..Planned::default()
            }
        };
        Ok(NodeObservation {
            containerd: Some("2.4.2".to_owned()),
            invocation: Some("made up".to_owned()),
            mirrors: Some(if past.is_some() {
                MirrorSource::ConfigPath
            } else {
                MirrorSource::Legacy
            }),
            in_force: past.clone(),
            last: past,
            ..NodeObservation::serving(PlanOutcome::Planned(planned))
        })
    }

    async fn change(&self, order: ChangeRequest) -> Result<RunResult, Refused> {
        tokio::time::sleep(self.takes).await;
        let migrates = matches!(order.task, ChangeKind::Migrate { .. });
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = migrates.then_some(order.id);
        Ok(RunResult {
            exit: Exit::Done,
            out: String::new(),
            err: String::new(),
            json: String::new(),
        })
    }

    async fn settle(&self) {}
}

/// An agent of a node that is made up. What it sends wakes it: a policy has changed, say.
///
/// `policy` is the policy's folder, `takes` is how long a change of the node takes.
pub fn agent(
    cluster: &ApiClient,
    namespace: &str,
    owner: &NodeIdentity,
    policy: &Path,
    heartbeat: Duration,
    takes: Duration,
) -> (Sender<()>, impl Future<Output = ()> + use<>) {
    let host = MadeUp {
        takes,
        changed: Mutex::default(),
    };
    let mut keeper = Reconciler::new(
        host,
        PolicyFile::of(policy),
        SlotPool::new(cluster.clone(), namespace, owner.clone()),
        NodeMirrorWriter::new(cluster.clone(), owner.clone()),
        Events::new(cluster.clone(), owner.clone()),
        Arc::new(Metrics::new()),
        "/etc/containerd/config.toml",
    );
    let (tell, mut wakes) = Triggers::manual();
    (tell, async move { turns(&mut keeper, &mut wakes, heartbeat).await })
}
