//! `mirrorshift agent`: keeps the node of its pod as the policy requires.
//!
//! One thread waits for reasons to reconcile. Units of the host's systemd observe and change the node; [`decide`]
//! chooses the next action. The agent may end at any moment: a change in progress does not depend on it, and a new
//! process continues from what it observes.
//!
//! This part reads no file of the node except the policy: units of the node do that.

/// The loop: reconcile, wait, reconcile.
mod agent_loop;
/// One attempt to change the node.
mod attempt;
/// The next action.
pub(crate) mod decide;
/// `/metrics`, `/healthz` and `/readyz`.
mod http;
/// The metrics.
pub(crate) mod metrics;
/// The operations on the node.
mod node_ops;
/// The delivery of reports.
mod outbox;
/// The active policy.
mod policy_file;
/// The reconciler of one node.
mod reconciler;
/// Agents of simulated nodes.
#[cfg(feature = "simulation")]
pub mod simulation;
/// The report of the node.
mod status;
/// Events that start a cycle.
mod triggers;

use crate::cluster::client::{ApiClient, CallLimits, InClusterConfig};
use crate::cluster::node_identity::NodeIdentity;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::NodeSource;
use crate::options::{AgentArgs, LogFormat};
use crate::reconcile::metrics::Metrics;
use crate::reconcile::node_ops::LocalNode;
use crate::reconcile::policy_file::PolicyFile;
use crate::reconcile::reconciler::Reconciler;
use crate::reconcile::triggers::Triggers;
use notify::RecursiveMode;
use std::env::var;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The folder of the service account in a pod.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The usual folder of containerd's files. Files that it imports from elsewhere are observed with the heartbeat.
const CONTAINERD: &str = "/etc/containerd";
/// The pause between two readings of the token. The kubelet renews it within the hour, and a Node is rarely recreated.
const TOKEN_PAUSE: Duration = Duration::from_mins(1);

/// Runs the agent until SIGTERM or SIGINT.
pub(crate) fn run(source: &NodeSource, args: &AgentArgs) -> Result<(), CommandError> {
    init_log(args.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(Exit::Unexpected, "agent", format!("cannot start: {error}")))?;
    let ended = runtime.block_on(run_agent(source, args));
    // Do not wait for the threads that follow a change: the change does not need them.
    runtime.shutdown_background();
    ended
}

async fn run_agent(source: &NodeSource, args: &AgentArgs) -> Result<(), CommandError> {
    let refused = |error: &dyn std::error::Error| {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        CommandError::new(Exit::Refused, "cluster", format!("{error}{source}"))
            .hint("run the agent in a pod of its DaemonSet; see the folder `manifests`")
    };
    let (host, port) = (var("KUBERNETES_SERVICE_HOST"), var("KUBERNETES_SERVICE_PORT"));
    let account = Path::new(ACCOUNT);
    let access = InClusterConfig::of_pod(&host.unwrap_or_default(), &port.unwrap_or_default(), account)
        .map_err(|error| refused(&error))?;
    let identity = NodeIdentity::of_token(&access.token, &args.node_name).map_err(|error| refused(&error))?;
    let client = ApiClient::new(&access, CallLimits::default()).map_err(|error| refused(&error))?;

    let metrics = Arc::new(Metrics::new());
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| CommandError::usage("listen", format!("cannot listen at {}: {error}", args.listen)))?;
    tokio::spawn(http::serve(listener, Arc::clone(&metrics)));

    let mut reconciler = Reconciler::new(
        LocalNode::new(source.config()),
        PolicyFile::of(&args.policy),
        client,
        &args.pod_namespace,
        &identity,
        metrics,
        source.config(),
    );
    let mut triggers = Triggers::of(&[
        (&args.policy, RecursiveMode::NonRecursive),
        (Path::new(CONTAINERD), RecursiveMode::Recursive),
    ]);
    let failed = |error| CommandError::new(Exit::Unexpected, "agent", format!("cannot wait for signals: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    tracing::info!(
        node = args.node_name,
        version = env!("CARGO_PKG_VERSION"),
        "agent starts"
    );
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = agent_loop::run(&mut reconciler, &mut triggers, args.heartbeat) => {}
        () = wait_for_other_node(&access.token, &identity) => {
            tracing::warn!("the token is now bound to another Node of the same name; the agent starts again");
        }
    }
    tracing::info!("agent ends; a change in progress goes on without it");
    Ok(())
}

/// Waits until the token is bound to another Node. A Node that was deleted and recreated has another uid, and does not
/// own the objects of the old one.
async fn wait_for_other_node(token: &Path, identity: &NodeIdentity) {
    loop {
        tokio::time::sleep(TOKEN_PAUSE).await;
        if NodeIdentity::of_token(token, &identity.name).is_ok_and(|current| current != *identity) {
            return;
        }
    }
}

/// Sends the log to standard output without blocking. containerd or the kubelet reads the other end: while it restarts,
/// a line may be lost, and the agent does not wait.
fn init_log(format: LogFormat) {
    let out = std::io::stdout();
    if let Ok(flags) = rustix::fs::fcntl_getfl(&out) {
        rustix::fs::fcntl_setfl(&out, flags | rustix::fs::OFlags::NONBLOCK).ok();
    }
    let builder = tracing_subscriber::fmt().with_ansi(false).with_target(false);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
