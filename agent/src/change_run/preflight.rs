//! Whether the node is fit for a change, and quiet: asked before anything is touched, and waited for within a bound.

use crate::change_id::unix_now;
use crate::change_run::progress::Progress;
use crate::change_run::request::ChangeRequest;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use mirrorshift_containerd::{Config, Cri, CriUnavailable, Version};
use mirrorshift_node::{Change, ChangeIntent, Fact, Facts, ObserveOptions, Root, Status, observe, since_boot};
use mirrorshift_plan::change::Phase;
use mirrorshift_plan::preflight::{FileConditions, Obstacle, OngoingWork, PreflightResult, preflight};
use mirrorshift_plan::{Digest, Step};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeSet;
use std::time::Duration;

/// Between two looks at a node that is busy.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until a change of `steps` may begin, and gives the facts of that moment.
///
/// # Errors
/// What stands in the way, all of it.
pub(crate) fn wait_for_preflight(
    root: &Root,
    node: &LoadedNode,
    steps: &[Step],
    order: &ChangeRequest,
    progress: &mut Progress,
) -> Result<Facts, CommandError> {
    let began = since_boot();
    let mut told: Option<Vec<OngoingWork>> = None;
    loop {
        let facts = look(root, node, steps)?;
        match verdict(&facts, node, steps, order.containers_may_restart)? {
            PreflightResult::Go => {
                if let Some(text) = dying(&facts).filter(|_| order.containers_may_restart) {
                    progress.tell("accepted", &text);
                }
                return Ok(facts);
            }
            PreflightResult::Refuse(obstacles) => return Err(preflight_refusal(&obstacles)),
            PreflightResult::Wait(busy) if since_boot().saturating_sub(began) > order.limits.quiet => {
                return Err(CommandError::new(Exit::Refused, "busy", words(&busy))
                    .hint("try again when it is done; a restart of containerd would cut it off"));
            }
            PreflightResult::Wait(busy) => {
                if told.as_ref() != Some(&busy) {
                    progress.tell("waiting", &words(&busy));
                    told = Some(busy);
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// All that stands in the way.
pub(crate) fn preflight_refusal(obstacles: &[Obstacle]) -> CommandError {
    let all: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
    let reason = obstacles.first().map_or("unknown", Obstacle::id);
    let failure = CommandError::new(Exit::Refused, reason, all.join("; "));
    obstacles
        .first()
        .map(Obstacle::hint)
        .into_iter()
        .fold(failure, CommandError::hint)
}

/// What a restart kills, where it kills anything.
fn dying(facts: &Facts) -> Option<String> {
    let shims = facts.shims_in_unit.known().filter(|shims| !shims.is_empty())?;
    let pods = facts.cri.sandboxes.known().into_iter().flatten();
    let pods: Vec<String> = pods.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    Some(format!(
        "{} shims and their containers will be killed by the restart; pods of this node: {}",
        shims.len(),
        pods.join(", ")
    ))
}

/// What the node is busy with.
pub(crate) fn words(busy: &[OngoingWork]) -> String {
    busy.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The facts, with every file that is replaced or that the daemon read.
pub(crate) fn look(root: &Root, node: &LoadedNode, steps: &[Step]) -> Result<Facts, CommandError> {
    let mut files: BTreeSet<String> = steps.iter().map(|step| step.path.clone()).collect();
    files.extend(read_at_start(node));
    files.remove(&node.config);
    let ask = ObserveOptions {
        files: files.into_iter().collect(),
        ..ObserveOptions::default()
    };
    observe(root, &ask).map_err(|error| CommandError::new(Exit::Refused, "not-live", error.to_string()))
}

/// The files that a daemon reads once: config.toml and what it imports.
fn read_at_start(node: &LoadedNode) -> BTreeSet<String> {
    let imported = |config: &Config| config.document.files.iter().map(|file| file.path.clone()).collect();
    let mut files: BTreeSet<String> = node.outcome.as_ref().map(imported).unwrap_or_default();
    files.insert(node.config.clone());
    files
}

/// Whether a change of `steps` may begin just now.
pub(crate) fn verdict(
    facts: &Facts,
    node: &LoadedNode,
    steps: &[Step],
    containers_may_restart: bool,
) -> Result<PreflightResult, CommandError> {
    let version = running(facts, node)?;
    let bytes = steps.iter().filter_map(|step| step.content.as_ref());
    let time = clock_gettime(ClockId::Monotonic);
    let micros = |time: i64, unit: u64| u64::try_from(time).unwrap_or_default().saturating_mul(unit);
    let intent = ChangeIntent {
        planned_for: node.config.clone(),
        bytes: bytes.map(|content| content.len() as u64).sum(),
        heals: heals(node),
        containers_may_restart,
        owned_may_be_edited: false,
        now_s: unix_now(),
        now_monotonic_us: micros(time.tv_sec, 1_000_000) + micros(time.tv_nsec, 1) / 1000,
    };
    let mut ground = facts.ground(version, &intent);
    let at_start = read_at_start(node);
    for file in &mut ground.files {
        // hosts.toml and what it names are read at every pull.
        if !at_start.contains(&file.path) || is_as_it_was(file, facts, node) {
            file.newer_than_daemon = Some(false);
        }
    }
    Ok(preflight(&ground))
}

/// The daemon's own version. One that is to be restarted as another would be another containerd than was planned for.
fn running(facts: &Facts, node: &LoadedNode) -> Result<Version, CommandError> {
    let Some(running) = facts.containerd.version.known() else {
        return Ok(node.version.clone());
    };
    let unknown = |error| {
        CommandError::new(
            Exit::Refused,
            "containerd-version",
            format!("the running containerd: {error}"),
        )
    };
    let running: Version = running.parse().map_err(unknown)?;
    if running.to_string() == node.version.to_string() {
        return Ok(running);
    }
    let message = format!(
        "containerd {running} runs, and a restart would bring {}: the plan is for one of them",
        node.version
    );
    Err(CommandError::new(Exit::Refused, "containerd-upgraded", message)
        .hint("restart containerd first, so that the upgrade and this change do not come at once"))
}

/// Whether a change was closed with this very daemon serving, and the file is as that change left it: the daemon has read it,
/// whatever the file's times say. They are no help where a file was exchanged and put back, or the clock was set.
fn is_as_it_was(file: &FileConditions, facts: &Facts, node: &LoadedNode) -> bool {
    let digest = facts.files.iter().find(|fact| fact.path == file.path);
    let (Some(fact), Some(unit)) = (digest, facts.unit.known()) else {
        return false;
    };
    let Fact::Value(Some(now)) = fact.digest else {
        return false;
    };
    left_as(&node.status, unit.invocation_id.as_deref(), &file.path) == Some(now)
}

/// What the last change that was closed with this invocation left at a path; nothing when none of those touched it.
fn left_as(status: &Status, invocation: Option<&str>, path: &str) -> Option<Digest> {
    let same = |change: &&Change| {
        let closed = change
            .service
            .as_ref()
            .and_then(|service| service.closed_with.as_deref());
        closed.is_some() && closed == invocation
    };
    let mut changes = status.history.iter().rev().filter(same);
    let step = |change: &Change| {
        let step = change.steps.iter().find(|step| step.path == path)?;
        Some(match change.phase {
            Phase::Settled => step.after,
            _ => step.before.as_ref().map(|before| before.digest),
        })
    };
    changes.find_map(step)?
}

/// Whether CRI is dead of the very settings that a migration takes apart.
fn heals(node: &LoadedNode) -> bool {
    let reason = match node.outcome.as_ref().map(|config| &config.cri) {
        Ok(Cri::Dead { reason, .. }) => reason,
        Ok(Cri::Loads) | Err(_) => return false,
    };
    matches!(
        reason,
        CriUnavailable::Both | CriUnavailable::BothByDefault | CriUnavailable::TlsBesideConfigPath
    )
}
