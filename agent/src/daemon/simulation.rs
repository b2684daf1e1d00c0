//! Agents whose nodes are made up: everything but the node is what runs in a cluster.

use super::host::Host;
use super::keeper::Keeper;
use super::metrics::Metrics;
use super::policy::Policies;
use super::turns;
use super::wake::Wakes;
use crate::cluster::client::Cluster;
use crate::cluster::events::Events;
use crate::cluster::gate::Gate;
use crate::cluster::mirror::Mirror;
use crate::cluster::owner::Owner;
use crate::exit::Exit;
use crate::live::look::Goal;
use crate::live::order::{Order, Task};
use crate::live::progress::End;
use crate::live::seen::{Answer, Mirrors, Past, Planned, Refused, Seen};
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

impl Host for MadeUp {
    async fn look(&self, goal: Goal, rehearse: bool) -> Result<Seen, Refused> {
        let changed = self.changed();
        let past = changed.map(|id| Past {
            id,
            phase: Phase::Settled,
            ended: Some(0),
            note: None,
        });
        let migrates = matches!(goal, Goal::Migrate(_));
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
        Ok(Seen {
            containerd: Some("2.4.2".to_owned()),
            invocation: Some("made up".to_owned()),
            mirrors: Some(if past.is_some() {
                Mirrors::ConfigPath
            } else {
                Mirrors::Legacy
            }),
            in_force: past.clone(),
            last: past,
            ..Seen::serving(Answer::Do(planned))
        })
    }

    async fn change(&self, order: Order) -> Result<End, Refused> {
        tokio::time::sleep(self.takes).await;
        let migrates = matches!(order.task, Task::Migrate { .. });
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = migrates.then_some(order.id);
        Ok(End {
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
    cluster: &Cluster,
    namespace: &str,
    owner: &Owner,
    policy: &Path,
    heartbeat: Duration,
    takes: Duration,
) -> (Sender<()>, impl Future<Output = ()> + use<>) {
    let host = MadeUp {
        takes,
        changed: Mutex::default(),
    };
    let mut keeper = Keeper::new(
        host,
        Policies::of(policy),
        Gate::new(cluster.clone(), namespace, owner.clone()),
        Mirror::new(cluster.clone(), owner.clone()),
        Events::new(cluster.clone(), owner.clone()),
        Arc::new(Metrics::new()),
        "/etc/containerd/config.toml",
    );
    let (tell, mut wakes) = Wakes::told();
    (tell, async move { turns(&mut keeper, &mut wakes, heartbeat).await })
}
