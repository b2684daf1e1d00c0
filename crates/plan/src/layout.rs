//! Chooses the hosts directories to write: the smallest set that expresses every route without activating a stale directory.

use crate::desired::{DesiredRoute, directory_names};
use crate::hosts_file::{self, Folder};
use crate::policy::{HostsDir, Policy};
use crate::refusal::{Refusal, RefusalReason};
use crate::route_change::UNNAMED;
use crate::step::{Digest, Expect, Step};
use mirrorshift_containerd::{Config, Entry, Origin, Rule, SourceLocation, Tree, is_localhost};
use std::collections::{BTreeMap, BTreeSet};

/// The input of [`layout`].
pub(crate) struct LayoutRequest<'o> {
    pub(crate) config: &'o Config,
    pub(crate) tree: &'o Tree,
    pub(crate) policy: &'o Policy,
    pub(crate) desired: &'o BTreeMap<String, DesiredRoute>,
    /// The files that an earlier change created.
    pub(crate) owned: &'o BTreeSet<String>,
    /// The comments of each registry's mirrors.
    pub(crate) comments: &'o BTreeMap<String, Vec<String>>,
}

/// The hosts files in one folder.
pub(crate) struct Layout {
    /// The value for `config_path`.
    pub(crate) root: String,
    /// The files to write, in this request.
    pub(crate) steps: Vec<Step>,
    /// The tree after they are written.
    pub(crate) tree: Tree,
}

/// Lays out the hosts files in `root`.
///
/// # Errors
///
/// Refuses when a directory of another tool is in the way, and when no `hosts.toml` of this version can express the hosts.
pub(crate) fn layout(request: &LayoutRequest<'_>, root: &str) -> Result<Layout, Box<Refusal>> {
    let mut layout = Layout {
        root: root.to_owned(),
        steps: Vec::new(),
        tree: request.tree.clone(),
    };
    let registries = std::iter::once(UNNAMED).chain(
        request
            .desired
            .keys()
            .map(String::as_str)
            .filter(|name| *name != UNNAMED),
    );
    for registry in registries {
        let Some(desired) = request.desired.get(registry) else {
            continue;
        };
        if request.config.route_by_hosts(&layout.tree, root, registry) == desired.route {
            continue;
        }
        write(request, &mut layout, registry, desired)?;
    }
    Ok(layout)
}

fn write(
    request: &LayoutRequest<'_>,
    layout: &mut Layout,
    registry: &str,
    desired: &DesiredRoute,
) -> Result<(), Box<Refusal>> {
    let version = &request.config.document.version;
    let folder = if registry == UNNAMED {
        Folder::Default { seen_from: UNNAMED }
    } else {
        Folder::Of(registry)
    };
    if registry == UNNAMED && !version.has(Rule::DefaultDirectory) {
        let what = format!("containerd {version} has no `_default`, which the wildcard needs");
        let hint =
            "Upgrade to 1.6.17 or newer, or name the registries that the wildcard serves: `--wildcard docker.io,…`.";
        return Err(Refusal::new(RefusalReason::WildcardUnsupported, what, hint)
            .at(desired.hosts.first().and_then(|host| host.provenance.place.clone()))
            .effect("It would ignore the directory and try only the registries themselves."));
    }
    let name = directory_name(layout, registry);
    let path = format!("{}/{name}/hosts.toml", layout.root);
    // A comment about mirrors that the policy replaced would describe the wrong host.
    let comments = request.comments.get(registry).filter(|_| desired.keeps_mirrors);
    let comments = comments.map(Vec::as_slice).unwrap_or_default();
    let text = hosts_file::write(folder, &desired.hosts, version, comments).map_err(|reason| {
        Refusal::new(
            RefusalReason::Endpoint,
            format!("no hosts.toml of containerd {version} can express the hosts of {registry}: {reason}"),
            "Change or remove the endpoint.",
        )
        .at(desired.hosts.iter().find_map(|host| host.provenance.place.clone()))
    })?;
    let content = text.into_bytes();
    let expect = match layout.tree.get(&path) {
        None | Some(Entry::Absent) => Expect::Absent,
        Some(Entry::File(old)) if request.owned.contains(&path) || is_adopted(request.policy, registry) => {
            Expect::File(Digest::of(old))
        }
        Some(_) => {
            let shown = if registry == UNNAMED { "_default" } else { registry };
            let what = format!("the hosts directory of {shown} belongs to another tool and has other contents");
            let hint = format!("Add `adopt: [{shown}]` to the policy to have it replaced, or move the directory away.");
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
        why: reason(request, registry, desired),
    });
    Ok(())
}

/// Returns the name of the directory that containerd finds for the registry, or of the one to create.
fn directory_name(layout: &Layout, registry: &str) -> String {
    if registry == UNNAMED {
        return "_default".to_owned();
    }
    let exists = |name: &String| {
        matches!(
            layout.tree.get(&format!("{}/{name}", layout.root)),
            Some(Entry::Folder(_))
        )
    };
    directory_names(registry)
        .into_iter()
        .find(exists)
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

fn is_adopted(policy: &Policy, registry: &str) -> bool {
    policy.adopt.iter().any(|folder| match folder {
        HostsDir::Default => registry == UNNAMED,
        HostsDir::Host(host) => host.as_str() == registry,
    })
}

/// Returns true when the wildcard continues to serve any other registry.
fn has_wildcard(desired: &BTreeMap<String, DesiredRoute>) -> bool {
    let hosts = desired.get(UNNAMED).into_iter().flat_map(|route| &route.hosts);
    hosts
        .map(|host| host.provenance.rule)
        .any(|rule| rule == Origin::Wildcard)
}

/// Returns the reason for the directory, for the reader of the plan.
fn reason(request: &LayoutRequest<'_>, registry: &str, desired: &DesiredRoute) -> String {
    let config = request.config;
    if let Some(key) = desired.policy_keys.first() {
        return format!("required by the policy: {key}");
    }
    let first = desired
        .hosts
        .first()
        .map(|host| (host.provenance.rule, &host.provenance.place));
    match first {
        Some((Origin::Mirror, Some(place))) => return format!("mirrors.\"{registry}\" at {place}"),
        Some((Origin::Wildcard, Some(place))) if registry == UNNAMED => return format!("mirrors.\"*\" at {place}"),
        Some((Origin::Wildcard, Some(place))) if !has_wildcard(request.desired) => {
            return format!("keeps mirrors.\"*\" at {place} for {registry}");
        }
        Some((Origin::Wildcard, Some(place))) => {
            return format!(
                "keeps {registry} unchanged: `_default` by itself would change it (mirrors.\"*\" at {place})"
            );
        }
        _ => {}
    }
    if let Some(mirror) = config.registry.mirror(registry) {
        let place = &mirror.place;
        return format!(
            "keeps `_default` from serving {registry}: mirrors.\"{registry}\" at {place} has no usable endpoint"
        );
    }
    let host = desired.hosts.last().map_or(registry, |host| host.host.as_str());
    let tls = config.registry.configs.get(host).and_then(|known| known.tls.as_ref());
    if let Some(place) = tls.and_then(|tls| tls.place.as_ref()) {
        return format!("configs.\"{host}\".tls at {place}");
    }
    if is_localhost(registry) {
        return format!("keeps {registry} on plain HTTP: with `config_path` containerd tries HTTPS on the node itself");
    }
    format!("keeps {registry} unchanged: containerd by itself would try other hosts")
}
