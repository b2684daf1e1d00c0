//! Reads what the options name: the node and the policy; and opens a session.

use crate::change_id::ChangeId;
use crate::change_run::preflight;
use crate::distribution_check::{Evidence, managing_distribution};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::{LoadedNode, NodeSource, PolicySource};
use crate::options::{ChangeArgs, CommonArgs, PolicyArgs};
use crate::results::source_files::SourceFiles;
use mirrorshift_node::{Facts, ObserveOptions, Root, Session};
use mirrorshift_plan::Plan;
use mirrorshift_plan::policy::Policy;
use mirrorshift_plan::preflight::Obstacle;

/// A node whose files have been read, and where they are.
pub(super) struct Loaded {
    pub(super) root: Root,
    pub(super) source: NodeSource,
    pub(super) node: LoadedNode,
    pub(super) sources: SourceFiles,
    /// The facts of a running node for which [`plan_node`] planned a change.
    pub(super) facts: Option<Facts>,
}

/// Reads the node.
///
/// # Errors
/// A file that cannot be read, or a `--config` that does not exist. A missing default configuration is not an error, because
/// containerd runs without one; the output has a warning.
pub(super) fn load_node(common: &CommonArgs) -> Result<Loaded, CommandError> {
    let root = Root::open(&common.root)?;
    let source = common.node_source();
    let node = LoadedNode::read(&root, &source)?;
    let sources = SourceFiles::of_node(&node, &source.root);
    if let (Some(path), true) = (&sources.missing_config, source.config_path.is_some()) {
        return Err(
            CommandError::usage("config", format!("--config: `{path}` does not exist")).hint(if root.is_live() {
                "pass the path that containerd's own --config has: `systemctl cat containerd`"
            } else {
                "pass the path as the node sees it; --root is put in front of it"
            }),
        );
    }
    Ok(Loaded {
        root,
        source,
        node,
        sources,
        facts: None,
    })
}

/// Plans for the node. If there is something to do on a running node, the node is observed once, and the registries of its
/// images are compared too. An empty plan stays empty with them, so it needs no observation.
///
/// # Errors
/// The planner's refusal.
pub(super) fn plan_node(loaded: &mut Loaded, policy: &Policy) -> Result<Plan, CommandError> {
    let plan = loaded.node.plan(policy)?;
    if plan.is_empty() || !loaded.root.is_live() {
        return Ok(plan);
    }
    let options = ObserveOptions {
        images: true,
        ..ObserveOptions::default()
    };
    let facts = preflight::observe_node(&loaded.root, &options)?;
    loaded.node.compare_images(&facts.cri.images);
    loaded.facts = Some(facts);
    loaded.node.plan(policy)
}

/// Rejects the flags that only a change of a running node heeds.
pub(super) fn reject_live_flags(root: &Root, args: &ChangeArgs) -> Result<(), CommandError> {
    if root.is_live() {
        return Ok(());
    }
    let given = [
        ("--verify-image", args.verify_image.is_some()),
        ("--serve-within", args.serve_within.is_some()),
        ("--wait", args.wait.is_some()),
        ("--accept-restart-of-containers", args.accept_restart_of_containers),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(CommandError::usage(
            "flag",
            format!("{flag} has no effect with --root: no containerd is restarted there"),
        )
        .hint(format!("remove {flag}, or run the command on the node without --root"))),
    }
}

/// Returns the obstacle if a distribution writes the configuration, as far as the files show it. On a running node the
/// preflight checks the same with the unit and the version of the daemon.
pub(super) fn distribution_obstacle(loaded: &Loaded) -> Option<Obstacle> {
    managing_distribution(&Evidence {
        root: &loaded.source.root,
        config: &loaded.node.config,
        version: &loaded.node.version.to_string(),
        tree: &loaded.node.tree,
    })
    .map(Obstacle::Owned)
}

/// Refuses to edit a file that a distribution writes: the edit would be lost.
pub(super) fn require_own_configuration(loaded: &Loaded) -> Result<(), CommandError> {
    match distribution_obstacle(loaded) {
        None => Ok(()),
        Some(obstacle) => {
            Err(CommandError::new(Exit::Refused, obstacle.id(), obstacle.to_string()).hint(obstacle.hint()))
        }
    }
}

/// Opens a session on the node.
pub(super) fn open_session(root: &Root) -> Result<Session<'_>, CommandError> {
    let id = ChangeId::generate();
    Ok(Session::open(root, id.created, &id.name)?)
}

/// Reads the flags that describe the desired change.
pub(super) fn policy_source(args: &PolicyArgs) -> Result<PolicySource, CommandError> {
    PolicySource::read(args.policy.as_deref(), &args.mirrors, args.wildcard.as_deref())
}
