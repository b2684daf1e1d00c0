//! The one piece of advice that most nodes need, drawn from a plan's routes.
//!
//! `crates/containerd` finds the wildcard whose host may know one registry only; what it breaks shows in the routes, and
//! whether it stays is the plan's.

use crate::wording::host_url;
use mirrorshift_containerd::{Finding, FindingId, Origin, SourceLocation};
use mirrorshift_plan::{Plan, RegistryScope, RouteChange};

/// A wildcard that stays in force although its hosts may each know one registry only.
#[derive(Clone, Debug)]
pub(crate) struct WildcardAdvice {
    /// The hosts of the wildcard, as URLs.
    pub(crate) hosts: Vec<String>,
    /// Where the first of them stands.
    pub(crate) place: Option<SourceLocation>,
    /// The registries that are asked there, Docker Hub aside.
    pub(crate) registries: Vec<String>,
}

impl WildcardAdvice {
    /// The finding that this advice is the longer form of.
    pub(crate) const ID: FindingId = FindingId::WildcardSingleUpstream;

    /// The advice that a plan needs, if it needs any.
    ///
    /// Docker's own registry, which most such hosts run, is a cache of one upstream an instance. What it proxies cannot
    /// be seen from a node's files, so this is advice and no error.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        let served = plan.routes.iter().map(asked_by_wildcard);
        let served: Vec<_> = served.filter(|(_, hosts)| !hosts.is_empty()).collect();
        let (_, hosts) = served
            .iter()
            .find(|(change, _)| change.registry == RegistryScope::Unnamed)?;
        let asks = plan.routes.iter().flat_map(|change| change.before.asks());
        let place = asks
            .filter(|ask| is_wildcard(ask.why.rule))
            .find_map(|ask| ask.why.place.clone());
        let others = served.iter().map(|(change, _)| change.registry.to_string());
        Some(Self {
            hosts: hosts.clone(),
            place,
            registries: others.filter(|registry| registry != "docker.io").collect(),
        })
    }

    /// The advice in sentences. The finding of the same name knows more registries, the pause image's among them.
    pub(crate) fn text(&self, findings: &[Finding]) -> String {
        let place =
            |place: &Option<SourceLocation>| place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        if let Some(finding) = findings.iter().find(|finding| finding.id == Self::ID) {
            return format!("{}{} {}", place(&finding.place), finding.what, finding.effect);
        }
        format!(
            "{}Every registry without hosts of its own is asked at {}. If that is a pull-through cache of one registry, as \
             Docker's registry is when it proxies, it answers for {} with `not found` and a detour for each pull, or with an \
             image of the same name from the wrong registry.",
            place(&self.place),
            self.hosts.join(" and "),
            self.registries.join(", ")
        )
    }
}

fn is_wildcard(rule: Origin) -> bool {
    matches!(rule, Origin::Wildcard | Origin::DefaultDirectory)
}

/// The hosts of the wildcard that will be asked for a registry.
fn asked_by_wildcard(change: &RouteChange) -> (&RouteChange, Vec<String>) {
    let asks = change.after.asks().iter();
    let asks = asks.filter(|ask| is_wildcard(ask.why.rule) && ask.namespace.is_some());
    (change, asks.map(host_url).collect())
}
