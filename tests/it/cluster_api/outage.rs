//! An API server that fails.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use libtest_mimic::Failed;
use mirrorshift_tests::lab::cluster::Part;
use mirrorshift_tests::lab::{ControlPlanes, Front};
use tokio::time::timeout;

use crate::node_mirror_writer::report;
use crate::world::{Agent, World, status_patch};
use mirrorshift_tests::cluster::client::CallLimits;
use mirrorshift_tests::cluster::error::ApiErrorKind;
use mirrorshift_tests::cluster::node_mirror::NodePhase;
use mirrorshift_tests::cluster::node_mirror_writer::WriteOutcome;
use mirrorshift_tests::cluster::slots::{AcquireOutcome, SlotNote};

/// Longer than the time limit of any call.
const BOUND: Duration = Duration::from_secs(90);

async fn take(agent: &Agent) -> Result<AcquireOutcome, ApiErrorKind> {
    let why = SlotNote {
        phase: "changing".into(),
        reason: "A test is run.".into(),
    };
    let limits = CallLimits {
        attempt: Duration::from_secs(3),
        ..CallLimits::default()
    };
    let mut gate = agent.gate_within(limits);
    let outcome = timeout(BOUND, gate.acquire(1, &why, Timestamp::now()))
        .await
        .expect("an end");
    outcome.map_err(|error| error.kind)
}

pub(crate) fn failing_api_server_is_not_flooded_with_requests(planes: &ControlPlanes) -> Result<(), Failed> {
    let mut world = World::new(planes)?;
    let agent = world.agent("n1")?;
    for (front, kind) in [
        (Front::Answers(429), ApiErrorKind::Busy(None)),
        (Front::Answers(500), ApiErrorKind::Failed),
        (Front::Refuses, ApiErrorKind::Unreachable),
        (Front::Hangs, ApiErrorKind::Silent),
    ] {
        world.plane.front(front)?;
        let begun = Instant::now();
        let refused = world.run(async || take(&agent).await)?;
        let said = refused.expect_err("an error refuses the slot");
        // The rest of the message, such as the delay before a retry, is the proxy's.
        assert_eq!(
            std::mem::discriminant(&said),
            std::mem::discriminant(&kind),
            "{front:?}: {said:?}"
        );
        assert!(begun.elapsed() < BOUND);
        let answered = world.plane.front(Front::Open)?;
        assert!(answered <= 3, "{front:?}: asked {answered} times");
    }
    assert!(world.absent(&["lease", "-n", "mirrorshift-system", "slot-0"])?);

    // A slow answer is still an answer.
    world.plane.front(Front::Slow(300))?;
    let slow = world.run(async || take(&agent).await)?;
    assert!(matches!(slow, Ok(AcquireOutcome::New(_))), "{slow:?}");
    world.plane.front(Front::Open)?;

    // A token expires, and another one replaces it.
    let good = std::fs::read_to_string(&agent.access.token)?;
    std::fs::write(&agent.access.token, format!("{}x", good.trim()))?;
    let refused = world.run(async || take(&agent).await)?;
    assert_eq!(refused.map(drop), Err(ApiErrorKind::Unauthorized));
    std::fs::write(&agent.access.token, good)?;
    let held = world.run(async || take(&agent).await)?;
    assert!(matches!(held, Ok(AcquireOutcome::Held(_))), "{held:?}");

    // The API server stops during a watch and is started again: edits in the meantime are seen.
    let now = Timestamp::UNIX_EPOCH;
    let said = report(NodePhase::Migrated, "Done.");
    let mut mirror = world.run(async || agent.mirror())?;
    world.run(async || {
        assert_eq!(mirror.apply(&said, now).await.expect("said"), WriteOutcome::Made);
        assert!(
            timeout(Duration::from_secs(2), mirror.wait_for_external_change())
                .await
                .is_err()
        );
    })?;
    world.plane.stop(Part::ApiServer);
    let away = world.run(async || timeout(BOUND, mirror.wait_for_external_change()).await)?;
    let away = away.map(|seen| seen.map_err(|error| error.kind));
    assert!(matches!(away, Ok(Err(kind)) if kind.is_outage()), "{away:?}");
    // An unchanged report is not written again.
    let written = world.run(async || mirror.apply(&said, now).await)??;
    assert_eq!(written, WriteOutcome::Nothing);
    world.plane.start(Part::ApiServer)?;
    let edited = status_patch("message", "All is well.");
    let patch = [
        "patch",
        "nodemirror",
        "n1",
        "--subresource=status",
        "--type=merge",
        "-p",
        &edited,
    ];
    world.plane.kubectl(&patch)?.ok()?;
    world.run(async || {
        timeout(BOUND, mirror.wait_for_external_change())
            .await
            .expect("disturbed")
            .expect("a watch");
        assert_eq!(mirror.apply(&said, now).await.expect("said"), WriteOutcome::Patched);
    })?;
    Ok(())
}
