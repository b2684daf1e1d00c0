//! The desired route of each registry: its current route, changed only as the policy requires.

use crate::policy::host::RegistryName;
use crate::policy::{Fallback, Policy, Registry, Tags, Wildcard};
use crate::refusal::{Refusal, RefusalReason};
use mirrorshift_containerd::{Config, Cri, CriUnavailable, Entry, Origin, RegistryHost, Route, Tree};

/// The route that a registry should have.
#[derive(Clone, Debug)]
pub(crate) struct DesiredRoute {
    pub(crate) route: Route,
    /// The hosts to write. They are those of the route, and are known even when every pull fails because a certificate
    /// cannot be read. Then pulls continue to fail for the same reason, and the same file repairs them.
    pub(crate) hosts: Vec<RegistryHost>,
    /// The keys of the policy that made the route differ from the current one.
    pub(crate) policy_keys: Vec<String>,
    /// False when the policy replaced or removed mirrors. Comments about the mirrors are then no longer true.
    pub(crate) keeps_mirrors: bool,
}

/// The routes of the current files. When CRI does not load, they are the routes that the operator intended.
pub(crate) struct CurrentRoutes<'t> {
    pub(crate) config: &'t Config,
    pub(crate) tree: &'t Tree,
}

impl CurrentRoutes<'_> {
    /// Returns true when `registry` is routed by `mirrors` instead of hosts directories.
    ///
    /// With both settings present containerd uses neither. A registry with a hosts directory was already moved by hand; all
    /// others are still meant to use their mirrors.
    pub(crate) fn by_mirrors(&self, registry: &str) -> bool {
        match &self.config.cri {
            Cri::Loads => self.config.registry.config_path.is_none(),
            Cri::Unavailable {
                reason: CriUnavailable::BothByDefault,
                ..
            } => true,
            Cri::Unavailable { .. } => !self.has_directory(registry),
        }
    }

    fn has_directory(&self, registry: &str) -> bool {
        let roots = self.config.hosts_roots();
        let names = directory_names(registry);
        let exists =
            |root: &String, name: &str| matches!(self.tree.get(&format!("{root}/{name}")), Some(Entry::Folder(_)));
        let own_mirror = self.config.registry.mirror(registry).is_some();
        let by_default = |root: &String| !own_mirror && exists(root, "_default");
        roots
            .iter()
            .any(|root| names.iter().any(|name| exists(root, name)) || by_default(root))
    }

    fn route(&self, registry: &str) -> (Route, Result<Vec<RegistryHost>, Box<Refusal>>) {
        if !self.by_mirrors(registry) {
            let route = self.config.route_if_cri_loaded(self.tree, registry);
            let hosts = route.hosts().to_vec();
            return (route, Ok(hosts));
        }
        let route = self.config.route_by_mirrors(self.tree, registry);
        let hosts = match &route {
            Route::Hosts(hosts) => Ok(hosts.clone()),
            Route::Fails(_) => self.config.hosts_listed_in_mirrors(registry).map_err(|failure| {
                Refusal::new(
                    RefusalReason::Endpoint,
                    failure.reason,
                    "Correct the endpoint or remove it.",
                )
                .at(failure.place)
                .effect(format!("Every pull from {registry} fails."))
            }),
        };
        (route, hosts)
    }
}

/// Returns the names of a registry's own directory, in the order in which containerd tries them.
pub(crate) fn directory_names(registry: &str) -> Vec<String> {
    match registry.rsplit_once(':') {
        Some((host, port)) => vec![format!("{host}_{port}_"), registry.to_owned()],
        None => vec![registry.to_owned()],
    }
}

/// Returns the desired route of `registry`.
///
/// # Errors
///
/// Refuses a policy that leaves no host to try, and endpoints with which every pull fails.
pub(crate) fn desired_route(
    current: &CurrentRoutes<'_>,
    policy: &Policy,
    registry: &str,
) -> Result<DesiredRoute, Box<Refusal>> {
    let (route, hosts) = current.route(registry);
    let mut desired = DesiredRoute {
        route,
        hosts: hosts?,
        policy_keys: Vec::new(),
        keeps_mirrors: true,
    };
    let entry = policy.registries.iter().find(|entry| entry.host.as_str() == registry);
    apply_wildcard(&mut desired, &policy.wildcard, registry, entry);
    if let Some(entry) = entry {
        apply_entry(&mut desired, current, entry)?;
    }
    if !desired.policy_keys.is_empty() {
        desired.route = Route::Hosts(desired.hosts.clone());
    }
    Ok(desired)
}

