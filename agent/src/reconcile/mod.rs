//! `mirrorshift agent`: keeps the node that its pod runs on as the policy says.
//!
//! One thread waits for reasons to look at the node; units of the host's systemd do what is to be done there. [`decide`]
//! says what that is. Ended at any moment the agent leaves the node to the change that is under way, which depends on
//! nobody, and goes on from what it finds when it is started again.

/// One change of a cycle.
mod attempt;
/// The one next thing to do.
pub(crate) mod decide;
/// Answers to `/metrics`, `/healthz` and `/readyz`.
mod http;
/// What `/metrics` says.
pub(crate) mod metrics;
/// What is asked of the node.
mod node_ops;
/// The policy in force.
mod policy_file;
/// The loop.
mod reconciler;
/// Agents whose nodes are made up.
#[cfg(feature = "simulation")]
pub mod simulation;
/// What the cluster is told.
mod status;
/// Folders that change, and a containerd that is started.
mod triggers;

use crate::cluster::backoff::{Backoff, Jitter};
use crate::cluster::client::{ApiClient, CallLimits, InClusterConfig};
use crate::cluster::events::Events;
use crate::cluster::node_identity::NodeIdentity;
use crate::cluster::node_mirror_writer::NodeMirrorWriter;
use crate::cluster::slots::{SlotPool, WaitOutcome};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::NodeSource;
use crate::options::{AgentArgs, LogFormat};
use crate::reconcile::metrics::Metrics;
use crate::reconcile::node_ops::{LocalNode, NodeOps};
use crate::reconcile::policy_file::PolicyFile;
use crate::reconcile::reconciler::{Reconciler, Requeue};
use crate::reconcile::triggers::Triggers;
use notify::RecursiveMode;
use std::env::var;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Where every pod finds what it may show to the API server.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// containerd's own files, by custom. What it imports from elsewhere is looked at with the heartbeat.
const CONTAINERD: &str = "/etc/containerd";
/// The kubelet renews a token within the hour; a Node that is made again is rare.
const TOKEN: Duration = Duration::from_mins(1);
/// Within this those who wait tell that the fleet stands still.
const HALTED: Duration = Duration::from_secs(10);
/// After a failure that passes by itself.
const SOON: Duration = Duration::from_secs(2);
const SOON_MOST: Duration = Duration::from_mins(2);

