//! Control planes without nodes.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use libtest_mimic::Failed;
use mirrorshift_tests::lab::cluster::{AuditEvent, Mark, Part};
use mirrorshift_tests::lab::{Clusters, ControlOptions, ControlPlane, Front};

use super::{figure, traces};

/// A control plane of etcd and the API server alone.
fn bare(clusters: &Clusters) -> io::Result<ControlPlane> {
    let began = Instant::now();
    let plane = clusters.planes().up(&ControlOptions::default())?;
    figure("a control plane", began);
    Ok(plane)
}

/// A namespace with a service account that may do anything to leases and to nothing else, and the account's token.
const LOCKER: &str = "apiVersion: v1
kind: Namespace
metadata: {name: lab}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: locker, namespace: lab}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: locker, namespace: lab}
rules: [{apiGroups: [coordination.k8s.io], resources: [leases], verbs: ['*']}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: locker, namespace: lab}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: locker}
subjects: [{kind: ServiceAccount, name: locker, namespace: lab}]
";

const LEASE: &str = "apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: slot-0, namespace: lab}
spec: {holderIdentity: one}
";

fn token(plane: &ControlPlane) -> io::Result<String> {
    plane.apply_text(LOCKER)?;
    let token = plane.kubectl(&["create", "token", "locker", "-n", "lab"])?.ok()?;
    Ok(token.stdout.trim().to_owned())
}

pub(super) fn keeps_what_it_is_told(clusters: &Clusters) -> Result<(), Failed> {
    let mut plane = clusters.planes().up(&ControlOptions {
        controllers: true,
        ..ControlOptions::default()
    })?;
    let version = plane.kubectl(&["version"])?.ok()?.stdout;
    assert_eq!(version.matches("v1.34.").count(), 2, "{version}");
    // A folder, as a user would apply it.
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("lease.yaml"), LEASE)?;
    let kustomization = "namespace: default\nresources: [lease.yaml]\n";
    fs::write(folder.path().join("kustomization.yaml"), kustomization)?;
    plane.apply(folder.path())?;

    // Without its API server there is nobody to ask, and with it all is as before.
    plane.stop(Part::ApiServer);
    assert!(plane.pid(Part::ApiServer).is_err());
    assert_ne!(plane.kubectl(&["get", "lease", "slot-0"])?.code, 0);
    let began = Instant::now();
    plane.start(Part::ApiServer)?;
    figure("the API server again", began);
    plane.kubectl(&["get", "lease", "slot-0"])?.ok()?;

    // One that is held takes connections and says nothing.
    plane.freeze(Part::ApiServer)?;
    let silent = plane.kubectl(&["get", "lease", "slot-0", "--request-timeout=1s"])?;
    assert_ne!(silent.code, 0, "{}", silent.stdout);
    plane.thaw(Part::ApiServer)?;
    plane.kubectl(&["get", "lease", "slot-0"])?.ok()?;

    // The controllers found it again: they make what every namespace has.
    plane.kubectl(&["create", "namespace", "late"])?.ok()?;
    let wait = [
        "wait",
        "--for=create",
        "serviceaccount/default",
        "-n",
        "late",
        "--timeout=60s",
    ];
    plane.kubectl(&wait)?.ok()?;
    Ok(())
}

