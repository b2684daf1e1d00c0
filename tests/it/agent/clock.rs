//! A rollout on two nodes with different programs, one of which has a clock that is an hour ahead.

use libtest_mimic::Failed;
use mirrorshift_tests::agents::{AgentImage, World};

const NODE: &str = "n24";
/// In seconds; long enough that two restarts would overlap if nothing prevented that.
const SLOW: u32 = 3;

/// Checks that a clock that is an hour ahead changes nothing, because no decision compares clocks of two machines.
pub(crate) fn clock_an_hour_ahead_changes_nothing(world: &mut World) -> Result<(), Failed> {
    world.exchange_image(NODE, &AgentImage::an_hour_ahead()?)?;
    world.an_hour_ahead(NODE)?;
    world.apply("observe")?;
    world.all("Pending")?;
    let before = world.files()?;
    assert_ne!(world.program("n17")?, world.program(NODE)?, "both run the same program");
    // The time of the agent.
    an_hour_apart(world, "conditions[?(@.type==\"Progressing\")].lastTransitionTime")?;

    world.starts_take(SLOW)?;
    for (mode, end) in [("migrate", "Migrated"), ("rollback", "RolledBack")] {
        let mark = world.cluster.plane.audit().mark()?;
        world.policy(&format!("mode: {mode}\n"))?;
        world.all(end)?;
        assert_eq!(world.held_at_once(mark)?, (1, 2), "{mode}");
        assert!(world.slots()?.is_empty(), "{mode}: a slot is kept");
        // The time of the changes.
        an_hour_apart(world, "lastChangeTime")?;
    }
    assert_eq!(world.files()?, before);
    world.workload_is_unbroken()
}

/// Checks that a time in the status of both nodes differs by an hour.
fn an_hour_apart(world: &World, path: &str) -> Result<(), Failed> {
    let path = format!("jsonpath={{.items[*].status.{path}}}");
    let said = world.kubectl(&["get", "nodemirrors", "-o", &path])?;
    let times: Vec<jiff::Timestamp> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [here, ahead] = times[..] else {
        return Err(format!("not a time of each node: {times:?}").into());
    };
    let minutes = (ahead - here).total(jiff::Unit::Minute)?;
    assert!((55.0..65.0).contains(&minutes), "{path}: {minutes} minutes ahead");
    Ok(())
}
