//! The check before a change: the node must be fit for it, and quiet. Waiting for a quiet node has a timeout.

use crate::change_id::unix_now;
use crate::change_run::progress::Progress;
use crate::change_run::request::ChangeRequest;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use mirrorshift_containerd::{Config, Cri, CriUnavailable, Version};
use mirrorshift_node::{
    Change, ChangeIntent, Fact, Facts, ObserveError, ObserveOptions, Root, Status, inspect_files, list_images, observe,
    since_boot,
};
use mirrorshift_plan::change::Phase;
use mirrorshift_plan::preflight::{FileConditions, Obstacle, OngoingWork, PreflightResult, preflight};
use mirrorshift_plan::{Digest, Step};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeSet;
use std::time::Duration;

/// The pause between two observations of a busy node.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until a change of `steps` may begin, and returns the facts of that moment.
///
/// # Errors
/// All obstacles, or the ongoing work if it does not end in time.
pub(crate) fn wait_for_preflight(
    root: &Root,
    node: &LoadedNode,
    steps: &[Step],
    request: &ChangeRequest,
    progress: &mut Progress,
) -> Result<Facts, CommandError> {
    let began = since_boot();
    let mut reported: Option<Vec<OngoingWork>> = None;
    loop {
        let facts = observe_files(root, node, steps)?;
        match verdict(&facts, node, steps, request.containers_may_restart)? {
            PreflightResult::Go => {
                if let Some(text) = killed_containers(&facts).filter(|_| request.containers_may_restart) {
                    progress.report("accepted", &text);
                }
                return Ok(facts);
            }
            PreflightResult::Refuse(obstacles) => return Err(preflight_refusal(&obstacles)),
            PreflightResult::Wait(busy) if since_boot().saturating_sub(began) > request.limits.quiet => {
                return Err(CommandError::new(Exit::Refused, "busy", describe_work(&busy)).hint(
                    "run the command again when the work is done, because a restart of containerd would interrupt it",
                ));
            }
            PreflightResult::Wait(busy) => {
                if reported.as_ref() != Some(&busy) {
                    progress.report("waiting", &describe_work(&busy));
                    reported = Some(busy);
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// The refusal that lists all obstacles.
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

/// Describes the containers that a restart kills; none if it kills no container.
fn killed_containers(facts: &Facts) -> Option<String> {
    let shims = facts.shims_in_unit.value().filter(|shims| !shims.is_empty())?;
    let pods = facts.cri.sandboxes.value().into_iter().flatten();
    let pods: Vec<String> = pods.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    Some(format!(
        "{} shims and their containers will be killed by the restart; pods of this node: {}",
        shims.len(),
        pods.join(", ")
    ))
}

/// Describes the work that the node is busy with.
pub(crate) fn describe_work(busy: &[OngoingWork]) -> String {
    busy.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Gathers the facts of the running node.
pub(crate) fn observe_node(root: &Root, options: &ObserveOptions) -> Result<Facts, CommandError> {
    observe(root, options).map_err(not_live)
}

/// Gathers the facts, including those of every file that the change replaces or that containerd read.
pub(crate) fn observe_files(root: &Root, node: &LoadedNode, steps: &[Step]) -> Result<Facts, CommandError> {
    let options = ObserveOptions {
        files: files_of(node, steps),
        ..ObserveOptions::default()
    };
    observe_node(root, &options)
}

/// Adds the facts of the same files to an observation that was made before the plan.
pub(crate) fn add_files(facts: &mut Facts, root: &Root, node: &LoadedNode, steps: &[Step]) {
    inspect_files(root, facts, &files_of(node, steps));
}

/// Lists the images on the running node, with one call to CRI, and takes them into the comparison of `node`'s plans.
pub(crate) fn compare_images(root: &Root, node: &mut LoadedNode) -> Result<(), CommandError> {
    let images = list_images(root, &ObserveOptions::default()).map_err(not_live)?;
    node.compare_images(&images);
    Ok(())
}

fn not_live(error: ObserveError) -> CommandError {
    CommandError::new(Exit::Refused, "not-live", error.to_string())
}

/// Every file that the change replaces or that containerd read, without the root configuration, which every observation
/// includes.
fn files_of(node: &LoadedNode, steps: &[Step]) -> Vec<String> {
    let mut files: BTreeSet<String> = steps.iter().map(|step| step.path.clone()).collect();
    files.extend(read_at_start(node));
    files.remove(&node.config);
    files.into_iter().collect()
}

/// The files that containerd reads only at its start: config.toml and its imports.
fn read_at_start(node: &LoadedNode) -> BTreeSet<String> {
    let imported = |config: &Config| config.document.files.iter().map(|file| file.path.clone()).collect();
    let mut files: BTreeSet<String> = node.outcome.as_ref().map(imported).unwrap_or_default();
    files.insert(node.config.clone());
    files
}

/// Decides whether a change of `steps` may begin now.
pub(crate) fn verdict(
    facts: &Facts,
    node: &LoadedNode,
    steps: &[Step],
    containers_may_restart: bool,
) -> Result<PreflightResult, CommandError> {
    let version = running(facts, node)?;
    let contents = steps.iter().filter_map(|step| step.content.as_ref());
    let time = clock_gettime(ClockId::Monotonic);
    let micros = |time: i64, unit: u64| u64::try_from(time).unwrap_or_default().saturating_mul(unit);
    let intent = ChangeIntent {
        planned_for: node.config.clone(),
        written_bytes: contents.map(|content| content.len() as u64).sum(),
        repairs_cri: migration_repairs_cri(node),
        containers_may_restart,
        now_s: unix_now(),
        now_monotonic_us: micros(time.tv_sec, 1_000_000) + micros(time.tv_nsec, 1) / 1000,
    };
    let mut conditions = facts.node_conditions(version, &intent);
    let at_start = read_at_start(node);
    for file in &mut conditions.files {
        // containerd reads hosts.toml and the files that it names at every pull.
        if !at_start.contains(&file.path) || is_unchanged_since_read(file, facts, node) {
            file.newer_than_daemon = Some(false);
        }
    }
    Ok(preflight(&conditions))
}

/// Returns the version of the running containerd. Refuses if a restart would start another version than the running
/// one, because the plan is for only one of them.
fn running(facts: &Facts, node: &LoadedNode) -> Result<Version, CommandError> {
    let Some(running) = facts.containerd.version.value() else {
        return Ok(node.version.clone());
    };
    let unknown = |error| {
        CommandError::new(
            Exit::Refused,
            "containerd-version",
            format!("the version of the running containerd: {error}"),
        )
    };
    let running: Version = running.parse().map_err(unknown)?;
    if running.to_string() == node.version.to_string() {
        return Ok(running);
    }
    let message = format!(
        "containerd {running} is running, and a restart would start {}, but the plan is for only one of them",
        node.version
    );
    Err(CommandError::new(Exit::Refused, "containerd-upgraded", message)
        .hint("restart containerd first, so that the upgrade and this change do not happen at once"))
}

/// Returns true if a change was closed while this containerd was serving, and the file still is as that change left it.
/// Then containerd has read the file, whatever its timestamps are: they are wrong after a rename or after the clock was
/// set.
fn is_unchanged_since_read(file: &FileConditions, facts: &Facts, node: &LoadedNode) -> bool {
    let digest = facts.files.iter().find(|fact| fact.path == file.path);
    let (Some(fact), Some(unit)) = (digest, facts.unit.value()) else {
        return false;
    };
    let Fact::Value(Some(now)) = fact.digest else {
        return false;
    };
    digest_left_by_changes(&node.status, unit.invocation_id.as_deref(), &file.path) == Some(now)
}

/// The digest of the file that the last change closed with this invocation left at a path; none if no such change
/// touched it.
fn digest_left_by_changes(status: &Status, invocation: Option<&str>, path: &str) -> Option<Digest> {
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

/// Returns true if CRI does not load because of the settings that a migration replaces.
fn migration_repairs_cri(node: &LoadedNode) -> bool {
    let reason = match node.outcome.as_ref().map(|config| &config.cri) {
        Ok(Cri::Unavailable { reason, .. }) => reason,
        Ok(Cri::Loads) | Err(_) => return false,
    };
    matches!(
        reason,
        CriUnavailable::Both | CriUnavailable::BothByDefault | CriUnavailable::TlsWithConfigPath
    )
}