fn is_from_wildcard(host: &RegistryHost, registry: &str) -> bool {
    // A host of the wildcard that is the registry itself is not a mirror of it.
    matches!(host.provenance.rule, Origin::Wildcard | Origin::DefaultDirectory) && host.host != registry
}

fn apply_wildcard(desired: &mut DesiredRoute, wildcard: &Wildcard, registry: &str, entry: Option<&Registry>) {
    let served = match wildcard {
        Wildcard::Keep => true,
        Wildcard::Drop => false,
        Wildcard::Only(hosts) => hosts.iter().map(RegistryName::as_str).any(|host| host == registry),
    };
    // An entry with its own mirrors decides for its registry.
    if served || entry.is_some_and(|entry| entry.mirrors.is_some()) {
        return;
    }
    let before = desired.hosts.len();
    desired.hosts.retain(|host| !is_from_wildcard(host, registry));
    if desired.hosts.len() != before {
        desired.policy_keys.push("wildcard".to_owned());
        desired.keeps_mirrors = false;
    }
}

fn apply_entry(desired: &mut DesiredRoute, current: &CurrentRoutes<'_>, entry: &Registry) -> Result<(), Box<Refusal>> {
    let registry = entry.host.as_str();
    let key = |name: &str| format!("registries.{registry}.{name}");
    let is_upstream = |host: &RegistryHost| host.provenance.rule == Origin::Upstream || host.namespace.is_none();
    if let Some(urls) = &entry.mirrors {
        let mut hosts = Vec::new();
        for url in urls {
            let host = current
                .config
                .mirror(current.tree, registry, &url.to_string())
                .map_err(|failure| {
                    Refusal::new(
                        RefusalReason::Policy,
                        failure.reason,
                        "Correct the certificate, or choose another mirror.",
                    )
                    .at(failure.place)
                })?;
            hosts.push(host);
        }
        let has_own_host = hosts.iter().any(|host| host.host == registry);
        let upstream = desired.hosts.iter().rev().find(|host| is_upstream(host)).cloned();
        let upstream = upstream.or_else(|| own_host(current, registry));
        hosts.extend(upstream.filter(|_| !has_own_host));
        if hosts != desired.hosts {
            desired.policy_keys.push(key("mirrors"));
            desired.keeps_mirrors = false;
            desired.hosts = hosts;
        }
    }
    if entry.tags == Tags::Upstream {
        let mut changed = false;
        for host in desired.hosts.iter_mut().filter(|host| !is_upstream(host)) {
            changed |= std::mem::replace(&mut host.resolves, false);
        }
        if changed {
            desired.policy_keys.push(key("tags"));
        }
    }
    if entry.fallback == Fallback::None && desired.hosts.last().is_some_and(is_upstream) {
        desired.hosts.pop();
        desired.policy_keys.push(key("fallback"));
    }
    let hint = "`fallback: none` needs a mirror, and `tags: upstream` needs the registry itself.";
    if desired.hosts.is_empty() {
        return Err(Refusal::new(
            RefusalReason::Policy,
            format!("the policy leaves no host to pull images of {registry} from"),
            hint,
        ));
    }
    if !desired.hosts.iter().any(|host| host.resolves) && !desired.policy_keys.is_empty() {
        return Err(Refusal::new(
            RefusalReason::Policy,
            format!("the policy leaves no host to resolve tags of {registry}"),
            hint,
        ));
    }
    Ok(())
}

/// Returns the registry itself, as containerd tries it without any setting.
fn own_host(current: &CurrentRoutes<'_>, registry: &str) -> Option<RegistryHost> {
    let route = current
        .config
        .route_by_hosts(&Tree::new(), mirrorshift_containerd::CERTS_D, registry);
    route.hosts().last().cloned()
}
