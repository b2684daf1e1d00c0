//! The loop on a node that is made up, before an API server that answers what a test says.

use crate::change_run::progress::RunResult;
use crate::change_run::request::ChangeRequest;
use crate::cluster::backoff::Jitter;
use crate::cluster::tests::{FOREVER, FakeResponse, Log, Then, asked, cluster, owner, owner_reference, status};
use crate::exit::Exit;
use crate::observe::observation;
use crate::observe::observation::Planned;
use crate::reconcile::reconciler::*;
use crate::reconcile::rest;
use crate::reconcile::triggers::Triggers;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

/// A node that serves, and of which every look tells the same.
struct Same(observation::PlanOutcome);

impl NodeOps for Same {
    async fn look(&self, _goal: ObservationGoal, _rehearse: bool) -> Result<NodeObservation, Refused> {
        Ok(NodeObservation::serving(self.0.clone()))
    }

    async fn change(&self, _order: ChangeRequest) -> Result<RunResult, Refused> {
        panic!("a change of a node where nothing can be done");
    }

    async fn settle(&self) {}
}

/// The keeper of such a node.
fn keeper(
    seen: observation::PlanOutcome,
    answers: impl IntoIterator<Item = FakeResponse>,
) -> (Reconciler<Same>, Log, TempDir) {
    let (cluster, log) = cluster(answers);
    let policy = tempfile::tempdir().unwrap();
    let keeper = Reconciler::new(
        Same(seen),
        PolicyFile::of(policy.path()),
        SlotPool::new(cluster.clone(), "mirrorshift-system", owner()),
        NodeMirrorWriter::new(cluster.clone(), owner()),
        Events::new(cluster, owner()),
        Arc::new(Metrics::new()),
        "/etc/containerd/config.toml",
    );
    (keeper, log, policy)
}

fn object(version: &str) -> Value {
    json!({
        "apiVersion": "mirrorshift.dev/v1alpha1", "kind": "NodeMirror", "spec": {},
        "metadata": {
            "name": "n1", "uid": "m1", "generation": 1, "resourceVersion": version,
            "ownerReferences": [owner_reference()],
        },
    })
}

/// The object is made and told.
fn told() -> [FakeResponse; 3] {
    [
        status(404, "NotFound"),
        FakeResponse::Json(201, object("1")),
        FakeResponse::Json(200, object("2")),
    ]
}

fn no_slots() -> FakeResponse {
    let none = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {}, "items": [] });
    FakeResponse::Json(200, none)
}

/// A call is made three times.
fn away() -> [FakeResponse; 3] {
    [(); 3].map(|()| status(500, "InternalError"))
}

/// While nobody knows whether the node holds a slot, others may wait for it.
#[tokio::test(start_paused = true)]
async fn a_gate_that_did_not_answer_is_asked_again_soon() {
    let nothing = observation::PlanOutcome::Planned(Planned::default());
    let answers = away().into_iter().chain(told()).chain([no_slots()]);
    let (mut keeper, log, _policy) = keeper(nothing, answers);
    assert_eq!(keeper.reconcile().await, Requeue::Soon);
    assert_eq!(asked(&log).len(), 6, "{:?}", asked(&log));
    assert_eq!(keeper.reconcile().await, Requeue::OnEvent);
    assert_eq!(asked(&log).len(), 7, "{:?}", asked(&log));
}

/// What could not be asked is asked when the API server is back, and not only when the turn's own wait is over.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_back_is_a_reason_to_look() {
    let nothing = observation::PlanOutcome::Planned(Planned::default());
    let all = json!({
        "apiVersion": "mirrorshift.dev/v1alpha1", "kind": "NodeMirrorList", "metadata": {"resourceVersion": "2"},
        "items": [object("2")],
    });
    let back = [FakeResponse::Json(200, all), FakeResponse::Watch(vec![], Then::Goes)];
    let answers = told().into_iter().chain(away()).chain(away()).chain(back);
    let (mut keeper, log, _policy) = keeper(nothing, answers);
    // The object is told before the server goes away.
    keeper.slot = SlotHold::Free;
    assert_eq!(keeper.reconcile().await, Requeue::OnEvent);
    keeper.slot = SlotHold::Unknown;
    assert_eq!(keeper.reconcile().await, Requeue::Soon);
    let mut wakes = Triggers::of(&[]);
    let jitter = Jitter::seeded(1);
    let rested = rest(&mut keeper, &mut wakes, Requeue::Soon, 2 * FOREVER, &jitter);
    assert!(timeout(FOREVER, rested).await.is_ok(), "{:?}", asked(&log));
}

/// A refusal is one Event, and an API server that was away does not make it none.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_until_it_is_taken() {
    let refused = observation::PlanOutcome::Refused(Refused {
        exit: Exit::Refused,
        reason: "foreign".to_owned(),
        message: "the file is somebody else's".to_owned(),
        hint: None,
    });
    let event = || {
        let body = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "n1.1", "namespace": "default"},
            "eventTime": null,
        });
        FakeResponse::Json(201, body)
    };
    let answers = [no_slots()].into_iter().chain(away()).chain(told()).chain([event()]);
    let (mut keeper, log, _policy) = keeper(refused, answers);
    let events = || {
        let all = asked(&log);
        all.iter().filter(|asked| asked.contains("/events")).count()
    };
    assert_eq!(keeper.reconcile().await, Requeue::Soon);
    assert_eq!(events(), 3, "{:?}", asked(&log));
    assert_eq!(keeper.reconcile().await, Requeue::Soon);
    assert_eq!(events(), 4, "{:?}", asked(&log));
    assert_eq!(keeper.reconcile().await, Requeue::Soon);
    assert_eq!(asked(&log).len(), 8, "{:?}", asked(&log));
}
