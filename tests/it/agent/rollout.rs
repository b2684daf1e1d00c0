//! Observe, migrate one node at a time, and roll back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use libtest_mimic::Failed;
use mirrorshift_tests::lab::Image;
use mirrorshift_tests::lab::cluster::{Member, UPSTREAM, endpoint};

use mirrorshift_tests::agents::World;

/// Checks that the workload is not interrupted, and that images are pulled from the same caches before and after.
pub(crate) fn fleet_is_migrated_and_rolled_back(world: &mut World) -> Result<(), Failed> {
    let before = world.files()?;
    world.apply("observe")?;
    world.all("Pending")?;
    println!("{}", world.progress()?);
    assert_eq!(world.files()?, before, "observing changed a file");
    let old_routes = pulled(world, "before")?;

    let mark = world.cluster.plane.audit().mark()?;
    world.apply("migrate")?;
    world.all("Migrated")?;
    println!("{}", world.progress()?);
    let (most, taken) = world.held_at_once(mark)?;
    println!("slots were acquired {taken} times, and at most {most} were held at the same time");
    assert_eq!(most, 1);
    assert!(taken >= 4, "{taken}");
    one_at_a_time(world)?;
    world.workload_is_unbroken()?;
    for files in world.files()?.values() {
        assert!(files.contains("config_path"), "{files}");
    }
    assert_eq!(
        pulled(world, "after")?,
        old_routes,
        "images are pulled from other caches"
    );
    tags_are_resolved_upstream(world)?;

    world.apply("rollback")?;
    world.all("RolledBack")?;
    println!("{}", world.progress()?);
    world.workload_is_unbroken()?;
    assert_eq!(world.files()?, before, "after the rollback");
    Ok(())
}

/// Checks that no two nodes were between armed and settled at the same time, according to their systemd journals. All
/// nodes share one clock.
fn one_at_a_time(world: &World) -> Result<(), Failed> {
    let mut spans = Vec::new();
    for (member, node) in world.cluster.members() {
        let said = [
            "journalctl",
            "-q",
            "-o",
            "short-unix",
            "--no-hostname",
            "-u",
            "mirrorshift-change",
        ];
        let said = node.run(&said)?.ok()?.stdout;
        let at = |word: &str| {
            let line = said.lines().find(|line| line.contains(word))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let (Some(armed), Some(settled)) = (at(" armed"), at(" settled")) else {
            return Err(format!("{} does not say when it was armed and settled:\n{said}", member.name).into());
        };
        spans.push((armed, settled, member.name.clone()));
    }
    spans.sort_by(|one, two| one.0.total_cmp(&two.0));
    for pair in spans.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two nodes at the same time: {spans:?}");
    }
    println!("between armed and settled: {spans:?}");
    Ok(())
}

/// The requests for an image to each registry, by node.
type RequestSummary = BTreeMap<String, BTreeSet<(String, String)>>;

/// Pulls an image that no node has; the contacted registries must not depend on which image it is.
fn pulled(world: &World, tag: &str) -> Result<BTreeMap<String, BTreeSet<String>>, Failed> {
    world.cluster.push("library/pulled", tag, tag)?;
    let asked = pull(world, &format!("docker.io/library/pulled:{tag}"))?;
    let registries = |things: BTreeSet<(String, String)>| things.into_iter().map(|(at, _)| at).collect();
    Ok(asked
        .into_iter()
        .map(|(node, things)| (node, registries(things)))
        .collect())
}

fn pull(world: &World, image: &str) -> Result<RequestSummary, Failed> {
    let mut all = RequestSummary::new();
    for (Member { name, .. }, node) in world.cluster.members() {
        let seen = world.cluster.seen()?;
        node.cri()?.pull(&Image::new(image))?;
        let accesses = world.cluster.accesses(&seen)?;
        let things = accesses
            .iter()
            .filter(|access| access.by == *name)
            .filter_map(|access| {
                let (_, thing) = access.manifest().or_else(|| access.blob())?;
                Some((access.at.clone(), thing.to_owned()))
            });
        all.insert(name.clone(), things.collect());
    }
    Ok(all)
}

/// Adds a registry to one cache that is not in the node's files, and that has no tag of it: containerd reads the new
/// hosts.toml at its next pull. A tag that is built again upstream is pulled again, and its layers come from the
/// cache.
fn tags_are_resolved_upstream(world: &World) -> Result<(), Failed> {
    let invocations = |world: &World| -> Result<Vec<String>, Failed> {
        let names = world.cluster.members().map(|(member, _)| member.name.clone());
        names.map(|name| world.invocation(&name)).collect()
    };
    let before = invocations(world)?;
    world.policy(&format!(
        "mode: migrate\nregistries:\n  - host: quay.io\n    mirrors: [{{url: \"{}\"}}]\n    tags: upstream\n",
        endpoint("all")
    ))?;
    let began = Instant::now();
    world.until("the policy is not in force", |world| {
        let holds = |(member, files): (String, String)| {
            let has = files.contains("quay.io/hosts.toml") && files.contains("all.cache.test");
            has.then_some(member)
        };
        let with: Vec<String> = world.files()?.into_iter().filter_map(holds).collect();
        Ok((with.len() == world.cluster.members().count()).then_some(()))
    })?;
    world.all("Migrated")?;
    println!(
        "another policy in force on all nodes after {:.1} s",
        began.elapsed().as_secs_f32()
    );
    assert_eq!(invocations(world)?, before, "containerd was restarted");

    for words in ["first", "built anew"] {
        let image = world.cluster.push("team/tagged", "1", words)?;
        for (node, asked) in pull(world, "quay.io/team/tagged:1")? {
            let manifests: Vec<_> = asked
                .iter()
                .filter(|(_, thing)| thing == "1")
                .map(|(at, _)| at.as_str())
                .collect();
            assert_eq!(manifests, [UPSTREAM], "{node}: {asked:?}");
            let layer = asked.iter().find(|(_, thing)| *thing == image.layer);
            assert_eq!(layer.map(|(at, _)| at.as_str()), Some("all"), "{node}: {asked:?}");
        }
    }
    Ok(())
}
