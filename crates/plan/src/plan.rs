//! The planner: computes the files to change, and the routes of every registry before and after.

use crate::config_edit::{self, ConfigEdit};
use crate::desired::{self, CurrentRoutes, DesiredRoute};
use crate::edit::RemovedText;
use crate::layout::{self, Layout, LayoutRequest};
use crate::note::Note;
use crate::policy::host::RegistryName;
use crate::policy::{Policy, Wildcard};
use crate::refusal::{Refusal, RefusalReason};
use crate::route_change::{RegistryScope, RouteChange, UNNAMED};
use crate::step::{Digest, Step};
use crate::validate;
use mirrorshift_containerd::{CERTS_D, Config, Cri, Route, Tree, Version, named_registries, read};
use std::collections::{BTreeMap, BTreeSet};

/// The `config_path` to use when `/etc/containerd/certs.d` contains directories of other tools that are inactive now and would
/// take effect.
pub const OWN_CERTS_D: &str = "/etc/containerd/certs.d.mirrorshift";
/// A stand-in for every registry on the node itself. containerd treats them all alike.
const LOCALHOST: &str = "localhost:5000";

/// The input of [`plan`]: the files of a node and their context.
#[derive(Clone, Copy, Debug)]
pub struct NodeFiles<'n> {
    /// The version of containerd on the node.
    pub version: &'n Version,
    /// The path of the configuration file that containerd is started with.
    pub config: &'n str,
    /// Every file that [`mirrorshift_containerd::read`] requires.
    pub tree: &'n Tree,
    /// The files that an earlier change created, according to the journal.
    pub owned: &'n BTreeSet<String>,
    /// The registries of the images on the node, as image names spell them. Empty when they are unknown.
    pub images: &'n [String],
}

/// A change of a node's files, ready to be reviewed and carried out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The files to put in place, in this order. Empty when there is nothing to do.
    pub steps: Vec<Step>,
    /// The routes of every registry that was compared.
    pub routes: Vec<RouteChange>,
    /// The folder that `config_path` names after the change.
    pub config_path: Option<String>,
    /// True when containerd must restart. It reads `hosts.toml` at every pull, but its configuration only at its start.
    pub restart: bool,
    /// Remarks for the reader.
    pub notes: Vec<Note>,
    /// Comments that are removed together with a table, each with its file.
    pub comments: Vec<(String, RemovedText)>,
    /// Keys that containerd never read, each with its file. They stay in the file as comments.
    pub kept: Vec<(String, RemovedText)>,
}

impl Plan {
    /// Returns true when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the digest that identifies this plan. It covers the paths, the original files and the new files.
    pub fn digest(&self) -> Digest {
        let line = |step: &Step| {
            let content = step.content.as_deref().map(Digest::of);
            format!("{} {:?} {content:?}\n", step.path, step.expect)
        };
        Digest::of(self.steps.iter().map(line).collect::<String>().as_bytes())
    }
}

/// Plans the migration of `node` to `config_path` and to the routes that `policy` requires.
///
/// # Guarantees
///
/// - The routes of these registries stay the same, or differ exactly as the policy requires: every registry that the
///   files name, each endpoint's own host, docker.io, a registry on the node itself, any other registry, every directory
///   in `certs.d`, and the registry of every image in [`NodeFiles::images`].
/// - CRI loads with the new files.
/// - Only registry settings differ in the merged configuration.
///
/// # Errors
///
/// Returns a [`Refusal`] when one of these guarantees cannot be given.
///
/// ```
/// use mirrorshift_containerd::{DEFAULT_CONFIG, Entry, Tree, Version, read};
/// use mirrorshift_plan::policy::Policy;
/// use mirrorshift_plan::{NodeFiles, plan};
///
/// let version: Version = "1.7.24".parse()?;
/// let text = r#"version = 2
/// [plugins."io.containerd.grpc.v1.cri".registry.mirrors."ghcr.io"]
///   endpoint = ["http://10.0.20.10:5010"]
/// "#;
/// let mut tree = Tree::new();
/// tree.insert(DEFAULT_CONFIG, Entry::File(text.into()));
/// // `read` names the paths that the caller must read next. Here no other file exists.
/// loop {
///     let missing = read(&version, DEFAULT_CONFIG, &tree).missing;
///     if missing.is_empty() {
///         break;
///     }
///     for path in missing {
///         tree.insert(path, Entry::Absent);
///     }
/// }
/// let node = NodeFiles {
///     version: &version,
///     config: DEFAULT_CONFIG,
///     tree: &tree,
///     owned: &Default::default(),
///     images: &[],
/// };
/// let plan = plan(&node, &Policy::default())?;
/// let paths: Vec<&str> = plan.steps.iter().map(|step| step.path.as_str()).collect();
/// assert!(paths.contains(&"/etc/containerd/certs.d/ghcr.io/hosts.toml"));
/// assert_eq!(paths.last(), Some(&DEFAULT_CONFIG));
/// assert!(plan.routes.iter().all(|change| !change.differs()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn plan(node: &NodeFiles<'_>, policy: &Policy) -> Result<Plan, Box<Refusal>> {
    let config = read(node.version, node.config, node.tree)
        .outcome
        .map_err(|error| Refusal::unreadable(&error))?;
    let current = CurrentRoutes {
        config: &config,
        tree: node.tree,
    };
    let mut notes = Vec::new();
    validate::check_names(&config, &mut notes)?;
    validate::check_endpoints(&config)?;
    let mut desired = BTreeMap::new();
    for registry in compared_registries(&config, node, policy) {
        let route = desired::desired_route(&current, policy, &registry)?;
        desired.insert(registry, route);
    }
    if nothing_to_do(&config, &desired) {
        notes.clear();
        note_version(node.version, &mut notes);
        return Ok(unchanged(&current, &desired, notes));
    }
    if let Cri::Unavailable { failure, .. } = &config.cri {
        notes.push(Note::RepairsCri(failure.reason.clone()));
    }
    let changed = changed(node, policy, &config, &desired, &mut notes)?;
    note_version(node.version, &mut notes);
    Ok(Plan { notes, ..changed })
}

