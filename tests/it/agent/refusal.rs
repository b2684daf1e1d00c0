//! A node that refuses the change until the obstacle is removed.

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

const NODE: &str = "n24";
/// No file of it is in a folder that an agent watches.
const SPOIL: &str = "systemd-run --unit=second /usr/bin/containerd --config /dev/null --root /run/second/root \
    --state /run/second/state --address /run/second/second.sock; \
    until [ -S /run/second/second.sock ]; do sleep 0.05; done";

/// Checks that the reason is reported, that the node holds no slot, and that it continues without a trigger, long
/// before the heartbeat.
pub(crate) fn refused_node_continues_once_the_obstacle_is_gone(world: &mut World) -> Result<(), Failed> {
    world.apply("observe")?;
    world.all("Pending")?;
    let node = world.cluster.node(NODE)?;
    let before = world.files()?;
    node.run(&["sh", "-c", SPOIL])?.ok()?;
    world.policy("mode: migrate\n")?;
    world.event("MigrationRefused", Some(NODE))?;
    // The Event is created before the phase is set.
    world.until("the other node is not migrated, or this node is not refused", |world| {
        let phases = world.phases()?;
        let is = |node: &str, phase: &str| phases.get(node).is_some_and(|there| there == phase);
        Ok((is("n17", "Migrated") && is(NODE, "Refused")).then_some(()))
    })?;
    assert!(world.slots()?.is_empty(), "the refused node holds a slot");
    assert_eq!(world.files()?[NODE], before[NODE]);

    node.run(&["systemctl", "stop", "second"])?.ok()?;
    world.all("Migrated")?;
    world.workload_is_unbroken()
}
