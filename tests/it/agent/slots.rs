//! Slots that other clients create or delete, and Nodes that are created again.

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

/// In seconds; long enough that a restart can be observed.
const SLOW: u32 = 3;

pub(crate) fn slots_changed_by_other_clients_are_respected(world: &mut World) -> Result<(), Failed> {
    // The garbage collector deletes the slot of a Node that no longer exists.
    world.apply("observe")?;
    world.all("Pending")?;
    world.cluster.plane.apply_text(&lease())?;
    world.policy("mode: migrate\n")?;
    world.all("Migrated")?;
    assert!(world.slots()?.is_empty());

    // A slot is deleted during its change: the change continues, and the slot that another client creates in its
    // place is not deleted.
    world.starts_take(SLOW)?;
    world.policy("mode: rollback\n")?;
    let node = world.during("restarting")?;
    world.kubectl(&["delete", "lease", "slot-0"])?;
    assert_eq!(world.over(&node)?, "settled");
    world.all("RolledBack")?;
    world.policy("mode: migrate\n")?;
    world.all("Migrated")?;
    world.starts_take(0)?;

    // A Node that is created again gets a new object.
    let uid = |world: &World| world.kubectl(&["get", "nodemirror", "n24", "-o", "jsonpath={.metadata.uid}"]);
    let old = uid(world)?;
    world.kubectl(&["delete", "node", "n24"])?;
    world
        .cluster
        .node("n24")?
        .run(&["systemctl", "restart", "kubelet"])?
        .ok()?;
    world.cluster.ready()?;
    world.until("the agent did not create a new object", |world| {
        let ran = world
            .cluster
            .plane
            .kubectl(&["get", "nodemirror", "n24", "-o", "jsonpath={.metadata.uid}"])?;
        Ok((ran.code == 0 && ran.stdout != old).then_some(()))
    })?;
    world.all("Migrated")?;
    Ok(())
}

/// Returns a slot that is held by a Node that does not exist.
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
