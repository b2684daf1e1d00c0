//! Agents, kubelets and pods that are killed or removed during a change, which continues without them.

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

/// In seconds; long enough that a restart can be observed.
const SLOW: u32 = 3;

pub(crate) fn agents_killed_during_a_change_are_not_missed(world: &mut World) -> Result<(), Failed> {
    world.apply("observe")?;
    world.all("Pending")?;
    let before = world.files()?;
    world.starts_take(SLOW)?;

    // Killed while it holds the slot, in two phases of the change.
    world.policy("mode: migrate\n")?;
    let holder = world.until("no node acquires a slot", |world| {
        Ok(world.slots()?.into_values().next())
    })?;
    world.kill_agent(&holder)?;
    world.all("Migrated")?;
    let migrated = world.files()?;
    for (phase, mode, end) in [
        ("restarting", "rollback", "RolledBack"),
        ("verifying", "migrate", "Migrated"),
    ] {
        world.policy(&format!("mode: {mode}\n"))?;
        let node = world.during(phase)?;
        world.kill_agent(&node)?;
        world.all(end)?;
        assert_eq!(
            &world.files()?,
            if mode == "migrate" { &migrated } else { &before },
            "killed while {phase}"
        );
    }

    // The kubelet is stopped and started; the DaemonSet gets another image.
    world.policy("mode: rollback\n")?;
    let node = world.during("restarting")?;
    world
        .cluster
        .node(&node)?
        .run(&["systemctl", "restart", "kubelet"])?
        .ok()?;
    world.all("RolledBack")?;
    let image = world.next_image()?;
    world.policy("mode: migrate\n")?;
    world.during("restarting")?;
    world.kubectl(&["set", "image", "daemonset/mirrorshift-agent", &format!("agent={image}")])?;
    world.all("Migrated")?;
    world.until("no agent runs the next image", |world| {
        let images = "jsonpath={.items[*].spec.containers[0].image}";
        let images = world.kubectl(&["get", "pods", "-lapp.kubernetes.io/name=mirrorshift", "-o", images])?;
        Ok(images.contains(&image).then_some(()))
    })?;

    // All agents are deleted.
    world.policy("mode: rollback\n")?;
    let node = world.during("restarting")?;
    world.kubectl(&["delete", "daemonset", "mirrorshift-agent", "--wait=false"])?;
    assert_eq!(world.over(&node)?, "settled", "the change went on");
    world.until("an agent is still running", |world| {
        let pods = world.kubectl(&["get", "pods", "-l", "app.kubernetes.io/name=mirrorshift", "-o", "name"])?;
        Ok(pods.is_empty().then_some(()))
    })?;
    assert!(world.slots()?.len() <= 1);
    world.apply("rollback")?;
    world.all("RolledBack")?;
    assert_eq!(world.files()?, before);
    assert!(world.slots()?.is_empty(), "a slot is still held: {:?}", world.slots()?);
    world.workload_is_unbroken()
}
