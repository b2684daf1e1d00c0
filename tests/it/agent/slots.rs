//! Leases that others take or take away, and Nodes that are made again.

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

/// Seconds; so long that a restart can be seen.
const SLOW: u32 = 3;

pub(crate) fn of_others(world: &mut World) -> Result<(), Failed> {
    // Of a Node that is no more the garbage collector takes the slot back.
    world.apply("observe")?;
    world.all("Pending")?;
    world.cluster.plane.apply_text(&lease())?;
    world.policy("mode: migrate\n")?;
    world.all("Migrated")?;
    assert!(world.slots()?.is_empty());

    // Taken away under a change: it goes on, and nobody's slot is given back in its place.
    world.starts_take(SLOW)?;
    world.policy("mode: rollback\n")?;
    let node = world.during("restarting")?;
    world.kubectl(&["delete", "lease", "slot-0"])?;
    assert_eq!(world.over(&node)?, "settled");
    world.all("RolledBack")?;
    world.policy("mode: migrate\n")?;
    world.all("Migrated")?;
    world.starts_take(0)?;

    // Made again, a Node has an object of its own.
    let uid = |world: &World| world.kubectl(&["get", "nodemirror", "n24", "-o", "jsonpath={.metadata.uid}"]);
    let old = uid(world)?;
    world.kubectl(&["delete", "node", "n24"])?;
    world
        .cluster
        .node("n24")?
        .run(&["systemctl", "restart", "kubelet"])?
        .ok()?;
    world.cluster.ready()?;
    world.until("there is no new object", |world| {
        let ran = world
            .cluster
            .plane
            .kubectl(&["get", "nodemirror", "n24", "-o", "jsonpath={.metadata.uid}"])?;
        Ok((ran.code == 0 && ran.stdout != old).then_some(()))
    })?;
    world.all("Migrated")?;
    Ok(())
}

/// A slot in the name of a Node that is not there.
fn lease() -> String {
    let node = "00000000-0000-4000-8000-000000000000";
    serde_json::json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "slot-0", "namespace": "mirrorshift-system",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "vanished", "uid": node}],
        },
        "spec": {"holderIdentity": "vanished"},
    })
    .to_string()
}
