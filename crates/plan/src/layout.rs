//! Which hosts directories a node needs: as few as say everything, and none that wakes up a stale one.

use crate::desired::{DesiredRoute, directory_names};
use crate::hosts_file::{
    Folder, {self},
};
use crate::policy::{HostsDir, Policy};
use crate::refusal::{Refusal, RefusalReason};
use crate::step::{Digest, Expect, Step};
use mirrorshift_containerd::{Config, Entry, Origin, Rule, SourceLocation, Tree, is_localhost};
use std::collections::{BTreeMap, BTreeSet};

/// A registry that no file names: what `_default` is for. `.invalid` never resolves.
pub(crate) const UNNAMED: &str = "unnamed.invalid";

/// What the folders are made for.
pub(crate) struct LayoutRequest<'o> {
    pub(crate) config: &'o Config,
    pub(crate) tree: &'o Tree,
    pub(crate) policy: &'o Policy,
    pub(crate) wishes: &'o BTreeMap<String, DesiredRoute>,
    /// Files that an earlier change of ours made.
    pub(crate) owned: &'o BTreeSet<String>,
    /// Comments that stood by a registry's mirrors.
    pub(crate) comments: &'o BTreeMap<String, Vec<String>>,
}

/// The hosts files below one folder.
pub(crate) struct Layout {
    /// What `config_path` has to say.
    pub(crate) root: String,
    /// The files to write, in order.
    pub(crate) steps: Vec<Step>,
    /// The tree once they are written.
    pub(crate) tree: Tree,
}

/// Lays out the hosts files below `root`.
///
/// # Errors
///
/// A directory of somebody else that stands in the way, and hosts that no hosts.toml of this version can say.
pub(crate) fn layout(order: &LayoutRequest<'_>, root: &str) -> Result<Layout, Box<Refusal>> {
    let mut layout = Layout {
        root: root.to_owned(),
        steps: Vec::new(),
        tree: order.tree.clone(),
    };
    let registries =
        std::iter::once(UNNAMED).chain(order.wishes.keys().map(String::as_str).filter(|name| *name != UNNAMED));
    for registry in registries {
        let Some(wish) = order.wishes.get(registry) else {
            continue;
        };
        if order.config.route_by_hosts(&layout.tree, root, registry) == wish.route {
            continue;
        }
        write(order, &mut layout, registry, wish)?;
    }
    Ok(layout)
}

fn write(
    order: &LayoutRequest<'_>,
    layout: &mut Layout,
    registry: &str,
    wish: &DesiredRoute,
) -> Result<(), Box<Refusal>> {
    let version = &order.config.document.version;
    let folder = if registry == UNNAMED {
        Folder::Default { seen_from: UNNAMED }
    } else {
        Folder::Of(registry)
    };
    if registry == UNNAMED && !version.has(Rule::DefaultDirectory) {
        let what = format!("containerd {version} has no `_default`, which the wildcard needs");
        let hint = "List the registries that the wildcard serves with `--wildcard docker.io,…`, or upgrade to 1.6.17 or newer.";
        return Err(Refusal::new(RefusalReason::WildcardUnsupported, what, hint)
            .at(wish.asks.first().and_then(|ask| ask.why.place.clone()))
            .effect("It would ignore the directory and ask every registry itself."));
    }
    let name = existing(layout, registry);
    let path = format!("{}/{name}/hosts.toml", layout.root);
    let comments = order.comments.get(registry).map(Vec::as_slice).unwrap_or_default();
    let text = hosts_file::write(folder, &wish.asks, version, comments).map_err(|why| {
        Refusal::new(
            RefusalReason::Endpoint,
            format!("no hosts.toml of containerd {version} can say who is asked for {registry}: {why}"),
            "Change or take out the endpoint.",
        )
        .at(wish.asks.iter().find_map(|ask| ask.why.place.clone()))
    })?;
    let content = text.into_bytes();
    let expect = match layout.tree.get(&path) {
        None | Some(Entry::Absent) => Expect::Absent,
        Some(Entry::File(old)) if order.owned.contains(&path) || adopted(order.policy, registry) => {
            Expect::File(Digest::of(old))
        }
        Some(_) => {
            let shown = if registry == UNNAMED { "_default" } else { registry };
            let what = format!("the hosts directory of {shown} is somebody else's and says something else");
            let hint = format!("Name it in the policy's `adopt: [{shown}]` to have it replaced, or move it away.");
            let place = Some(SourceLocation { path, line: None });
            return Err(Refusal::new(RefusalReason::ForeignDirectory, what, hint).at(place));
        }
    };
    layout.tree.insert(path.clone(), Entry::File(content.clone()));
    let folder_path = format!("{}/{name}", layout.root);
    add_name(&mut layout.tree, &folder_path, "hosts.toml");
    let root = layout.root.clone();
    add_name(&mut layout.tree, &root, &name);
    layout.steps.push(Step {
        path,
        expect,
        content: Some(content),
        why: why(order, registry, wish),
    });
    Ok(())
}

