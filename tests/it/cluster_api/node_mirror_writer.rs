//! The NodeMirror at a real API server.

use std::time::Duration;

use libtest_mimic::Failed;
use mirrorshift_tests::Ran;
use mirrorshift_tests::lab::ControlPlanes;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::world::{World, counts, status_patch, until};
use jiff::Timestamp;
use mirrorshift_tests::cluster::conditions::{ConditionState, Conditions, Reason};
use mirrorshift_tests::cluster::node_mirror::{
    FindingSummary, MAX_FINDINGS, MAX_ROUTES, MirrorSetup, NodeMirrorStatus, NodePhase, PlanSummary, PolicySummary,
    RouteSummary,
};
use mirrorshift_tests::cluster::node_mirror_writer::{NodeMirrorWriter, NodeReport, WriteOutcome};

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn report(phase: NodePhase, message: &str) -> NodeReport {
    let migrated = phase == NodePhase::Migrated;
    let status = NodeMirrorStatus {
        phase,
        containerd: Some("1.7.24".into()),
        mirrors: Some(if migrated {
            MirrorSetup::ConfigPath
        } else {
            MirrorSetup::Legacy
        }),
        message: message.into(),
        plan: (!migrated).then(|| PlanSummary {
            digest: "12ab".into(),
            restart: true,
            files: 3,
        }),
        routes: vec![RouteSummary {
            registry: "docker.io".into(),
            before: vec!["http://10.0.20.10:5000".into(), "https://registry-1.docker.io".into()],
            after: vec!["http://10.0.20.10:5000".into(), "https://registry-1.docker.io".into()],
        }],
        findings: vec![FindingSummary {
            id: "mirrors-deprecated".into(),
            severity: "warning".into(),
            message: "/etc/containerd/config.toml:7: `mirrors` is deprecated.".into(),
        }],
        agent: "0.1.0".into(),
        policy: Some(PolicySummary {
            mode: "migrate".into(),
            digest: "34cd".into(),
        }),
        last_change_time: Some(Timestamp::UNIX_EPOCH),
        ..NodeMirrorStatus::default()
    };
    let said = if migrated {
        ConditionState::true_with(Reason::PolicyApplied, "")
    } else {
        ConditionState::false_with(Reason::NotYet, "")
    };
    NodeReport {
        status,
        conditions: Conditions {
            migrated: said,
            degraded: ConditionState::false_with(Reason::Healthy, ""),
            progressing: ConditionState::true_with(Reason::Preparing, "A plan is being rehearsed."),
            policy_valid: ConditionState::true_with(Reason::Read, ""),
        },
    }
}

async fn write_report(mirror: &mut NodeMirrorWriter, phase: NodePhase, message: &str, second: i64) -> WriteOutcome {
    let now = Timestamp::from_second(second).expect("a time");
    mirror.apply(&report(phase, message), now).await.expect("said")
}

fn since(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().expect("conditions");
    let condition = conditions.iter().find(|condition| condition["type"] == kind);
    condition.expect(kind)["lastTransitionTime"]
        .as_str()
        .expect("a time")
        .to_owned()
}

pub(crate) fn object_is_only_written_when_it_differs(planes: &ControlPlanes) -> Result<(), Failed> {
    let world = World::new(planes)?;
    // The API server itself reports whether the schema is structural.
    let definition = world.get(&["crd", "nodemirrors.mirrorshift.dev"])?;
    let conditions = definition["status"]["conditions"].as_array().expect("conditions");
    let holds = |kind: &str| {
        conditions
            .iter()
            .find(|it| it["type"] == kind)
            .map(|it| it["status"].clone())
    };
    assert_eq!(holds("Established"), Some(json!("True")));
    assert!(
        matches!(holds("NonStructuralSchema"), None | Some(Value::String(_))),
        "{definition:#}"
    );
    assert_ne!(holds("NonStructuralSchema"), Some(json!("True")), "{definition:#}");

    let agent = world.agent("n1")?;
    let get = || world.get(&["nodemirror", "n1"]);
    let mark = world.plane.audit().mark()?;
    world.run(async || {
        let mut mirror = agent.mirror();
        assert_eq!(
            write_report(&mut mirror, NodePhase::Pending, "There is a plan.", 1000).await,
            WriteOutcome::Made
        );
        for second in 1001..1020 {
            assert_eq!(
                write_report(&mut mirror, NodePhase::Pending, "There is a plan.", second).await,
                WriteOutcome::Nothing
            );
        }
        assert_eq!(
            write_report(&mut mirror, NodePhase::Migrated, "Done.", 2000).await,
            WriteOutcome::Patched
        );
        // An agent that was restarted.
        assert_eq!(
            write_report(&mut agent.mirror(), NodePhase::Migrated, "Done.", 3000).await,
            WriteOutcome::Nothing
        );
    })?;
    let expected = [
        ("get nodemirrors", 2),
        ("create nodemirrors", 1),
        ("patch nodemirrors/status", 2),
    ];
    assert_eq!(world.asked(mark)?, counts(expected));
    let object = get()?;
    let mut owner = object["metadata"]["ownerReferences"].clone();
    assert_eq!(owner.as_array().map(Vec::len), Some(1));
    assert_eq!(
        owner[0].take(),
        json!({ "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": agent.owner.uid })
    );
    assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
    assert_eq!(since(&object, "Migrated"), "1970-01-01T00:33:20Z");
    assert_eq!(since(&object, "PolicyValid"), "1970-01-01T00:16:40Z");
    assert!(
        object["status"].get("plan").is_none(),
        "fields that no longer apply are removed"
    );
    let table = world.plane.kubectl(&["get", "nodemirrors"])?.ok()?.stdout;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        lines.next().unwrap_or_default(),
        ["NAME", "PHASE", "CONTAINERD", "MIRRORS", "CHANGE", "AGE", "MESSAGE"]
    );
    let row = lines.next().unwrap_or_default();
    assert_eq!(row[..4], ["n1", "Migrated", "1.7.24", "config_path"], "{table}");

    // The largest possible object is accepted.
    let mut largest = report(NodePhase::Stuck, &"€".repeat(9000));
    largest.status.routes = vec![largest.status.routes[0].clone(); 2 * MAX_ROUTES];
    largest.status.findings = vec![largest.status.findings[0].clone(); 2 * MAX_FINDINGS];
    world.run(async || agent.mirror().apply(&largest, Timestamp::UNIX_EPOCH).await.map(drop))??;
    assert_eq!(get()?["status"]["routesLeftOut"], MAX_ROUTES);

    edited_object_is_repaired(&world)
}