fn note_version(version: &Version, notes: &mut Vec<Note>) {
    if version.is_newer_than_known() {
        notes.push(Note::NewerThanKnown);
    }
}

/// Returns every registry whose routes are compared.
fn compared_registries(config: &Config, node: &NodeFiles<'_>, policy: &Policy) -> BTreeSet<String> {
    let mut registries: BTreeSet<String> = named_registries(config, node.tree).into_iter().collect();
    registries.extend(["docker.io", LOCALHOST, UNNAMED].map(str::to_owned));
    registries.extend(node.images.iter().cloned());
    registries.extend(policy.registries.iter().map(|entry| entry.host.as_str().to_owned()));
    if let Wildcard::Only(hosts) = &policy.wildcard {
        registries.extend(hosts.iter().map(|host| RegistryName::as_str(host).to_owned()));
    }
    registries
}

/// Returns true when CRI loads, no deprecated setting is used, and the policy requires no difference.
fn nothing_to_do(config: &Config, desired: &BTreeMap<String, DesiredRoute>) -> bool {
    let deprecated =
        !config.registry.mirrors.is_empty() || config.registry.configs.values().any(|host| host.tls.is_some());
    let cri_loads = matches!(config.cri, Cri::Loads);
    cri_loads && !deprecated && desired.values().all(|route| route.policy_keys.is_empty())
}

fn unchanged(current: &CurrentRoutes<'_>, desired: &BTreeMap<String, DesiredRoute>, notes: Vec<Note>) -> Plan {
    let routes = desired.keys().map(|registry| {
        let route = current.config.route(current.tree, registry);
        RouteChange {
            registry: RegistryScope::of_name(registry),
            before: route.clone(),
            after: route,
            policy_keys: Vec::new(),
        }
    });
    Plan {
        steps: Vec::new(),
        routes: routes.collect(),
        config_path: current
            .config
            .registry
            .config_path
            .as_ref()
            .map(|path| path.value.clone()),
        restart: false,
        notes,
        comments: Vec::new(),
        kept: Vec::new(),
    }
}

fn changed(
    node: &NodeFiles<'_>,
    policy: &Policy,
    config: &Config,
    desired: &BTreeMap<String, DesiredRoute>,
    notes: &mut Vec<Note>,
) -> Result<Plan, Box<Refusal>> {
    let comments = comments_by_registry(config, node);
    let request = LayoutRequest {
        config,
        tree: node.tree,
        policy,
        desired,
        owned: node.owned,
        comments: &comments,
    };
    let mut layout = choose_root(&request, notes)?;
    let in_force = config
        .registry
        .config_path
        .as_ref()
        .is_some_and(|path| path.value == layout.root && path.place.is_some());
    let cri_loads = matches!(config.cri, Cri::Loads);
    let config_edit = if in_force && cri_loads {
        ConfigEdit::default()
    } else {
        config_edit::edit_config(config, node.config, &layout.root, &mut layout.tree)
    };
    let restart = !config_edit.steps.is_empty();
    let after = check_result(node, config, &layout)?;
    let routes = compare(config, node.tree, desired, &after, &layout.tree)?;
    if config.registry.local_pull && !after.registry.local_pull {
        notes.push(Note::TransferService);
    }
    let mut steps = layout.steps;
    steps.extend(config_edit.steps);
    Ok(Plan {
        steps,
        routes,
        config_path: Some(layout.root),
        restart,
        notes: Vec::new(),
        comments: config_edit.comments,
        kept: config_edit.kept,
    })
}

