//! The reconciler with a node from the test, and an API server that sends the responses of the test.

use crate::change_run::progress::RunResult;
use crate::change_run::request::ChangeRequest;
use crate::cluster::backoff::Jitter;
use crate::cluster::tests::{
    FakeResponse, LIMIT, RequestLog, WatchEnd, api_client, identity, owner_reference, requests, status,
};
use crate::exit::Exit;
use crate::reconcile::agent_loop;
use crate::reconcile::reconciler::*;
use crate::reconcile::triggers::Triggers;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

/// A node that serves, and whose observations are all the same.
struct ConstantNode(PlanOutcome);

impl NodeOps for ConstantNode {
    async fn observe(&self, _goal: ObservationGoal, _rehearse: bool) -> Result<NodeObservation, FailureSummary> {
        Ok(NodeObservation::serving(self.0.clone()))
    }

    async fn change(&self, _request: ChangeRequest) -> Result<RunResult, FailureSummary> {
        panic!("the node must not be changed");
    }

    async fn wait_for_change(&self) {}
}

fn reconciler(
    plan: PlanOutcome,
    responses: impl IntoIterator<Item = FakeResponse>,
) -> (Reconciler<ConstantNode>, RequestLog, TempDir) {
    let (client, log) = api_client(responses);
    let policy = tempfile::tempdir().unwrap();
    let reconciler = Reconciler::new(
        ConstantNode(plan),
        PolicyFile::of(policy.path()),
        client,
        "mirrorshift-system",
        &identity(),
        Arc::new(Metrics::new()),
        "/etc/containerd/config.toml",
    );
    (reconciler, log, policy)
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

/// The responses to the creation of the object and of its status.
fn object_created() -> [FakeResponse; 3] {
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

/// The responses to the three attempts of a call that fails.
fn call_failed() -> [FakeResponse; 3] {
    [(); 3].map(|()| status(500, "InternalError"))
}

/// Other nodes may wait for a slot that this node holds without knowing it.
#[tokio::test(start_paused = true)]
async fn unknown_slot_is_queried_again_soon() {
    let empty = PlanOutcome::Planned(PlannedChange::default());
    let responses = call_failed().into_iter().chain(object_created()).chain([no_slots()]);
    let (mut reconciler, log, _policy) = reconciler(empty, responses);
    assert_eq!(reconciler.reconcile().await, Requeue::Soon);
    assert_eq!(requests(&log).len(), 6, "{:?}", requests(&log));
    assert_eq!(reconciler.reconcile().await, Requeue::OnEvent);
    assert_eq!(requests(&log).len(), 7, "{:?}", requests(&log));
}

#[tokio::test(start_paused = true)]
async fn wait_after_an_outage_ends_when_the_api_server_answers_again() {
    let empty = PlanOutcome::Planned(PlannedChange::default());
    let all = json!({
        "apiVersion": "mirrorshift.dev/v1alpha1", "kind": "NodeMirrorList", "metadata": {"resourceVersion": "2"},
        "items": [object("2")],
    });
    let reachable = [
        FakeResponse::Json(200, all),
        FakeResponse::Watch(vec![], WatchEnd::Open),
    ];
    let responses = object_created().into_iter().chain(call_failed()).chain(call_failed());
    let (mut reconciler, log, _policy) = reconciler(empty, responses.chain(reachable));
    // The object is written before the API server fails.
    reconciler.slot = SlotHold::NotHeld;
    assert_eq!(reconciler.reconcile().await, Requeue::OnEvent);
    reconciler.slot = SlotHold::Unknown;
    assert_eq!(reconciler.reconcile().await, Requeue::Soon);
    let mut triggers = Triggers::of(&[]);
    let jitter = Jitter::seeded(1);
    let waited = agent_loop::wait(&mut reconciler, &mut triggers, Requeue::Soon, 2 * LIMIT, &jitter);
    assert!(timeout(LIMIT, waited).await.is_ok(), "{:?}", requests(&log));
}

#[tokio::test(start_paused = true)]
async fn refusal_event_is_retried_until_accepted_and_then_not_repeated() {
    let refused = PlanOutcome::Refused(FailureSummary {
        exit: Exit::Refused,
        reason: "foreign".to_owned(),
        message: "the file belongs to another program".to_owned(),
        hint: None,
    });
    let event = || {
        let body = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "n1.1", "namespace": "default"},
            "eventTime": null,
        });
        FakeResponse::Json(201, body)
    };
    let responses = [no_slots()].into_iter().chain(call_failed()).chain(object_created());
    let (mut reconciler, log, _policy) = reconciler(refused, responses.chain([event()]));
    let events = || {
        let all = requests(&log);
        all.iter().filter(|request| request.contains("/events")).count()
    };
    assert_eq!(reconciler.reconcile().await, Requeue::Soon);
    assert_eq!(events(), 3, "{:?}", requests(&log));
    assert_eq!(reconciler.reconcile().await, Requeue::Soon);
    assert_eq!(events(), 4, "{:?}", requests(&log));
    assert_eq!(reconciler.reconcile().await, Requeue::Soon);
    assert_eq!(requests(&log).len(), 8, "{:?}", requests(&log));
}

/// An agent that starts while its node holds a slot after a failed change knows of the failure only from the journal.
#[tokio::test(start_paused = true)]
async fn attempt_fails_with_the_note_of_the_last_change_and_is_cleared_with_the_slot() {
    let empty = PlanOutcome::Planned(PlannedChange::default());
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {},
        "items": [{
            "metadata": {"name": "slot-0", "uid": "l1", "ownerReferences": [owner_reference()]},
            "spec": {"holderIdentity": "n1"},
        }],
    });
    let (mut reconciler, _log, _policy) = reconciler(empty.clone(), [FakeResponse::Json(200, lease), no_slots()]);
    let mut observation = NodeObservation::serving(empty);
    observation.last = Some(ChangeSummary {
        id: "c1".to_owned(),
        phase: Phase::Undone,
        ended: None,
        note: Some("CRI did not load".to_owned()),
    });
    reconciler.refresh_slot().await;
    reconciler.refresh_attempt(&observation);
    let reason = "CRI did not load".to_owned();
    assert_eq!(reconciler.attempt, Attempt::Failed { reason });
    reconciler.refresh_slot().await;
    reconciler.refresh_attempt(&observation);
    assert_eq!(reconciler.attempt, Attempt::None);
}
