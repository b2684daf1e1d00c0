//! Files that another program changes after the migration.

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

const NODE: &str = "n24";
const THEIRS: &str = "server = \"https://theirs.invalid\"\n";

/// Checks that a hosts.toml is repaired once without a restart, that a second modification is reported and left alone
/// for an hour, and that a containerd that was restarted is observed again.
pub(crate) fn drifted_file_is_repaired_once(world: &mut World) -> Result<(), Failed> {
    world.apply("migrate")?;
    world.all("Migrated")?;
    let migrated = world.files()?;
    let invocation = world.invocation(NODE)?;
    let node = world.cluster.node(NODE)?;
    let script = "find /etc/containerd -name hosts.toml | sort | head -n 1";
    let hosts = node.run(&["sh", "-c", script])?.ok()?.stdout;
    let hosts = hosts.trim();

    // The first observation after the change keeps copies of the files. Without them nothing can be repaired.
    let kept = format!("for copy in /var/lib/mirrorshift/copies/*; do cmp -s $copy {hosts} && echo kept; done");
    world.until("the agent keeps no copy", |_| {
        let copies = node.run(&["sh", "-c", &kept])?;
        Ok((copies.stdout == "kept\n").then_some(()))
    })?;
    let ours = node.read(hosts)?;
    node.write(hosts, THEIRS)?;
    world.event("DriftRepaired", Some(NODE))?;
    assert_eq!(world.files()?, migrated, "hosts.toml was not repaired");
    assert_eq!(world.invocation(NODE)?, invocation, "containerd was restarted");
    world.all("Migrated")?;
    assert_eq!(world.metric(NODE, "mirrorshift_drift_repairs_total")?, Some(1.0));

    node.write(hosts, THEIRS)?;
    let said = world.until("the repeated modification is not reported", |world| {
        world.condition(NODE, "Degraded", "True", "ConflictingWriter")
    })?;
    assert!(said.contains(hosts) && said.contains("uid 0"), "{said}");
    world.event("ConflictingWriter", Some(NODE))?;
    assert_eq!(
        node.read(hosts)?,
        THEIRS.as_bytes(),
        "hosts.toml was repaired again within an hour"
    );
    assert_eq!(world.metric(NODE, "mirrorshift_conflicting_writer")?, Some(1.0));

    // The other program stops.
    node.write(hosts, &ours)?;
    world.until("the drift is still reported", |world| {
        world.condition(NODE, "Degraded", "False", "Healthy")
    })?;

    let looked = world.metric(NODE, "mirrorshift_last_observation_timestamp_seconds")?;
    node.run(&["systemctl", "restart", "containerd"])?.ok()?;
    world.until("the restarted containerd was not observed", |world| {
        let now = world.metric(NODE, "mirrorshift_last_observation_timestamp_seconds");
        Ok(now.is_ok_and(|now| now > looked).then_some(()))
    })?;

    // A repair of config.toml needs a restart, so the drift is reported, and a change by the policy needs a slot.
    let config = String::from_utf8(node.read("/etc/containerd/config.toml")?)?;
    node.write("/etc/containerd/config.toml", format!("# A person was here.\n{config}"))?;
    let said = world.until("the drift of config.toml is not reported", |world| {
        world.condition(NODE, "Migrated", "False", "Drifted")
    })?;
    assert!(said.contains("/etc/containerd/config.toml"), "{said}");
    Ok(())
}
