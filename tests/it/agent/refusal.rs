//! A node that cannot be changed as it is, until what stands in the way is gone.

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

const NODE: &str = "n24";
/// Nothing of it lies where an agent watches.
const SPOIL: &str = "systemd-run --unit=second /usr/bin/containerd --config /dev/null --root /run/second/root \
    --state /run/second/state --address /run/second/second.sock; \
    until [ -S /run/second/second.sock ]; do sleep 0.05; done";

/// It is told why, holds nobody up, and goes on by itself: long before the heartbeat, as nothing else tells the agent.
pub(crate) fn refusal(world: &mut World) -> Result<(), Failed> {
    world.apply("observe")?;
    world.all("Pending")?;
    let node = world.cluster.node(NODE)?;
    let before = world.files()?;
    node.run(&["sh", "-c", SPOIL])?.ok()?;
    world.policy("mode: migrate\n")?;
    world.event("MigrationRefused", Some(NODE))?;
    // The Event comes before the phase.
    world.until("the other one is not migrated, or this one is not refused", |world| {
        let phases = world.phases()?;
        let is = |node: &str, phase: &str| phases.get(node).is_some_and(|there| there == phase);
        Ok((is("n17", "Migrated") && is(NODE, "Refused")).then_some(()))
    })?;
    assert!(world.slots()?.is_empty(), "it keeps a slot");
    assert_eq!(world.files()?[NODE], before[NODE]);

    node.run(&["systemctl", "stop", "second"])?.ok()?;
    world.all("Migrated")?;
    world.workload_is_unbroken()
}