/// Keeps the node until it is told to end.
pub(crate) fn run(source: &NodeSource, args: &AgentArgs) -> Result<(), CommandError> {
    log(args.log_format);
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        CommandError::new(Exit::Unexpected, "agent", format!("cannot {what}: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("begin", &error))?;
    let ended = runtime.block_on(keep(source, args));
    // Whatever waits for a change's end on a thread of its own must not hold this one up: the change needs nobody.
    runtime.shutdown_background();
    ended
}

async fn keep(source: &NodeSource, args: &AgentArgs) -> Result<(), CommandError> {
    let refused = |error: &dyn std::error::Error| {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        CommandError::new(Exit::Refused, "cluster", format!("{error}{source}"))
            .hint("the agent runs in a pod of its DaemonSet: manifests/ has it")
    };
    let (host, port) = (var("KUBERNETES_SERVICE_HOST"), var("KUBERNETES_SERVICE_PORT"));
    let account = Path::new(ACCOUNT);
    let access = InClusterConfig::of_pod(&host.unwrap_or_default(), &port.unwrap_or_default(), account)
        .map_err(|error| refused(&error))?;
    let owner = NodeIdentity::of_token(&access.token, &args.node_name).map_err(|error| refused(&error))?;
    let cluster = ApiClient::new(&access, CallLimits::default()).map_err(|error| refused(&error))?;

    let metrics = Arc::new(Metrics::new());
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| CommandError::usage("listen", format!("cannot listen at {}: {error}", args.listen)))?;
    tokio::spawn(http::serve(listener, Arc::clone(&metrics)));

    let mut keeper = Reconciler::new(
        LocalNode::new(source.config()),
        PolicyFile::of(&args.policy),
        SlotPool::new(cluster.clone(), &args.pod_namespace, owner.clone()),
        NodeMirrorWriter::new(cluster.clone(), owner.clone()),
        Events::new(cluster, owner.clone()),
        metrics,
        source.config(),
    );
    let mut wakes = Triggers::of(&[
        (&args.policy, RecursiveMode::NonRecursive),
        (Path::new(CONTAINERD), RecursiveMode::Recursive),
    ]);
    let failed = |error| CommandError::new(Exit::Unexpected, "agent", format!("cannot wait for signals: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    tracing::info!(node = args.node_name, version = env!("CARGO_PKG_VERSION"), "begins");
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = turns(&mut keeper, &mut wakes, args.heartbeat) => {}
        () = other_node(&access.token, &owner) => {
            tracing::warn!("the token is of another Node of this name: begins again");
        }
    }
    tracing::info!("ends; a change that is under way goes on");
    Ok(())
}

/// Waits until the token is of another Node: one that was deleted and made again has another uid, and owns nothing of what the
/// old one did.
async fn other_node(token: &Path, owner: &NodeIdentity) {
    loop {
        tokio::time::sleep(TOKEN).await;
        if NodeIdentity::of_token(token, &owner.name).is_ok_and(|now| now != *owner) {
            return;
        }
    }
}

/// Looks whenever there is a reason to, for ever.
async fn turns<H: NodeOps>(keeper: &mut Reconciler<H>, wakes: &mut Triggers, heartbeat: Duration) {
    let jitter = Jitter::from_os();
    let mut soon = Backoff::new(SOON, SOON_MOST);
    loop {
        let next = keeper.reconcile().await;
        if let Some(unit) = &keeper.unit {
            wakes.watch_unit(unit);
        }
        let wait = match next {
            Requeue::Soon => SOON + soon.next(&jitter),
            Requeue::OnEvent | Requeue::WhenSlotFree => {
                soon.reset();
                // Between half of it and one and a half.
                heartbeat / 2 + jitter.duration_up_to(heartbeat)
            }
        };
        rest(keeper, wakes, next, wait, &jitter).await;
    }
}

/// Waits for a reason to look at the node. The object in the cluster is none: it is told again, and no more.
async fn rest<H: NodeOps>(
    keeper: &mut Reconciler<H>,
    wakes: &mut Triggers,
    next: Requeue,
    wait: Duration,
    jitter: &Jitter,
) {
    let slots = keeper.slots();
    let until = tokio::time::Instant::now() + wait;
    let cluster = keeper.gate.cluster().clone();
    let mut back = std::pin::pin!(cluster.wait_until_reachable());
    loop {
        let disturbed = tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            // It may be what could not be asked.
            () = &mut back, if next == Requeue::Soon => return,
            () = wakes.next() => return,
            awaited = keeper.gate.wait(slots), if next == Requeue::WhenSlotFree => match awaited {
                Ok(WaitOutcome::Free) => return,
                Ok(WaitOutcome::Failed(holders)) => {
                    // All who wait see this at one time.
                    tokio::time::sleep(jitter.duration_up_to(HALTED)).await;
                    keeper.update_waiting_for(holders).await;
                    continue;
                }
                Err(error) => Err(error),
            },
            disturbed = keeper.mirror.wait_for_external_change() => disturbed,
        };
        match disturbed {
            Ok(()) => {
                keeper.republish().await;
            }
            // Watches wait by themselves before they ask again, and ever longer.
            Err(error) => tracing::warn!(kind = error.kind.name(), "{error}"),
        }
    }
}

/// To standard output, whose other end is a container runtime: while that is away a line may be lost, and nothing waits for it.
fn log(format: LogFormat) {
    let out = std::io::stdout();
    if let Ok(flags) = rustix::fs::fcntl_getfl(&out) {
        rustix::fs::fcntl_setfl(&out, flags | rustix::fs::OFlags::NONBLOCK).ok();
    }
    let all = tracing_subscriber::fmt().with_ansi(false).with_target(false);
    match format {
        LogFormat::Text => all.init(),
        LogFormat::Json => all.json().init(),
    }
}
