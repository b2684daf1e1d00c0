//! Who should be asked: the routes of today, changed where the policy says so and nowhere else.

use crate::policy::host::RegistryName;
use crate::policy::{Fallback, Policy, Registry, Tags, Wildcard};
use crate::refusal::{Refusal, RefusalReason};
use mirrorshift_containerd::{Config, Cri, CriUnavailable, Entry, Origin, RegistryHost, Route, Tree};

/// What a registry's images should be pulled from.
#[derive(Clone, Debug)]
pub(crate) struct DesiredRoute {
    /// The route.
    pub(crate) route: Route,
    /// The hosts to write down. They are those of the route, and stand even where a certificate that cannot be read fails
    /// every pull, so that the pull goes on failing for the same reason and is mended by the same file.
    pub(crate) asks: Vec<RegistryHost>,
    /// The keys of the policy that made it differ from today's.
    pub(crate) policy_keys: Vec<String>,
}

/// What today's files mean, a dead CRI taken for what its operator meant.
pub(crate) struct CurrentRoutes<'t> {
    pub(crate) config: &'t Config,
    pub(crate) tree: &'t Tree,
}

impl CurrentRoutes<'_> {
    /// Whether `registry` is routed by `mirrors` rather than by hosts directories.
    ///
    /// With both set containerd obeys neither. A registry with a hosts directory was moved by hand already; all others
    /// still mean their mirrors.
    pub(crate) fn by_mirrors(&self, registry: &str) -> bool {
        match &self.config.cri {
            Cri::Loads => self.config.registry.config_path.is_none(),
            Cri::Dead {
                reason: CriUnavailable::BothByDefault,
                ..
            } => true,
            Cri::Dead { .. } => !self.has_directory(registry),
        }
    }

    fn has_directory(&self, registry: &str) -> bool {
        let roots = self.config.hosts_roots();
        let names = directory_names(registry);
        let stands =
            |root: &String, name: &str| matches!(self.tree.get(&format!("{root}/{name}")), Some(Entry::Folder(_)));
        let own_mirror = self.config.registry.mirror(registry).is_some();
        let by_default = |root: &String| !own_mirror && stands(root, "_default");
        roots
            .iter()
            .any(|root| names.iter().any(|name| stands(root, name)) || by_default(root))
    }

    fn route(&self, registry: &str) -> (Route, Result<Vec<RegistryHost>, Box<Refusal>>) {
        if !self.by_mirrors(registry) {
            let route = self.config.route_if_cri_loaded(self.tree, registry);
            let asks = route.asks().to_vec();
            return (route, Ok(asks));
        }
        let route = self.config.route_by_mirrors(self.tree, registry);
        let asks = match &route {
            Route::Hosts(asks) => Ok(asks.clone()),
            Route::Fails(_) => self.config.hosts_listed_in_mirrors(registry).map_err(|failure| {
                Refusal::new(
                    RefusalReason::Endpoint,
                    failure.reason,
                    "Correct the endpoint or take it out.",
                )
                .at(failure.place)
                .effect(format!("containerd fails every pull from {registry}."))
            }),
        };
        (route, asks)
    }
}

/// The names of a registry's own directory, in the order in which containerd looks for them.
pub(crate) fn directory_names(registry: &str) -> Vec<String> {
    match registry.rsplit_once(':') {
        Some((host, port)) => vec![format!("{host}_{port}_"), registry.to_owned()],
        None => vec![registry.to_owned()],
    }
}

/// Who should be asked for the images of `registry`.
///
/// # Errors
///
/// A policy that leaves nobody to ask, and endpoints that fail every pull.
pub(crate) fn desired_route(
    today: &CurrentRoutes<'_>,
    policy: &Policy,
    registry: &str,
) -> Result<DesiredRoute, Box<Refusal>> {
    let (route, asks) = today.route(registry);
    let mut wish = DesiredRoute {
        route,
        asks: asks?,
        policy_keys: Vec::new(),
    };
    let entry = policy.registries.iter().find(|entry| entry.host.as_str() == registry);
    apply_wildcard(&mut wish, &policy.wildcard, registry, entry);
    if let Some(entry) = entry {
        apply_entry(&mut wish, today, entry)?;
    }
    if !wish.policy_keys.is_empty() {
        wish.route = Route::Hosts(wish.asks.clone());
    }
    Ok(wish)
}

