//! The plan: which files change, and who is asked for every registry before and after.

use crate::config_edit::{
    ConfigEdit, {self},
};
use crate::desired::{
    CurrentRoutes, DesiredRoute, {self},
};
use crate::edit::RemovedText;
use crate::layout::{
    Layout, LayoutRequest, UNNAMED, {self},
};
use crate::policy::host::RegistryName;
use crate::policy::{Policy, Wildcard};
use crate::refusal::{Refusal, RefusalReason};
use crate::step::{Digest, Step};
use crate::validate;
use mirrorshift_containerd::{CERTS_D, Config, Cri, Route, SourceLocation, Tree, Version, named_registries, read};
use std::collections::{BTreeMap, BTreeSet};

/// Used where `/etc/containerd/certs.d` holds directories of others that were not in force and must not wake up.
pub const OWN_CERTS_D: &str = "/etc/containerd/certs.d.mirrorshift";
/// Stands for every registry on the node itself; containerd treats them all alike.
const LOCALHOST: &str = "localhost:5000";

/// What is known of a node.
#[derive(Clone, Copy, Debug)]
pub struct NodeFiles<'n> {
    /// Its containerd.
    pub version: &'n Version,
    /// Where its containerd's configuration starts.
    pub config: &'n str,
    /// Everything that [`mirrorshift_containerd::read`] asked for.
    pub tree: &'n Tree,
    /// Files that an earlier change of ours made, as the journal says.
    pub owned: &'n BTreeSet<String>,
    /// Registries of the images on the node, where they are known.
    pub images: &'n [String],
}

/// A change of a node's files, ready to be looked at and made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The files to put in place, in order. Empty when there is nothing to do.
    pub steps: Vec<Step>,
    /// Every registry that was looked at, with its routes.
    pub routes: Vec<RouteChange>,
    /// The folder that `config_path` names once the plan is made.
    pub config_path: Option<String>,
    /// Whether containerd must be restarted: it reads hosts.toml at every pull and its configuration at the start.
    pub restart: bool,
    /// What the reader should know.
    pub notes: Vec<Note>,
    /// Comments that went with a removed table, by file.
    pub comments: Vec<(String, RemovedText)>,
    /// Keys that containerd never read and that stay in the file as comments, by file.
    pub kept: Vec<(String, RemovedText)>,
}

/// The routes of one registry.
#[derive(Clone, Debug)]
pub struct RouteChange {
    /// The registry, or what stands for a whole kind of them.
    pub registry: RegistryScope,
    /// Who is asked now.
    pub before: Route,
    /// Who will be asked.
    pub after: Route,
    /// The keys of the policy that asked for a difference.
    pub asked_by: Vec<String>,
}

impl RouteChange {
    /// Whether a pull would be asked of others, or otherwise, than before.
    pub fn differs(&self) -> bool {
        self.before != self.after
    }
}

/// What a route is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegistryScope {
    /// One registry.
    Registry(String),
    /// Every registry that nothing names.
    Unnamed,
}

impl std::fmt::Display for RegistryScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry(name) => f.write_str(name),
            Self::Unnamed => f.write_str("any other registry"),
        }
    }
}

/// Something that a plan's reader should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// CRI is dead as it stands; the plan brings it back.
    Heals(String),
    /// `/etc/containerd/certs.d` is left alone.
    LeavesCertsD {
        /// The directory there that would have woken up.
        stale: SourceLocation,
    },
    /// Pulls move from the CRI plugin to the transfer service, with the same hosts in the same order.
    TransferService,
    /// Entries that no image can match are dropped.
    NeverMatched {
        /// The key, made safe to print.
        key: String,
        /// Where it stood.
        place: SourceLocation,
    },
    /// The version is newer than any that the rules were checked against.
    NewerThanKnown,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What names this plan: the files with their old and new content, and nothing else.
    pub fn digest(&self) -> Digest {
        let line = |step: &Step| {
            let content = step.content.as_deref().map(Digest::of);
            format!("{} {:?} {content:?}\n", step.path, step.expect)
        };
        Digest::of(self.steps.iter().map(line).collect::<String>().as_bytes())
    }
}

