//! The advice that most nodes need: a wildcard mirror that may know only one registry.
//!
//! `crates/containerd` has a finding for it. The advice is drawn from the routes of a plan, because the plan decides whether
//! the wildcard stays.

use crate::wording::host_url;
use mirrorshift_containerd::{Finding, FindingId, Origin, SourceLocation};
use mirrorshift_plan::{Plan, RegistryScope, RouteChange};

/// A wildcard that stays although each of its hosts may know only one registry.
#[derive(Clone, Debug)]
pub(crate) struct WildcardAdvice {
    /// The hosts of the wildcard, as URLs.
    pub(crate) hosts: Vec<String>,
    /// The location of the first host.
    pub(crate) place: Option<SourceLocation>,
    /// The registries that use the wildcard, except Docker Hub.
    pub(crate) registries: Vec<String>,
}

impl WildcardAdvice {
    /// The finding that states the same about the original files.
    pub(crate) const ID: FindingId = FindingId::WildcardSingleUpstream;

    /// Returns the advice for a plan whose wildcard stays.
    ///
    /// Docker's own registry, which most such hosts run, can proxy only one upstream per instance. A node's files do not show
    /// what a host proxies, so this is advice and not an error.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        let served: Vec<_> = plan
            .routes
            .iter()
            .map(wildcard_hosts)
            .filter(|(_, hosts)| !hosts.is_empty())
            .collect();
        let (_, hosts) = served
            .iter()
            .find(|(change, _)| change.registry == RegistryScope::Unnamed)?;
        let place = plan
            .routes
            .iter()
            .flat_map(|change| change.before.hosts())
            .filter(|host| is_wildcard(host.provenance.rule))
            .find_map(|host| host.provenance.place.clone());
        let others = served.iter().map(|(change, _)| change.registry.to_string());
        Some(Self {
            hosts: hosts.clone(),
            place,
            registries: others.filter(|registry| registry != "docker.io").collect(),
        })
    }

    /// Returns the advice as sentences. The finding of the same name knows more registries, such as that of the pause image.
    pub(crate) fn text(&self, findings: &[Finding]) -> String {
        let place =
            |place: &Option<SourceLocation>| place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        if let Some(finding) = findings.iter().find(|finding| finding.id == Self::ID) {
            return format!("{}{} {}", place(&finding.place), finding.what, finding.effect);
        }
        format!(
            "{}containerd tries {} for every registry without its own hosts. If that is a pull-through cache of one registry, \
             it answers for {} with `not found`, which costs a detour per pull, or with an image of the same name from the wrong \
             registry.",
            place(&self.place),
            self.hosts.join(" and "),
            self.registries.join(", ")
        )
    }
}

fn is_wildcard(rule: Origin) -> bool {
    matches!(rule, Origin::Wildcard | Origin::DefaultDirectory)
}

/// Returns the hosts of the wildcard in the planned route.
fn wildcard_hosts(change: &RouteChange) -> (&RouteChange, Vec<String>) {
    let hosts = change.after.hosts().iter();
    let hosts = hosts.filter(|host| is_wildcard(host.provenance.rule) && host.namespace.is_some());
    (change, hosts.map(host_url).collect())
}