fn from_wildcard(ask: &RegistryHost, registry: &str) -> bool {
    // A wildcard's host that is the registry itself is no mirror of it.
    matches!(ask.why.rule, Origin::Wildcard | Origin::DefaultDirectory) && ask.host != registry
}

fn apply_wildcard(wish: &mut DesiredRoute, wildcard: &Wildcard, registry: &str, entry: Option<&Registry>) {
    let served = match wildcard {
        Wildcard::Keep => true,
        Wildcard::Drop => false,
        Wildcard::Only(hosts) => hosts.iter().map(RegistryName::as_str).any(|host| host == registry),
    };
    // An entry with mirrors of its own says it all.
    if served || entry.is_some_and(|entry| entry.mirrors.is_some()) {
        return;
    }
    let before = wish.asks.len();
    wish.asks.retain(|ask| !from_wildcard(ask, registry));
    if wish.asks.len() != before {
        wish.policy_keys.push("wildcard".to_owned());
    }
}

fn apply_entry(wish: &mut DesiredRoute, today: &CurrentRoutes<'_>, entry: &Registry) -> Result<(), Box<Refusal>> {
    let registry = entry.host.as_str();
    let key = |name: &str| format!("registries.{registry}.{name}");
    let is_upstream = |ask: &RegistryHost| ask.why.rule == Origin::Upstream || ask.namespace.is_none();
    if let Some(urls) = &entry.mirrors {
        let mut asks = Vec::new();
        for url in urls {
            let ask = today
                .config
                .mirror(today.tree, registry, &url.to_string())
                .map_err(|failure| {
                    Refusal::new(
                        RefusalReason::Policy,
                        failure.reason,
                        "Correct the certificate, or choose another mirror.",
                    )
                    .at(failure.place)
                })?;
            asks.push(ask);
        }
        let names_itself = asks.iter().any(|ask| ask.host == registry);
        let upstream = wish.asks.iter().rposition(is_upstream).map(|at| wish.asks[at].clone());
        let upstream = upstream.or_else(|| own_host(today, registry));
        asks.extend(upstream.filter(|_| !names_itself));
        if asks != wish.asks {
            wish.policy_keys.push(key("mirrors"));
            wish.asks = asks;
        }
    }
    if entry.tags == Tags::Upstream {
        let mut changed = false;
        for ask in wish.asks.iter_mut().filter(|ask| !is_upstream(ask)) {
            changed |= std::mem::replace(&mut ask.resolves, false);
        }
        if changed {
            wish.policy_keys.push(key("tags"));
        }
    }
    if entry.fallback == Fallback::None && wish.asks.last().is_some_and(is_upstream) {
        wish.asks.pop();
        wish.policy_keys.push(key("fallback"));
    }
    let hint = "`fallback: none` needs a mirror, and `tags: upstream` needs the registry itself.";
    if wish.asks.is_empty() {
        return Err(Refusal::new(
            RefusalReason::Policy,
            format!("the policy leaves nobody to ask for images of {registry}"),
            hint,
        ));
    }
    if !wish.asks.iter().any(|ask| ask.resolves) && !wish.policy_keys.is_empty() {
        return Err(Refusal::new(
            RefusalReason::Policy,
            format!("the policy leaves nobody to resolve tags of {registry}"),
            hint,
        ));
    }
    Ok(())
}

/// The registry itself, as it is asked where nothing is set for it.
fn own_host(today: &CurrentRoutes<'_>, registry: &str) -> Option<RegistryHost> {
    let route = today
        .config
        .route_by_hosts(&Tree::new(), mirrorshift_containerd::CERTS_D, registry);
    route.asks().last().cloned()
}
