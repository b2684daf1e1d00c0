//! Control planes without nodes.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use libtest_mimic::Failed;
use mirrorshift_tests::lab::cluster::{AuditEvent, Mark, Part};
use mirrorshift_tests::lab::{Clusters, ControlOptions, ControlPlane, Front};

use super::{figure, traces};

/// A control plane with only etcd and the API server.
fn bare(clusters: &Clusters) -> io::Result<ControlPlane> {
    let began = Instant::now();
    let plane = clusters.planes().up(&ControlOptions::default())?;
    figure("a control plane", began);
    Ok(plane)
}

/// A namespace with a service account that may only access leases, and the account's token.
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

pub(super) fn control_plane_keeps_objects_over_a_crash(clusters: &Clusters) -> Result<(), Failed> {
    let mut plane = clusters.planes().up(&ControlOptions {
        controllers: true,
        ..ControlOptions::default()
    })?;
    let version = plane.kubectl(&["version"])?.ok()?.stdout;
    assert_eq!(version.matches("v1.34.").count(), 2, "{version}");
    // Manifests are applied from a folder, as a user does.
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("lease.yaml"), LEASE)?;
    let kustomization = "namespace: default\nresources: [lease.yaml]\n";
    fs::write(folder.path().join("kustomization.yaml"), kustomization)?;
    plane.apply(folder.path())?;

    // Without the API server requests fail, and after its restart all objects are there.
    plane.stop(Part::ApiServer);
    assert!(plane.pid(Part::ApiServer).is_err());
    assert_ne!(plane.kubectl(&["get", "lease", "slot-0"])?.code, 0);
    let began = Instant::now();
    plane.start(Part::ApiServer)?;
    figure("the API server again", began);
    plane.kubectl(&["get", "lease", "slot-0"])?.ok()?;

    // A frozen API server accepts connections and does not answer.
    plane.freeze(Part::ApiServer)?;
    let silent = plane.kubectl(&["get", "lease", "slot-0", "--request-timeout=1s"])?;
    assert_ne!(silent.code, 0, "{}", silent.stdout);
    plane.thaw(Part::ApiServer)?;
    plane.kubectl(&["get", "lease", "slot-0"])?.ok()?;

    // The controllers reconnected: they create the default objects of a namespace.
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

pub(super) fn audit_log_names_the_client_of_each_request(clusters: &Clusters) -> Result<(), Failed> {
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
    assert!(
        listed.request_object.is_null(),
        "the log has the body of a request that is not for a lease"
    );
    assert!(plane.audit().since(Mark::default())?.len() > events.len());

    // The admission policy that the project needs is available.
    let kinds = plane.kubectl(&[
        "api-resources",
        "--api-group=admissionregistration.k8s.io",
        "-o",
        "name",
    ])?;
    assert!(kinds.stdout.contains("validatingadmissionpolicies"), "{}", kinds.stdout);
    Ok(())
}

pub(super) fn proxy_has_the_requested_behaviour(clusters: &Clusters) -> Result<(), Failed> {
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
    assert!(ran.stderr.contains("the lab specifies this status"), "{}", ran.stderr);
    assert_ne!(plane.front(Front::Answers(429))?, 0, "the proxy answered no request");
    assert_ne!(ask(&plane)?.0.code, 0);
    // The answer had `Retry-After`, and the client retried.
    assert!(
        plane.front(Front::Open)? > 1,
        "the client did not retry after `Retry-After`"
    );
    for silent in [Front::Hangs, Front::Refuses] {
        plane.front(silent)?;
        let (ran, _) = ask(&plane)?;
        assert_ne!(ran.code, 0, "{silent:?}");
        // All other clients are served.
        plane.kubectl(&["get", "leases", "-n", "lab"])?.ok()?;
    }
    plane.front(Front::Slow(300))?;
    let (ran, took) = ask(&plane)?;
    // A TLS handshake and an answer are delayed.
    assert!(took > Duration::from_millis(600) || ran.code != 0, "{took:?}");
    assert_eq!(plane.front(Front::Open)?, 0);
    ask(&plane)?.0.ok()?;

    // A client in a test reaches the API server in the cluster's network, which has no route to the outside.
    let address: SocketAddr = plane.server().trim_start_matches("https://").parse()?;
    assert!(plane.inside(|| TcpStream::connect(address).is_ok())?);
    let links = plane.command(Path::new("ip")).args(["-o", "link"]).output()?.stdout;
    let links = String::from_utf8(links)?;
    let links: Vec<&str> = links.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(links, ["lo", "lab0"]);
    Ok(())
}

pub(super) fn dropped_control_plane_leaves_nothing(clusters: &Clusters) -> Result<(), Failed> {
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
    // The groups, the folder and the processes are found now; a mount never is.
    let now = traces(&folder, &groups, &processes)?;
    assert_eq!(now.len(), groups.len() + 1 + processes.len(), "{now:#?}");
    let began = Instant::now();
    drop(plane);
    figure("a control plane was removed", began);
    assert_eq!(traces(&folder, &groups, &processes)?, Vec::<String>::new());
    Ok(())
}