/// Plans what brings `node` to `config_path` and to what `policy` asks for.
///
/// Guarantees: the routes of every registry that the files name, of each endpoint's own host, of docker.io, of a registry
/// on the node, of one that nothing names and of every directory in certs.d stay as they are, or differ as the policy
/// asks; CRI loads on the result; nothing but registry settings differs in the merged configuration.
///
/// # Errors
///
/// A [`Refusal`] wherever one of these cannot be had.
pub fn plan(node: &NodeFiles<'_>, policy: &Policy) -> Result<Plan, Box<Refusal>> {
    let config = read(node.version, node.config, node.tree)
        .outcome
        .map_err(|error| Refusal::unreadable(&error))?;
    let today = CurrentRoutes {
        config: &config,
        tree: node.tree,
    };
    let mut notes = Vec::new();
    validate::check_names(&config, &mut notes)?;
    validate::check_endpoints(&config)?;
    let mut wishes = BTreeMap::new();
    for registry in subjects(&config, node, policy) {
        let wish = desired::desired_route(&today, policy, &registry)?;
        wishes.insert(registry, wish);
    }
    if nothing_to_do(&config, &wishes) {
        notes.clear();
        note_version(node.version, &mut notes);
        return Ok(unchanged(&today, &wishes, notes));
    }
    if let Cri::Dead { failure, .. } = &config.cri {
        notes.push(Note::Heals(failure.reason.clone()));
    }
    let made = make(node, policy, &config, &wishes, &mut notes)?;
    note_version(node.version, &mut notes);
    let plan = Plan { notes, ..made };
    Ok(plan)
}

fn note_version(version: &Version, notes: &mut Vec<Note>) {
    if version.is_newer_than_known() {
        notes.push(Note::NewerThanKnown);
    }
}

/// Every registry whose route is compared.
fn subjects(config: &Config, node: &NodeFiles<'_>, policy: &Policy) -> BTreeSet<String> {
    let mut subjects: BTreeSet<String> = named_registries(config, node.tree).into_iter().collect();
    subjects.extend(["docker.io", LOCALHOST, UNNAMED].map(str::to_owned));
    subjects.extend(node.images.iter().cloned());
    subjects.extend(policy.registries.iter().map(|entry| entry.host.as_str().to_owned()));
    if let Wildcard::Only(hosts) = &policy.wildcard {
        subjects.extend(hosts.iter().map(|host| RegistryName::as_str(host).to_owned()));
    }
    subjects
}

/// Whether hosts directories are in force already, or nothing old is, and nobody asks for anything else.
fn nothing_to_do(config: &Config, wishes: &BTreeMap<String, DesiredRoute>) -> bool {
    let old = !config.registry.mirrors.is_empty() || config.registry.configs.values().any(|host| host.tls.is_some());
    let alive = matches!(config.cri, Cri::Loads);
    alive && !old && wishes.values().all(|wish| wish.policy_keys.is_empty())
}

