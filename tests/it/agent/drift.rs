//! Files that somebody else writes after the migration.

use libtest_mimic::Failed;

use mirrorshift_tests::agents::World;

const NODE: &str = "n24";
const THEIRS: &str = "server = \"https://theirs.invalid\"\n";

/// A hosts.toml is put back once, without a restart; who writes again is told of and left to it. A containerd that somebody
/// restarts is looked at.
pub(crate) fn drift(world: &mut World) -> Result<(), Failed> {
    world.apply("migrate")?;
    world.all("Migrated")?;
    let migrated = world.files()?;
    let invocation = world.invocation(NODE)?;
    let node = world.cluster.node(NODE)?;
    let script = "find /etc/containerd -name hosts.toml | sort | head -n 1";
    let hosts = node.run(&["sh", "-c", script])?.ok()?.stdout;
    let hosts = hosts.trim();

    // A look that was made since keeps copies, one after the other; without one there is nothing to put back.
    let kept = format!("for copy in /var/lib/mirrorshift/copies/*; do cmp -s $copy {hosts} && echo kept; done");
    world.until("no copy is kept", |_| {
        let copies = node.run(&["sh", "-c", &kept])?;
        Ok((copies.stdout == "kept\n").then_some(()))
    })?;
    let ours = node.read(hosts)?;
    node.write(hosts, THEIRS)?;
    world.event("DriftRepaired", Some(NODE))?;
    assert_eq!(world.files()?, migrated, "it was not put back");
    assert_eq!(world.invocation(NODE)?, invocation, "containerd was restarted");
    world.all("Migrated")?;
    assert_eq!(world.metric(NODE, "mirrorshift_drift_repairs_total")?, Some(1.0));

    node.write(hosts, THEIRS)?;
    let said = world.until("nobody says that there is a fight", |world| {
        world.condition(NODE, "Degraded", "True", "Fight")
    })?;
    assert!(said.contains(hosts) && said.contains("user 0"), "{said}");
    world.event("DriftFight", Some(NODE))?;
    assert_eq!(node.read(hosts)?, THEIRS.as_bytes(), "it is theirs for an hour");
    assert_eq!(world.metric(NODE, "mirrorshift_fight")?, Some(1.0));

    // They give in.
    node.write(hosts, &ours)?;
    world.until("the fight goes on", |world| {
        world.condition(NODE, "Degraded", "False", "Well")
    })?;

    let looked = world.metric(NODE, "mirrorshift_last_look_timestamp_seconds")?;
    node.run(&["systemctl", "restart", "containerd"])?.ok()?;
    world.until("nobody looked at the containerd that was restarted", |world| {
        let now = world.metric(NODE, "mirrorshift_last_look_timestamp_seconds");
        Ok(now.is_ok_and(|now| now > looked).then_some(()))
    })?;

    // config.toml takes a restart, so it is told, and what the policy wants of it goes through the gate.
    let config = String::from_utf8(node.read("/etc/containerd/config.toml")?)?;
    node.write("/etc/containerd/config.toml", format!("# A person was here.\n{config}"))?;
    let said = world.until("nobody says that config.toml was edited", |world| {
        world.condition(NODE, "Migrated", "False", "Drifted")
    })?;
    assert!(said.contains("/etc/containerd/config.toml"), "{said}");
    Ok(())
}
