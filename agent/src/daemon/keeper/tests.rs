//! The loop on a node that is made up, before an API server that answers what a test says.

use super::*;
use crate::cluster_tests::{Answer, asked, cluster, owner, owner_reference, status};
use crate::live::order::Order;
use crate::live::progress::End;
use crate::live::seen::{self, Planned};
use serde_json::json;

/// A node that serves, and where nothing is to be done.
struct Well;

impl Host for Well {
    async fn look(&self, _goal: Goal, _rehearse: bool) -> Result<Seen, Refused> {
        Ok(Seen::serving(seen::Answer::Do(Planned::default())))
    }

    async fn change(&self, _order: Order) -> Result<End, Refused> {
        panic!("a change of a node where nothing is to be done");
    }

    async fn settle(&self) {}
}

/// While nobody knows whether the node holds a slot, others may wait for it.
#[tokio::test(start_paused = true)]
async fn a_gate_that_did_not_answer_is_asked_again_soon() {
    let object = |version: &str| {
        json!({
            "apiVersion": "mirrorshift.dev/v1alpha1", "kind": "NodeMirror", "spec": {},
            "metadata": {
                "name": "n1", "uid": "m1", "generation": 1, "resourceVersion": version,
                "ownerReferences": [owner_reference()],
            },
        })
    };
    let none = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {}, "items": [] });
    let away = || status(500, "InternalError");
    let (cluster, log) = cluster([
        // The slots, three times.
        away(),
        away(),
        away(),
        // The object is made and told.
        status(404, "NotFound"),
        Answer::Json(201, object("1")),
        Answer::Json(200, object("2")),
        // The slots.
        Answer::Json(200, none),
    ]);
    let policy = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::new(
        Well,
        Policies::of(policy.path()),
        Gate::new(cluster.clone(), "mirrorshift-system", owner()),
        Mirror::new(cluster.clone(), owner()),
        Events::new(cluster, owner()),
        Arc::new(Metrics::new()),
        "/etc/containerd/config.toml",
    );
    assert_eq!(keeper.turn().await, Next::Soon);
    assert_eq!(asked(&log).len(), 6, "{:?}", asked(&log));
    assert_eq!(keeper.turn().await, Next::Rest);
    assert_eq!(asked(&log).len(), 7, "{:?}", asked(&log));
}