fn unchanged(today: &CurrentRoutes<'_>, wishes: &BTreeMap<String, DesiredRoute>, notes: Vec<Note>) -> Plan {
    let routes = wishes.keys().map(|registry| {
        let route = today.config.route(today.tree, registry);
        RouteChange {
            registry: subject(registry),
            before: route.clone(),
            after: route,
            asked_by: Vec::new(),
        }
    });
    Plan {
        steps: Vec::new(),
        routes: routes.collect(),
        config_path: today
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

fn subject(registry: &str) -> RegistryScope {
    if registry == UNNAMED {
        RegistryScope::Unnamed
    } else {
        RegistryScope::Registry(registry.to_owned())
    }
}

fn make(
    node: &NodeFiles<'_>,
    policy: &Policy,
    config: &Config,
    wishes: &BTreeMap<String, DesiredRoute>,
    notes: &mut Vec<Note>,
) -> Result<Plan, Box<Refusal>> {
    let comments = comments_by_registry(config, node);
    let order = LayoutRequest {
        config,
        tree: node.tree,
        policy,
        wishes,
        owned: node.owned,
        comments: &comments,
    };
    let mut layout = choose(&order, notes)?;
    let in_force = config
        .registry
        .config_path
        .as_ref()
        .is_some_and(|path| path.value == layout.root && path.place.is_some());
    let alive = matches!(config.cri, Cri::Loads);
    let configured = if in_force && alive {
        ConfigEdit::default()
    } else {
        config_edit::edit_config(config, node.config, &layout.root, &mut layout.tree)
    };
    let restart = !configured.steps.is_empty();
    let after = check(node, config, &layout)?;
    let routes = compare(config, node.tree, wishes, &after, &layout.tree)?;
    if config.registry.local_pull && !after.registry.local_pull {
        notes.push(Note::TransferService);
    }
    let mut steps = layout.steps;
    steps.extend(configured.steps);
    Ok(Plan {
        steps,
        routes,
        config_path: Some(layout.root),
        restart,
        notes: Vec::new(),
        comments: configured.comments,
        kept: configured.kept,
    })
}

/// The folder that `config_path` will name: the one in force, else the customary one, else one of our own.
fn choose(order: &LayoutRequest<'_>, notes: &mut Vec<Note>) -> Result<Layout, Box<Refusal>> {
    let written = order
        .config
        .registry
        .config_path
        .as_ref()
        .filter(|path| path.place.is_some());
    // A list that the transfer service takes for one name is in force nowhere.
    let roots = order.config.hosts_roots();
    let usable = roots
        .first()
        .filter(|root| root.starts_with('/') && !root.contains(':'));
    if let (Some(_), Some(root)) = (written, usable) {
        return layout::layout(order, root);
    }
    match layout::layout(order, CERTS_D) {
        Err(refusal) if refusal.reason == RefusalReason::ForeignDirectory => {
            let layout = layout::layout(order, OWN_CERTS_D)?;
            notes.extend(refusal.place.map(|stale| Note::LeavesCertsD { stale }));
            Ok(layout)
        }
        result => result,
    }
}

/// Comments of a registry's mirrors, for the head of its hosts.toml. Commented-out settings stay with the plan: they may
/// hold passwords, and hosts.toml is for everyone to read.
fn comments_by_registry(config: &Config, node: &NodeFiles<'_>) -> BTreeMap<String, Vec<String>> {
    let mut tree = node.tree.clone();
    let dry = config_edit::edit_config(config, node.config, CERTS_D, &mut tree);
    let mut by_registry: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, gone) in dry.comments {
        let registry = match gone.table.iter().position(|part| part == "mirrors") {
            Some(at) => gone.table.get(at + 1),
            None => None,
        };
        let Some(registry) = registry else { continue };
        let text = gone.text.trim_start_matches('#').trim();
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

/// Reads the result as containerd will.
fn check(node: &NodeFiles<'_>, before: &Config, layout: &Layout) -> Result<Config, Box<Refusal>> {
    let hint = "Report this file: it is edited by hand until the tool knows its shape.";
    let after = read(node.version, node.config, &layout.tree).outcome;
    let after = after.map_err(|error| {
        Refusal::new(RefusalReason::Edit, format!("the edit would not load: {error}"), hint)
            .at(Some(error.place.clone()))
    })?;
    if let Cri::Dead { failure, .. } = &after.cri {
        return Err(Refusal::new(
            RefusalReason::Edit,
            format!("the edit would leave CRI dead: {}", failure.reason),
            hint,
        )
        .at(failure.place.clone()));
    }
    let in_force = after.registry.config_path.as_ref().map(|path| path.value.as_str());
    if in_force != Some(layout.root.as_str()) || !after.registry.mirrors.is_empty() {
        return Err(Refusal::new(
            RefusalReason::Edit,
            "the edit would not put `config_path` in force",
            hint,
        ));
    }
    match before.differs_beyond_registry(&after) {
        Some(path) => Err(Refusal::new(
            RefusalReason::Edit,
            format!("the edit would change `{path}` too"),
            hint,
        )),
        None => Ok(after),
    }
}

/// The routes before and after. Every difference must have been asked for.
fn compare(
    before: &Config,
    tree: &Tree,
    wishes: &BTreeMap<String, DesiredRoute>,
    after: &Config,
    new_tree: &Tree,
) -> Result<Vec<RouteChange>, Box<Refusal>> {
    let (mut routes, mut wrong) = (Vec::new(), Vec::new());
    for (registry, wish) in wishes {
        let change = RouteChange {
            registry: subject(registry),
            before: before.route(tree, registry),
            after: after.route(new_tree, registry),
            asked_by: wish.policy_keys.clone(),
        };
        if change.after == wish.route {
            routes.push(change);
        } else {
            wrong.push(RouteChange {
                before: wish.route.clone(),
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
            "Mend this first: what the policy asks for cannot work as long as it stands.",
        ),
        None => (
            format!("pulls would ask others than before for {names}"),
            "Say in a policy what these registries should be asked of.",
        ),
    };
    // A hosts.toml that would differ is not there yet, and never will be: the setting behind it is.
    let mut asks = wrong.iter().flat_map(|change| change.before.asks());
    let place = asks.find_map(|ask| ask.why.place.clone());
    let mut refusal = Refusal::new(RefusalReason::Routes, what, hint).at(place);
    refusal.routes = wrong;
    Err(refusal)
}
