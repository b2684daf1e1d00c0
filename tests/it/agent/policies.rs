//! Policies that are invalid, missing, or changed faster than agents read them.

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

/// Checks that the last valid policy stays in force, and that every node reports the error of the invalid one.
pub(crate) fn invalid_policy_keeps_the_last_valid_one(world: &mut World) -> Result<(), Failed> {
    world.apply("migrate")?;
    world.all("Migrated")?;
    let migrated = world.files()?;

    world.policy("mode: rollback\nwildcards: drop\n")?;
    for (node, said) in world.wait_for_condition("PolicyValid", "False", "Invalid")? {
        assert!(
            said.contains("policy.yaml:4") && said.contains("wildcards"),
            "{node}: {said}"
        );
        assert_eq!(world.metric(&node, "mirrorshift_policy_valid")?, Some(0.0), "{node}");
    }
    world.event("PolicyInvalid", None)?;
    world.all("Migrated")?;

    world.kubectl(&["delete", "configmap", "mirrorshift-policy"])?;
    world.wait_for_condition("PolicyValid", "False", "Missing")?;
    world.all("Migrated")?;
    assert_eq!(world.files()?, migrated, "an invalid policy changed a file");

    world.policy("mode: migrate\n")?;
    world.wait_for_condition("PolicyValid", "True", "Read")?;
    // Whichever of them a node reads, the last one takes effect.
    for mode in ["rollback", "observe", "migrate", "rollback"] {
        world.policy(&format!("mode: {mode}\n"))?;
    }
    world.all("RolledBack")?;
    world.policy("mode: migrate\n")?;
    world.all("Migrated")?;
    assert_eq!(world.files()?, migrated);
    world.workload_is_unbroken()?;
    edited_status_is_repaired(world)
}

/// Checks that an agent repairs a status that an operator edited or removed.
fn edited_status_is_repaired(world: &World) -> Result<(), Failed> {
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
