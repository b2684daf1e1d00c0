//! Policies that are wrong, gone, or swapped for others faster than anybody looks.

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

/// The last good one stays in force, and everybody is told what is wrong with the one that lies there.
pub(crate) fn policies(world: &mut World) -> Result<(), Failed> {
    world.apply("migrate")?;
    world.all("Migrated")?;
    let migrated = world.files()?;

    world.policy("mode: rollback\nwildcards: drop\n")?;
    for (node, said) in world.told("PolicyValid", "False", "Invalid")? {
        assert!(
            said.contains("policy.yaml:4") && said.contains("wildcards"),
            "{node}: {said}"
        );
        assert_eq!(world.metric(&node, "mirrorshift_policy_valid")?, Some(0.0), "{node}");
    }
    world.event("PolicyInvalid", None)?;
    world.all("Migrated")?;

    world.kubectl(&["delete", "configmap", "mirrorshift-policy"])?;
    world.told("PolicyValid", "False", "Missing")?;
    world.all("Migrated")?;
    assert_eq!(world.files()?, migrated, "a policy that cannot be read changed a file");

    world.policy("mode: migrate\n")?;
    world.told("PolicyValid", "True", "Read")?;
    // Whichever of them a node sees, the last one counts.
    for mode in ["rollback", "observe", "migrate", "rollback"] {
        world.policy(&format!("mode: {mode}\n"))?;
    }
    world.all("RolledBack")?;
    world.policy("mode: migrate\n")?;
    world.all("Migrated")?;
    assert_eq!(world.files()?, migrated);
    world.workload_is_unbroken()?;
    what_is_written_by_hand(world)
}

/// A person's edit of what an agent tells is put right, and so is its end.
fn what_is_written_by_hand(world: &World) -> Result<(), Failed> {
    let patch = r#"{"status": {"phase": "Stuck", "message": "by hand"}}"#;
    for node in ["n16", "n24"] {
        world.kubectl(&[
            "patch",
            "nodemirror",
            node,
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        ])?;
    }
    world.all("Migrated")?;
    world.kubectl(&["delete", "nodemirror", "n16"])?;
    world.all("Migrated")?;
    Ok(())
}