/// Checks that the agent sees every edit of the object by its watch, and repairs it.
fn edited_object_is_repaired(world: &World) -> Result<(), Failed> {
    let agent = world.agent("n1")?;
    let kubectl = |arguments: &[&str]| world.plane.kubectl(arguments).and_then(Ran::ok).expect("kubectl");
    let edited = status_patch("message", "All is well.");
    let strange = json!({ "status": { "phase": "Stuck", "slot": "slot-7", "conditions": [] } }).to_string();
    let orphaned = json!({ "metadata": { "ownerReferences": null } }).to_string();
    let edits: [&[&str]; 5] = [
        &[
            "patch",
            "nodemirror",
            "n1",
            "--subresource=status",
            "--type=merge",
            "-p",
            &edited,
        ],
        &[
            "patch",
            "nodemirror",
            "n1",
            "--subresource=status",
            "--type=merge",
            "-p",
            &strange,
        ],
        &["patch", "nodemirror", "n1", "--type=merge", "-p", &orphaned],
        &["delete", "nodemirror", "n1"],
        &[
            "patch",
            "nodemirror",
            "n1",
            "--subresource=status",
            "--type=merge",
            "-p",
            &edited,
        ],
    ];
    world.run(async || {
        let mut mirror = agent.mirror();
        write_report(&mut mirror, NodePhase::Migrated, "Done.", 5000).await;
        // Its own writes do not trigger it.
        assert!(
            timeout(Duration::from_secs(2), mirror.wait_for_external_change())
                .await
                .is_err()
        );
        for edit in edits {
            kubectl(edit);
            timeout(SOON, mirror.wait_for_external_change())
                .await
                .expect("disturbed")
                .expect("a watch");
            let written = write_report(&mut mirror, NodePhase::Migrated, "Done.", 6000).await;
            assert_ne!(written, WriteOutcome::Nothing, "{edit:?}");
            let object = world.get(&["nodemirror", "n1"]).expect("the object");
            let status = &object["status"];
            assert_eq!(
                (&status["phase"], &status["message"]),
                (&json!("Migrated"), &json!("Done.")),
                "{edit:?}"
            );
            assert!(status.get("slot").is_none());
            assert_eq!(status["conditions"].as_array().map(Vec::len), Some(4));
            assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], agent.owner.uid);
        }
        // The agent does not write labels.
        kubectl(&["label", "nodemirror", "n1", "a=b"]);
        assert!(
            timeout(Duration::from_secs(2), mirror.wait_for_external_change())
                .await
                .is_err()
        );
    })?;
    Ok(())
}

pub(crate) fn object_is_deleted_with_its_node(planes: &ControlPlanes) -> Result<(), Failed> {
    let world = World::new(planes)?;
    let agent = world.agent("n1")?;
    world.run(async || write_report(&mut agent.mirror(), NodePhase::Observed, "", 1).await)?;
    world.plane.kubectl(&["delete", "node", "n1"])?.ok()?;
    until("the object outlives its Node", || world.absent(&["nodemirror", "n1"]))?;
    // A Node that was created again gets a new object, from an agent with a new token.
    let again = world.agent("n1")?;
    assert_ne!(again.owner, agent.owner);
    world.run(async || {
        assert_eq!(
            write_report(&mut again.mirror(), NodePhase::Observed, "", 1).await,
            WriteOutcome::Made
        );
    })?;
    Ok(())
}