/// The directory that containerd finds for the registry, or the one to make.
fn existing(layout: &Layout, registry: &str) -> String {
    if registry == UNNAMED {
        return "_default".to_owned();
    }
    let stands = |name: &String| {
        matches!(
            layout.tree.get(&format!("{}/{name}", layout.root)),
            Some(Entry::Folder(_))
        )
    };
    directory_names(registry)
        .into_iter()
        .find(stands)
        .unwrap_or_else(|| registry.to_owned())
}

fn add_name(tree: &mut Tree, folder: &str, name: &str) {
    let mut names = match tree.get(folder) {
        Some(Entry::Folder(names)) => names.clone(),
        _ => Vec::new(),
    };
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
        names.sort();
    }
    tree.insert(folder, Entry::Folder(names));
}

fn adopted(policy: &Policy, registry: &str) -> bool {
    policy.adopt.iter().any(|folder| match folder {
        HostsDir::Default => registry == UNNAMED,
        HostsDir::Host(host) => host.as_str() == registry,
    })
}

/// Whether the wildcard goes on serving registries that nothing names.
fn goes_on(wishes: &BTreeMap<String, DesiredRoute>) -> bool {
    let unnamed = wishes.get(UNNAMED).into_iter().flat_map(|wish| &wish.asks);
    unnamed.map(|ask| ask.why.rule).any(|rule| rule == Origin::Wildcard)
}

/// Why the directory is needed, for the reader of the plan.
fn why(order: &LayoutRequest<'_>, registry: &str, wish: &DesiredRoute) -> String {
    let config = order.config;
    if let Some(key) = wish.policy_keys.first() {
        return format!("the policy's {key}");
    }
    let first = wish.asks.first().map(|ask| (ask.why.rule, &ask.why.place));
    match first {
        Some((Origin::Mirror, Some(place))) => return format!("mirrors.\"{registry}\" at {place}"),
        Some((Origin::Wildcard, Some(place))) if registry == UNNAMED => return format!("mirrors.\"*\" at {place}"),
        Some((Origin::Wildcard, Some(place))) if !goes_on(order.wishes) => {
            return format!("mirrors.\"*\" at {place}, for {registry} as before");
        }
        Some((Origin::Wildcard, Some(place))) => {
            return format!("mirrors.\"*\" at {place} serves {registry} otherwise than `_default` would");
        }
        _ => {}
    }
    if let Some(mirror) = config.registry.mirror(registry) {
        let place = &mirror.place;
        return format!("mirrors.\"{registry}\" at {place} has no endpoints that are asked, and keeps `_default` away");
    }
    let host = wish.asks.last().map_or(registry, |ask| ask.host.as_str());
    let tls = config.registry.configs.get(host).and_then(|known| known.tls.as_ref());
    if let Some(place) = tls.and_then(|tls| tls.place.as_ref()) {
        return format!("configs.\"{host}\".tls at {place}");
    }
    if is_localhost(registry) {
        return format!(
            "keeps {registry} on plain http: beside `config_path` containerd asks the node itself by https"
        );
    }
    format!("{registry} is asked otherwise than containerd would by itself")
}
