//! An API server that is down before a slot is acquired, while it is held and while a change is verified, and an API
//! server that answers with errors.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use mirrorshift_tests::lab::Front;
use mirrorshift_tests::lab::cluster::Part;

use mirrorshift_tests::agents::World;

/// In seconds; long enough that a restart can be observed.
const SLOW: u32 = 3;
/// One agent on each node.
const AGENTS: u64 = 2;

pub(crate) fn changes_end_without_an_api_server(world: &mut World) -> Result<(), Failed> {
    world.apply("observe")?;
    world.all("Pending")?;
    let before = world.files()?;
    world.starts_take(SLOW)?;

    // Without a slot there is no restart. The policy still reaches the node, because the kubelet uses another
    // address.
    let runs = invocations(world)?;
    world.cluster.plane.front(Front::Refuses)?;
    world.policy("mode: migrate\n")?;
    sleep(Duration::from_secs(30));
    assert_eq!(world.files()?, before, "a file was changed without a slot");
    assert_eq!(invocations(world)?, runs, "containerd was restarted without a slot");
    world.cluster.plane.front(Front::Open)?;

    // The API server is down while a slot is held: the change ends on the node, and is reported when the API server
    // answers again.
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
        println!("{front:?}: {answered} requests in {took} s");
        // Agents may send several requests at once and then wait. A loop without a wait would send thousands.
        assert!(
            answered <= AGENTS * (40 + 2 * took),
            "{front:?}: {answered} requests in {took} s"
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
