//! An API server that goes away before the gate, while a slot is held and while a change is verified, and one that does not do
//! well.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use mirrorshift_tests::lab::Front;
use mirrorshift_tests::lab::cluster::Part;

use mirrorshift_tests::agents::World;

/// Seconds; so long that a restart can be seen.
const SLOW: u32 = 3;
/// One on each node.
const AGENTS: u64 = 2;

pub(crate) fn outages(world: &mut World) -> Result<(), Failed> {
    world.apply("observe")?;
    world.all("Pending")?;
    let before = world.files()?;
    world.starts_take(SLOW)?;

    // No gate, no restart. The kubelet, which brings the policy, has a way of its own.
    let runs = invocations(world)?;
    world.cluster.plane.front(Front::Refuses)?;
    world.policy("mode: migrate\n")?;
    sleep(Duration::from_secs(30));
    assert_eq!(world.files()?, before, "changed without a gate");
    assert_eq!(invocations(world)?, runs, "restarted without a gate");
    world.cluster.plane.front(Front::Open)?;

    // Gone for good while a slot is held: the change ends on the node alone, and is told when somebody listens again.
    let node = world.during("restarting")?;
    world.cluster.plane.stop(Part::ApiServer);
    assert_eq!(world.over(&node)?, "settled");
    world.cluster.plane.start(Part::ApiServer)?;
    world.all("Migrated")?;
    let migrated = world.files()?;

    for (front, phase, mode, end) in [
        (Front::Hangs, "verifying", "rollback", "RolledBack"),
        (Front::Answers(429), "restarting", "migrate", "Migrated"),
        (Front::Answers(500), "restarting", "rollback", "RolledBack"),
    ] {
        world.policy(&format!("mode: {mode}\n"))?;
        let node = world.during(phase)?;
        world.cluster.plane.front(front)?;
        let began = Instant::now();
        assert_eq!(world.over(&node)?, "settled", "{front:?}");
        sleep(Duration::from_secs(5));
        let answered = world.cluster.plane.front(Front::Open)?;
        let took = began.elapsed().as_secs();
        println!("{front:?}: asked {answered} times in {took} s");
        // Attempts of several things at once, and then a pause; a loop without one asks thousands of times.
        assert!(
            answered <= AGENTS * (40 + 2 * took),
            "{front:?}: asked {answered} times in {took} s"
        );
        world.all(end)?;
    }
    assert_eq!(world.files()?, before);
    world.cluster.plane.front(Front::Slow(300))?;
    world.policy("mode: migrate\n")?;
    world.all("Migrated")?;
    assert_eq!(world.files()?, migrated);
    world.workload_is_unbroken()
}

fn invocations(world: &World) -> Result<BTreeMap<String, String>, Failed> {
    let names = world.cluster.members().map(|(member, _)| member.name.clone());
    names.map(|name| Ok((name.clone(), world.invocation(&name)?))).collect()
}
