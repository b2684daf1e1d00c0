//! Simulated nodes, tokens that are bound to them, and an agent for each.

use crate::{NAMESPACE, Outcome};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::config::AuthInfo;
use kube::{Api, Client, Config, ResourceExt};
use mirrorshift_agent::reconcile::simulation;
use mirrorshift_tests::cluster::client::{ApiClient, CallLimits, InClusterConfig};
use mirrorshift_tests::cluster::node_identity::NodeIdentity;
use mirrorshift_tests::lab::ControlPlane;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread::{
    JoinHandle, sleep, {self},
};
use std::time::Duration;
use std::{fs, io};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

const ACCOUNT: &str = "mirrorshift-agent";
/// The interval in the manifests.
const HEARTBEAT: Duration = Duration::from_mins(10);
/// The duration of a simulated change.
const CHANGE: Duration = Duration::from_secs(1);
/// The number of nodes that are created at the same time.
const AT_ONCE: usize = 32;
/// The number of agents that start per second, because the pods of a cluster do not start all at once either.
const A_SECOND: u32 = 100;

/// A set of agents that run until this is dropped.
pub(crate) struct Crowd {
    folder: TempDir,
    wakes: Vec<Sender<()>>,
    end: Option<oneshot::Sender<()>>,
    runs: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Creates nodes and starts an agent for each. Returns when every agent has created its `NodeMirror`.
    pub(crate) fn gather(plane: &ControlPlane, size: u32) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("policy"))?;
        fs::write(folder.path().join("ca.crt"), plane.authority())?;
        write_policy(folder.path(), "mode: observe\n")?;
        let admin = admin(plane, folder.path())?;
        let owners = plane.inside(|| -> Result<Vec<NodeIdentity>, String> {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let made = runtime.block_on(nodes(admin, folder.path(), size));
            made.map_err(|error| error.to_string())
        })??;
        let crowd = Self::start(plane, folder, owners)?;
        crowd.wait(plane, size)?;
        Ok(crowd)
    }

    fn start(plane: &ControlPlane, folder: TempDir, owners: Vec<NodeIdentity>) -> Outcome<Self> {
        let (end, ended) = oneshot::channel::<()>();
        let (tell, told) = channel();
        let path = folder.path().to_owned();
        let of_all = access(plane, &path)?;
        // The thread stays in the network in which it was started.
        let runs = plane.inside(|| {
            thread::Builder::new().name("agents".to_owned()).spawn(move || {
                let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
                    return;
                };
                let all = LocalSet::new();
                all.block_on(&runtime, async move {
                    let mut wakes = Vec::new();
                    for (at, owner) in (0_u32..).zip(owners) {
                        if at % A_SECOND == 0 {
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
                        let access = InClusterConfig {
                            token: token(&path, &owner.name),
                            ..of_all.clone()
                        };
                        let Ok(cluster) = ApiClient::new(&access, CallLimits::default()) else {
                            return;
                        };
                        let policy = path.join("policy");
                        let (wake, runs) = simulation::agent(&cluster, NAMESPACE, &owner, &policy, HEARTBEAT, CHANGE);
                        wakes.push(wake);
                        tokio::task::spawn_local(runs);
                    }
                    tell.send(wakes).ok();
                    ended.await.ok();
                });
            })
        })??;
        Ok(Self {
            wakes: told.recv().map_err(|_none| "no agent could be started")?,
            folder,
            end: Some(end),
            runs: Some(runs),
        })
    }

    /// Waits until every node has its `NodeMirror`.
    fn wait(&self, plane: &ControlPlane, size: u32) -> Outcome<()> {
        for _ in 0..300 {
            let names = plane.kubectl(&["get", "--raw", "/apis/mirrorshift.dev/v1alpha1/nodemirrors?limit=1"])?;
            let list: serde_json::Value = serde_json::from_str(&names.ok()?.stdout)?;
            let there = list["items"].as_array().map_or(0, Vec::len) as u64;
            if there + list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0) >= u64::from(size) {
                // Requests for the last nodes may still be in progress.
                sleep(Duration::from_secs(10));
                return Ok(());
            }
            sleep(Duration::from_secs(1));
        }
        Err(format!("of {} agents not all have told of their node", self.wakes.len()).into())
    }

    /// Writes another policy, and delivers it to all nodes within some seconds, as kubelets do.
    pub(crate) fn policy(&self, rest: &str) -> Outcome<()> {
        write_policy(self.folder.path(), rest)?;
        for few in self.wakes.chunks(A_SECOND as usize) {
            for wake in few {
                wake.try_send(()).ok();
            }
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(runs) = self.runs.take() {
            runs.join().ok();
        }
    }
}

fn write_policy(folder: &Path, rest: &str) -> io::Result<()> {
    let text = format!("apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n{rest}");
    let folder = folder.join("policy");
    fs::write(folder.join("new"), text)?;
    fs::rename(folder.join("new"), folder.join("policy.yaml"))
}

/// The connection settings of all agents. They use the API server's own address, because at the service's address a
/// process of the lab would need two file descriptors per connection.
fn access(plane: &ControlPlane, folder: &Path) -> Outcome<InClusterConfig> {
    Ok(InClusterConfig {
        server: plane.server().parse()?,
        authority: folder.join("ca.crt"),
        token: folder.join("token"),
    })
}

fn token(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("token-{node}"))
}

/// Returns an administrator's client configuration with a token.
fn admin(plane: &ControlPlane, folder: &Path) -> Outcome<Config> {
    plane.kubectl(&["create", "serviceaccount", "crowd"])?.ok()?;
    let binding = [
        "create",
        "clusterrolebinding",
        "crowd",
        "--clusterrole=cluster-admin",
        "--serviceaccount=default:crowd",
    ];
    plane.kubectl(&binding)?.ok()?;
    let token = plane.kubectl(&["create", "token", "crowd"])?.ok()?.stdout;
    let access = access(plane, folder)?;
    let mut config = Config::new(access.server);
    config.root_cert_file = Some(access.authority);
    config.auth_info = AuthInfo {
        token: Some(token.trim().to_owned().into()),
        ..AuthInfo::default()
    };
    Ok(config)
}

async fn nodes(admin: Config, folder: &Path, size: u32) -> Outcome<Vec<NodeIdentity>> {
    let client = Client::try_from(admin)?;
    let owners = stream::iter(0..size).map(|number| node(client.clone(), folder, number));
    owners.buffer_unordered(AT_ONCE).try_collect().await
}

/// Creates a Node, and the token of its agent.
async fn node(client: Client, folder: &Path, number: u32) -> Outcome<NodeIdentity> {
    let name = format!("n{number:04}");
    let node = Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        ..Node::default()
    };
    let node = Api::<Node>::all(client.clone())
        .create(&PostParams::default(), &node)
        .await?;
    let uid = node.uid().unwrap_or_default();
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: Vec::new(),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(name.clone()),
                uid: Some(uid.clone()),
            }),
            expiration_seconds: Some(24 * 3600),
        },
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(client, NAMESPACE);
    let answer = accounts
        .create_token_request(ACCOUNT, &PostParams::default(), &request)
        .await?;
    let text = answer.status.map(|status| status.token).unwrap_or_default();
    fs::write(token(folder, &name), text)?;
    Ok(NodeIdentity { name, uid })
}