/// Chooses the folder that `config_path` will name: the folder in use, otherwise the usual one, otherwise our own.
fn choose_root(request: &LayoutRequest<'_>, notes: &mut Vec<Note>) -> Result<Layout, Box<Refusal>> {
    let written = request
        .config
        .registry
        .config_path
        .as_ref()
        .filter(|path| path.place.is_some());
    // The transfer service reads a list as one name, so no directory in it would take effect.
    let roots = request.config.hosts_roots();
    let usable = roots
        .first()
        .filter(|root| root.starts_with('/') && !root.contains(':'));
    if let (Some(_), Some(root)) = (written, usable) {
        return layout::layout(request, root);
    }
    match layout::layout(request, CERTS_D) {
        Err(refusal) if refusal.reason == RefusalReason::ForeignDirectory => {
            let layout = layout::layout(request, OWN_CERTS_D)?;
            notes.extend(refusal.place.map(|stale| Note::LeavesCertsD { stale }));
            Ok(layout)
        }
        result => result,
    }
}

/// Returns the comments of each registry's mirrors, for the head of its `hosts.toml`. Commented-out settings are left out,
/// because they may contain passwords and every user of the node can read a `hosts.toml`.
fn comments_by_registry(config: &Config, node: &NodeFiles<'_>) -> BTreeMap<String, Vec<String>> {
    let mut tree = node.tree.clone();
    let edit = config_edit::edit_config(config, node.config, CERTS_D, &mut tree);
    let mut by_registry: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, removed) in edit.comments {
        let registry = match removed.table.iter().position(|part| part == "mirrors") {
            Some(at) => removed.table.get(at + 1),
            None => None,
        };
        let Some(registry) = registry else { continue };
        let text = removed.text.trim_start_matches('#').trim();
        if text.is_empty() || text.contains(['=', '[', ']', '@']) || text.chars().any(char::is_control) {
            continue;
        }
        let registry = if registry == "*" { UNNAMED } else { registry };
        by_registry
            .entry(registry.to_owned())
            .or_default()
            .push(text.to_owned());
    }
    by_registry
}

/// Reads the new files as containerd will.
fn check_result(node: &NodeFiles<'_>, before: &Config, layout: &Layout) -> Result<Config, Box<Refusal>> {
    let hint = "Edit this file by hand, and report it: this release of mirrorshift cannot edit it safely.";
    let after = read(node.version, node.config, &layout.tree).outcome;
    let after = after.map_err(|error| {
        Refusal::new(
            RefusalReason::Edit,
            format!("containerd would not load the edited file: {error}"),
            hint,
        )
        .at(Some(error.place.clone()))
    })?;
    if let Cri::Unavailable { failure, .. } = &after.cri {
        return Err(Refusal::new(
            RefusalReason::Edit,
            format!("CRI would not load with the edited files: {}", failure.reason),
            hint,
        )
        .at(failure.place.clone()));
    }
    let in_force = after.registry.config_path.as_ref().map(|path| path.value.as_str());
    if in_force != Some(layout.root.as_str()) || !after.registry.mirrors.is_empty() {
        return Err(Refusal::new(
            RefusalReason::Edit,
            "`config_path` would not take effect with the edited files",
            hint,
        ));
    }
    match before.differs_beyond_registry(&after) {
        Some(path) => Err(Refusal::new(
            RefusalReason::Edit,
            format!("the edit would also change `{path}`"),
            hint,
        )),
        None => Ok(after),
    }
}

/// Returns the routes before and after. Refuses when one differs from the desired route.
fn compare(
    before: &Config,
    tree: &Tree,
    desired: &BTreeMap<String, DesiredRoute>,
    after: &Config,
    new_tree: &Tree,
) -> Result<Vec<RouteChange>, Box<Refusal>> {
    let (mut routes, mut wrong) = (Vec::new(), Vec::new());
    for (registry, desired) in desired {
        let change = RouteChange {
            registry: RegistryScope::of_name(registry),
            before: before.route(tree, registry),
            after: after.route(new_tree, registry),
            policy_keys: desired.policy_keys.clone(),
        };
        if change.after == desired.route {
            routes.push(change);
        } else {
            wrong.push(RouteChange {
                before: desired.route.clone(),
                ..change
            });
        }
    }
    if wrong.is_empty() {
        return Ok(routes);
    }
    let names: Vec<String> = wrong.iter().map(|change| change.registry.to_string()).collect();
    let names = names.join(", ");
    let failure = wrong.iter().find_map(|change| match &change.after {
        Route::Fails(failure) => Some(failure),
        Route::Hosts(_) => None,
    });
    let (what, hint) = match failure {
        Some(failure) => (
            format!("every pull would fail for {names}: {}", failure.reason),
            "Repair this first: until then the routes that the policy requires cannot work.",
        ),
        None => (
            format!("containerd would try other hosts than before for {names}"),
            "Name the hosts that you want for these registries in a policy.",
        ),
    };
    // The `hosts.toml` does not exist and will not be written, so the location is that of the setting behind it.
    let mut hosts = wrong.iter().flat_map(|change| change.before.hosts());
    let place = hosts.find_map(|host| host.provenance.place.clone());
    let mut refusal = Refusal::new(RefusalReason::Routes, what, hint).at(place);
    refusal.routes = wrong;
    Err(refusal)
}

#[cfg(test)]
mod tests;