pub(super) fn writes_down_who_asked(clusters: &Clusters) -> Result<(), Failed> {
    let plane = bare(clusters)?;
    let token = token(&plane)?;
    let mark = plane.audit().mark()?;
    plane.kubectl_by(&token, &["create", "-f", "-"], LEASE)?.ok()?;
    let refused = plane.kubectl_by(&token, &["get", "secrets", "-n", "lab"], "")?;
    assert!(refused.stderr.contains("Forbidden"), "{}", refused.stderr);

    let events = plane.audit().since(mark)?;
    let asked = |verb: &str, resource: &str| -> Vec<&AuditEvent> {
        let asked = |event: &&AuditEvent| event.verb == verb && event.object_ref.resource == resource;
        events.iter().filter(asked).collect()
    };
    let [created] = asked("create", "leases")[..] else {
        return Err(format!("{events:#?}").into());
    };
    assert_eq!(created.code(), Some(201));
    assert_eq!(created.user.username, "system:serviceaccount:lab:locker");
    assert_eq!(created.request_object["spec"]["holderIdentity"], "one");
    let [listed] = asked("list", "secrets")[..] else {
        return Err(format!("{events:#?}").into());
    };
    assert_eq!(listed.code(), Some(403));
    assert!(listed.request_object.is_null(), "bodies of what is no lock");
    assert!(plane.audit().since(Mark::default())?.len() > events.len());

    // The admission policy that the project stands on is there.
    let kinds = plane.kubectl(&[
        "api-resources",
        "--api-group=admissionregistration.k8s.io",
        "-o",
        "name",
    ])?;
    assert!(kinds.stdout.contains("validatingadmissionpolicies"), "{}", kinds.stdout);
    Ok(())
}

pub(super) fn front_is_what_it_is_told(clusters: &Clusters) -> Result<(), Failed> {
    let mut plane = bare(clusters)?;
    let token = token(&plane)?;
    let ask = |plane: &ControlPlane| {
        let began = Instant::now();
        let ran = plane.kubectl_by(&token, &["get", "leases", "-n", "lab", "--request-timeout=2s"], "")?;
        io::Result::Ok((ran, began.elapsed()))
    };
    ask(&plane)?.0.ok()?;
    plane.front(Front::Answers(500))?;
    let (ran, _) = ask(&plane)?;
    assert!(ran.stderr.contains("the lab says so"), "{}", ran.stderr);
    assert_ne!(
        plane.front(Front::Answers(429))?,
        0,
        "nothing was answered by the front"
    );
    assert_ne!(ask(&plane)?.0.code, 0);
    // It was told to come again, and did.
    assert!(
        plane.front(Front::Open)? > 1,
        "a client that was told to wait asked once"
    );
    for silent in [Front::Hangs, Front::Refuses] {
        plane.front(silent)?;
        let (ran, _) = ask(&plane)?;
        assert_ne!(ran.code, 0, "{silent:?}");
        // Everybody else is served.
        plane.kubectl(&["get", "leases", "-n", "lab"])?.ok()?;
    }
    plane.front(Front::Slow(300))?;
    let (ran, took) = ask(&plane)?;
    // At least a greeting and an answer.
    assert!(took > Duration::from_millis(600) || ran.code != 0, "{took:?}");
    assert_eq!(plane.front(Front::Open)?, 0);
    ask(&plane)?.0.ok()?;

    // A client in a test finds the API server too: in the cluster's network, which leads nowhere else.
    let address: SocketAddr = plane.server().trim_start_matches("https://").parse()?;
    assert!(plane.inside(|| TcpStream::connect(address).is_ok())?);
    let links = plane.command(Path::new("ip")).args(["-o", "link"]).output()?.stdout;
    let links = String::from_utf8(links)?;
    let links: Vec<&str> = links.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(links, ["lo", "lab0"]);
    Ok(())
}

pub(super) fn nothing_is_left_of_a_control_plane(clusters: &Clusters) -> Result<(), Failed> {
    let plane = clusters.planes().up(&ControlOptions {
        controllers: true,
        scheduler: true,
        ..ControlOptions::default()
    })?;
    let parts = [Part::Etcd, Part::ApiServer, Part::ControllerManager, Part::Scheduler];
    let processes = parts
        .map(|part| plane.pid(part))
        .into_iter()
        .collect::<io::Result<Vec<u32>>>()?;
    let (folder, groups) = (plane.folder(), plane.cgroups().to_vec());
    // Its groups, its folder, its processes, and no mount even now.
    let now = traces(&folder, &groups, &processes)?;
    assert_eq!(now.len(), groups.len() + 1 + processes.len(), "{now:#?}");
    let began = Instant::now();
    drop(plane);
    figure("a control plane was gone", began);
    assert_eq!(traces(&folder, &groups, &processes)?, Vec::<String>::new());
    Ok(())
}
