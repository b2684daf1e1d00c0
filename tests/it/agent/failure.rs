//! A change that fails on its node, and the fleet that halts until an operator deletes the slot.

use std::thread::sleep;
use std::time::Duration;

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

/// A containerd that does not start with the new files on the node but does in the rehearsal.
const REFUSES: &str =
    "RestartSec=200ms\nExecStartPre=/bin/sh -c '! grep -rq config_path /etc/containerd --include=*.toml'";

pub(crate) fn failed_change_halts_the_fleet(world: &mut World) -> Result<(), Failed> {
    let before = world.files()?;
    world.spoil(REFUSES)?;
    let mark = world.cluster.plane.audit().mark()?;
    world.apply("migrate")?;
    let failed = world.until("no change failed", |world| {
        let phases = world.phases()?;
        let failed = phases.iter().find(|(_, phase)| *phase == "Undone");
        Ok(failed.map(|(node, _)| node.clone()))
    })?;
    world.event("MigrationUndone", Some(&failed))?;
    let others = |world: &World, reason: &str| -> Result<(), Failed> {
        world.until(&format!("the others do not have {reason}"), |world| {
            for (member, _) in world.cluster.members().filter(|(member, _)| member.name != failed) {
                let Some(said) = world.condition(&member.name, "Progressing", "True", reason)? else {
                    return Ok(None);
                };
                assert!(said.contains(&failed) && said.contains("delete lease slot-0"), "{said}");
            }
            Ok(Some(()))
        })
    };
    others(world, "FleetHalted")?;
    // They stay halted.
    sleep(Duration::from_secs(20));
    others(world, "FleetHalted")?;
    println!("{}", world.progress()?);
    println!("{}", world.kubectl(&["get", "leases", "-o", "yaml"])?);
    assert_eq!(world.files()?, before, "a change that was undone");
    for (_, node) in world.cluster.members() {
        node.wait_cri(Duration::from_secs(30))?;
    }
    world.workload_is_unbroken()?;
    assert_eq!(world.slots()?.get("slot-0"), Some(&failed));
    assert_eq!(world.held_at_once(mark)?, (1, 1), "a slot was acquired again");

    // The cause is removed, and an operator runs the command that the slot contains.
    world.spoil("")?;
    let free = "jsonpath={.metadata.annotations.mirrorshift\\.dev/free}";
    let free = world.kubectl(&["get", "lease", "slot-0", "-o", free])?;
    let words: Vec<&str> = free.split_whitespace().collect();
    assert_eq!(words.first(), Some(&"kubectl"), "{free}");
    world.cluster.plane.kubectl(&words[1..])?.ok()?;
    world.until("the other nodes do not continue", |world| {
        let phases = world.phases()?;
        let mut others = phases.iter().filter(|(node, _)| **node != failed);
        Ok(others.all(|(_, phase)| phase == "Migrated").then_some(()))
    })?;
    assert_eq!(
        world.phases()?.get(&failed).map(String::as_str),
        Some("Undone"),
        "the failed node tried again"
    );
    println!("{}", world.progress()?);
    world.workload_is_unbroken()
}
